"""The labels that a build may use: whose they are, what role they have, and why the others stay out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from store.database import Store
from store.errors import MissingError
from store.labels import LabelSource, Resolution, labelled_candidates
from store.policies import Policy, Role
from store.propagation import Propagate


class Labelled(NamedTuple):
    """A candidate pair with a label whose role is positive or negative."""

    pair_id: str
    anchor_id: str
    anchor: str
    chunk_id: str
    chunk: str
    proposed: str
    rank: int | None
    sources: Sequence[str]
    duplicate_of: str | None
    documents: Sequence[str]
    label: str
    source: LabelSource
    judge_id: str | None
    propagated_from: str | None
    reviewers: Sequence[str]
    role: Role


def usable_labels(
    store: Store,
    policy: Policy,
    *,
    trusts_judge: Callable[[str], bool],
    resolution: Resolution,
    propagate: Propagate = "none",
) -> tuple[list[Labelled], dict[str, int]]:
    """Return the candidates whose label has a part in training, and how many of the others there are of each kind.

    `trusts_judge` tells whether a judge's label of a pair may be used, by its id.

    Raises:
        MissingError: there are no candidates, or no label that may be used.
    """
    found = labelled_candidates(store, policy, resolution=resolution, propagate=propagate)
    if not found.num_rows:
        raise MissingError(
            f"policy {policy.name!r} has no candidates yet",
            hint=f"uncited mine --policy {policy.name}",
        )
    tally: Counter[str | None] = Counter()
    judged_only = 0
    places = []
    columns = ("pair_id", "label", "source", "reviewed", "duplicate_of")
    answers = zip(*(found[name].to_pylist() for name in columns), strict=True)
    for place, (pair_id, label, source, reviewed, duplicate_of) in enumerate(answers):
        usable = reviewed or source == "propagated" or (label is not None and trusts_judge(pair_id))
        role = policy.role(label) if usable and label is not None else None
        why = _why_left_out(role, usable=usable, is_duplicate=duplicate_of is not None)
        tally[why] += 1
        judged_only += why == "unreviewed" and label is not None
        if why is None:
            places.append(place)
    if not places:
        raise MissingError(
            f"nobody has labelled a pair of policy {policy.name!r} yet"
            + (
                f" ({judged_only} have a judge's label; --judge-labels uses what is certified of those)"
                if judged_only
                else ""
            ),
            hint=f"uncited review push --policy {policy.name}",
        )
    rows = found.select(Labelled._fields[:-1]).take(places).to_pylist()
    left_out = {why: tally[why] for why in ("duplicates", "excluded", "undecided", "unreviewed")}
    counts = {"candidates": found.num_rows, **left_out, "judged_only": judged_only}
    return [Labelled(**row, role=policy.role(row["label"])) for row in rows], counts


def _why_left_out(role: Role | None, *, usable: bool, is_duplicate: bool) -> str | None:
    """Name why a candidate stays out; None where it does not. `role` is None without a label that may be used."""
    if role == "positive":
        return None
    if is_duplicate:
        return "duplicates"
    if not usable:
        return "unreviewed"
    if role is None:
        return "undecided"
    return "excluded" if role == "excluded" else None
