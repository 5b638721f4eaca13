"""The pairs on which two policies disagree: what is similar under the one and not under the other."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from store.database import Store
from store.labels import Resolution
from store.policies import Policy, Role
from store.policy_changes import labels_under_both


class Cell(NamedTuple):
    """How many pairs have this label under the one policy and that under the other."""

    one: str
    one_role: Role
    other: str
    other_role: Role
    pairs: int


class Disagreement(NamedTuple):
    """A pair whose labels play another role under each of the two policies."""

    pair_id: str
    anchor: str
    chunk: str
    one: str
    one_role: Role
    other: str
    other_role: Role


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policies over the pairs that have a label under both."""

    pairs: int
    cells: tuple[Cell, ...]  # the fullest first
    disagreements: tuple[Disagreement, ...]


def compare_policies(store: Store, one: Policy, other: Policy, *, resolution: Resolution = "majority") -> Comparison:
    """Lay the labels of two policies side by side; with no pair labelled under both, all is empty.

    Args:
        store: where the labels are.
        one: a policy.
        other: another, or another version; two that differ only in roles share their labels.
        resolution: see `store.labels.labelled_candidates`.
    """
    rows = labels_under_both(store, one, other, resolution=resolution).to_pylist()
    counts = Counter((row["one"], row["other"]) for row in rows)
    pairs = [Disagreement(**row, one_role=one.role(row["one"]), other_role=other.role(row["other"])) for row in rows]
    return Comparison(
        pairs=len(rows),
        cells=tuple(
            Cell(first, one.role(first), second, other.role(second), count)
            for (first, second), count in counts.most_common()
        ),
        disagreements=tuple(pair for pair in pairs if pair.one_role != pair.other_role),
    )
