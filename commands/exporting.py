"""From builds to files: export, and checking what was exported."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from commands.session import HERE, BuildOption, JsonOption, QuietOption, WorkspaceOption, opened
from store.errors import InvalidDataError, MissingError, UsageError
from train.exports import FormatName

if TYPE_CHECKING:
    from printing import Output
    from train.exports.manifest import Manifest

_FORMATS: tuple[str, ...] = get_args(FormatName)
_LISTED = 20  # names of files in a message


def export(
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Name of the policy.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder to make.")] = None,
    format: Annotated[FormatName, typer.Option(metavar="FORMAT", help=f"One of {', '.join(_FORMATS)}.")] = "triplet",
    scores: Annotated[
        str | None,
        typer.Option(help="Add scores: `labels`, or the name of a model that scored the pairs (see triage)."),
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(help="Negatives of a row, for n-tuple, pylate and colbert; default: 3.")
    ] = None,
    build_id: BuildOption = None,
    verify_dir: Annotated[
        Path | None, typer.Option("--verify", help="Export nothing; compare this export with its manifest.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a build as files for a trainer or an evaluator, with a manifest; or check such files."""
    if verify_dir is not None:
        if policy is not None or out_dir is not None:
            raise UsageError("--verify exports nothing", hint=f"uncited export --verify {verify_dir}")
        _verify(verify_dir, as_json=json, quiet=quiet)
        return
    if policy is None or out_dir is None:
        raise UsageError("which build, and where to?", hint="uncited export --policy NAME --out DIR")
    from store.builds import note_output
    from store.certificates import void_certificates
    from train.export import export as export_build

    with opened(workspace, as_json=json, quiet=quiet) as session:
        build = session.build(policy, build_id)
        with session.out.progress() as bar:
            manifest = export_build(
                session.store,
                build,
                out_dir,
                format=format,
                scores=scores,
                negatives=negatives,
                licence=session.workspace.settings.export.licence,
                progress=bar,
            )
        note_output(session.store, build.build_id, "export", manifest.folder)
        ids = cast("list[str]", build.settings.get("certificates", []))
        resolution = session.workspace.settings.review.resolution
        void = void_certificates(session.store, session.policy(policy), resolution=resolution, ids=ids)
        told = {"folder": manifest.folder, "new": manifest.is_new, "manifest": manifest.body, "void_certificates": void}
        if not session.out.json(told):
            _print(session.out, manifest)
            for standing in void:
                reasons = "; ".join(standing.void_because)
                session.out.line(f"{standing.certificate_id}, by which a judge's labels are in it, is void: {reasons}")
                session.out.next(f"uncited certify --policy {policy}")


def _print(out: "Output", manifest: "Manifest") -> None:
    from printing import relative

    folder, body = relative(manifest.folder), manifest.body
    out.line(f"{folder}: {'written' if manifest.is_new else 'was there, unchanged'}")
    files, policy = body["files"], body["policy"]
    assert isinstance(files, Mapping)
    assert isinstance(policy, Mapping)
    rows = [(name, file["rows"], file["bytes"]) for name, file in files.items()]
    out.table("", ("file", "rows", "bytes"), rows)
    left_out = body["left_out"]
    assert isinstance(left_out, list)
    if left_out:
        out.table("Left out", ("what", "count"), [(entry["what"], entry["count"]) for entry in left_out])
    labels = body["labels"]
    assert isinstance(labels, list)
    if not any(row["split"] == "test" for row in labels):
        out.note("The build has no test split (--test-share 0), so nothing is held back for a test.")
    if body["format"] == "beir" and policy["scale"] != "ordered":
        out.note(f"The labels of {policy['name']} stand on no scale: the grades are 1 for positive and 0 for negative.")
    if body["format"] == "beir" and policy["relevant_from_grade"] > 1:
        out.note(f"A grade counts as relevant from {policy['relevant_from_grade']}: say so to your evaluator.")
    out.next(f"uncited export --verify {folder}")


def _verify(folder: Path, *, as_json: bool, quiet: bool) -> None:
    from printing import Output, relative
    from train.exports.manifest import verify

    if not folder.is_dir():
        raise MissingError(f"there is no folder {folder}", hint="uncited export --policy NAME --out DIR")
    found = verify(folder)
    if not found.holds:
        wrong = {"changed": found.changed, "missing": found.missing, "not in the manifest": found.extra}
        raise InvalidDataError(
            f"{relative(folder)} is not what was exported: "
            + "; ".join(
                f"{what}: {', '.join(names[:_LISTED])}{' ...' if len(names) > _LISTED else ''}"
                for what, names in wrong.items()
                if names
            ),
            hint=f"uncited export --policy {found.policy} --build {found.build_id} --format {found.format} --out DIR",
        )
    out = Output(as_json=as_json, quiet=quiet)
    if not out.json(found):
        out.line(f"{relative(folder)}: {found.files} files of build {found.build_id} as {found.format}, all as written")
