"""`uncited diff`: what changed from one build to another, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from store.build_differences import Side

_SHOWN = 20
_WIDTH = 60  # characters of a text


def diff(
    before: Annotated[str, typer.Argument(help="Id of a build, or its beginning.")],
    after: Annotated[str, typer.Argument(help="Id of another one, or its beginning.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what changed from one build to another, and why."""
    from labeling.untrusted_text import one_line
    from store.build_differences import ChangedPair
    from store.builds import get_build
    from train.build_diff import diff as diff_builds

    with opened(workspace, as_json=json, quiet=quiet) as session:
        names = [name if name.startswith("build_") else f"build_{name}" for name in (before, after)]
        result = diff_builds(session.store, *(get_build(session.store, name) for name in names))
        out = session.out
        if out.json({"reasons": result.reasons, "diff": result}):
            return
        for name, (then, now) in result.settings.items():
            out.line(f"{name}: {then} before, {now} after")
        if not result.reasons:
            out.line("The two builds hold the same labels and triplets.")
            return
        columns = ("reason", "pairs", "triplets added", "triplets removed")
        out.table("What changed", columns, [(reason, *counts) for reason, counts in result.reasons.items()])
        rows = [
            (
                one.change.pair_id,
                one_line(one.change.anchor or "(forgotten)", _WIDTH),
                one_line(one.change.chunk or "(forgotten)", _WIDTH),
                _side(one.change.then),
                _side(one.change.now),
                one.reason,
            )
            for one in result.pairs[:_SHOWN]
            if isinstance(one.change, ChangedPair)
        ]
        if rows:
            out.table("Pairs", ("pair", "query", "chunk", "before", "after", "why"), rows)
        if len(result.pairs) > _SHOWN:
            out.note(f"{len(result.pairs) - _SHOWN} more pairs; --json has all of them, and the triplets.")
        if result.before.built_at > result.after.built_at:
            out.note("The first build is the newer one; what came between them is told all the same.")
        out.next("uncited lineage PAIR")


def _side(side: "Side | None") -> str:
    return f"{side.label} ({side.role}), {side.split}, {side.source}" if side else "not in it"
