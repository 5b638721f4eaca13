"""What was trained: runs, and publishing one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.session import (
    HERE,
    BuildOption,
    JsonOption,
    PolicyOption,
    QuietOption,
    WorkspaceOption,
    opened,
)
from commands.training import KindOption
from store.errors import MissingError

if TYPE_CHECKING:
    from train.runs import Run

_HEADLINE = "nDCG@10"
_TEST = f"test {_HEADLINE}"


def runs(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the models that were trained in this workspace, with what is known of each."""
    from printing import relative
    from train.runs import list_runs, run_folders

    with opened(workspace, as_json=json, quiet=quiet) as session:
        folders = run_folders(session.store, session.workspace.models)
        out = session.out
    found = list_runs(folders)
    told = [{**_row(run), "folder": relative(run.folder)} for run in found]
    if out.json([{**row, "changed": run.changed, "record": run.record} for row, run in zip(told, found, strict=True)]):
        return
    if not found:
        out.line("No model was trained here yet.")
        out.next("uncited train --policy NAME")
        return
    numbers = ("kind", "steps", "validation", _TEST)
    rows = [(number, *(row[name] for name in numbers)) for number, row in enumerate(told, start=1)]
    out.table("Runs", ("run", *numbers), rows)
    for number, row in enumerate(told, start=1):
        named = f"Run {number}: {row['folder']} ({row['policy']}, build {row['build']})"
        out.line(f"{named}: {row['base']}, {row['loss']}")
    for run in found:
        if run.changed:
            out.line(f"{relative(run.folder)}: the weights or settings are not those that were trained")


def _row(run: "Run") -> dict[str, object]:
    record, settings = run.record, run.record["settings"]
    policies = [build["policy"]["name"] for build in record.get("builds", ()) if build]
    return {
        "folder": "",
        "policy": " + ".join(policies),
        "build": str(record["build_id"]).removeprefix("build_")[:8],
        "kind": settings["kind"],
        "base": Path(settings["base_model"]).name,
        "loss": settings["loss"],
        "steps": record["steps"],
        "validation": _validation(record),
        _TEST: _test(run),
    }


def _validation(record: Mapping[str, Any]) -> float | None:
    from train.runs import validation_score

    return validation_score(record)


def _test(run: "Run") -> str:
    """Write the headline metric of a run that was evaluated, and its difference to the base with the interval."""
    from store.errors import InvalidDataError
    from train.evaluation_file import EVALUATION_FILE, is_of_run, read_evaluation

    try:
        found = read_evaluation(run.folder / EVALUATION_FILE)
        metric = found.labelled.metric(_HEADLINE) if found else None
    except (InvalidDataError, KeyError):  # of another version
        return "cannot be read"
    if found is None or metric is None:
        return ""
    if not is_of_run(found, run.record):
        return "of other weights"
    value = metric.values.get(found.subject)
    said = "" if value is None else f"{value:.3f}"
    compared = metric.differences.get("base")
    if compared is not None and compared.low is not None and compared.high is not None:
        said += f" (base {compared.low:+.3f} to {compared.high:+.3f})"
    return said


def push_model(
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
    policy: PolicyOption,
    kind: KindOption = "bi-encoder",
    model: Annotated[Path | None, typer.Option(help="Folder of the model; default: the one `train` made.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a repository that everybody sees.")] = False,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Publish a model on the Hugging Face hub (or the server that HF_ENDPOINT names), with its model card."""
    from printing import Output
    from train.hub import push_model as push

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.build(policy, build_id)
        folder = model or session.workspace.model_folder(policy, chosen.build_id, kind)
    if not folder.exists():
        raise MissingError(f"no model at {folder}", hint=f"uncited train --policy {policy} --kind {kind}")
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        address = push(folder, repository, public=public, progress=bar)
    if not out.json({"model": str(folder), "address": address}):
        out.line(f"{address}: uploaded, with its model card; run.json, evaluations and reports stay here")
