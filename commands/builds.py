"""Builds: which there are, and what changed from one to another."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from store.build_differences import Side

ID_SHOWN = 14  # characters of a build's id, as --build takes them
_SHOWN = 20
_WIDTH = 60  # characters of a text


def builds(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List all builds, the newest first."""
    from store.builds import list_builds
    from store.policies import get_policy_by_id

    with opened(workspace, as_json=json, quiet=quiet) as session:
        found = list_builds(session.store)
        policies = {build.policy_id: get_policy_by_id(session.store, build.policy_id) for build in found}
        out = session.out
    if out.json([{"policy": policies[build.policy_id].name, **asdict(build)} for build in found]):
        return
    if not found:
        out.line("Nothing was built here yet.")
        out.next("uncited build --policy NAME")
        return
    rows: list[tuple[object, ...]] = []
    for build in found:
        policy, counts = policies[build.policy_id], Counter(build.counts)
        people, judges = (counts[f"{who}_positives"] + counts[f"{who}_negatives"] for who in ("human", "judge"))
        made = (counts["triplets_train"], counts["triplets_test"], people, judges)
        name = f"{policy.name}, version {policy.version}"
        rows.append((build.build_id[:ID_SHOWN], name, f"{build.built_at:%Y-%m-%d %H:%M}", *made))
    columns = ("build", "policy", "built (UTC)", "train triplets", "test triplets", "labels by people", "by judges")
    out.table("Builds", columns, rows)
    if len(found) > 1:
        out.next(f"uncited diff {found[1].build_id[:ID_SHOWN]} {found[0].build_id[:ID_SHOWN]}")


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
