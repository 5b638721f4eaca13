"""Labels parted into train and test, without what would leak or mislead, and the triplets that they make."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from store.errors import MissingError
from store.policies import Policy, Role
from store.synthetic import Purpose
from train.alike import Alike, alike_chunks, alike_queries
from train.guard import Guarded, without_hidden_positives, without_test_texts
from train.labelled import Labelled
from train.splits import Groups, Split, assign_splits, split_groups


class Parted(NamedTuple):
    """The labels that remain, the groups and the split of each anchor, and what was left out on the way.

    `hidden` has left out hidden positives. Of what it kept, `torn` counts the labels of questions that would have to be
    on both sides, `offered` are the others, and `tested` has left out of those what repeats the test split.
    """

    groups: Groups
    splits: Mapping[str, Split]
    chunks: Alike
    hidden: Guarded
    torn: int
    offered: list[Labelled]
    tested: Guarded

    @property
    def labelled(self) -> list[Labelled]:
        """The labels of the build."""
        return self.tested.kept


def parted(
    labelled: list[Labelled],
    policy: Policy,
    written: Mapping[str, Purpose],
    *,
    test_share: float,
    shared_chunks: bool,
    seed: int,
) -> Parted:
    """Leave out hidden positives, split the queries by group, and keep the texts of the test split from training.

    Args:
        labelled: labels that may be used.
        policy: whose.
        written: what each query is for that a model wrote.
        test_share: of the queries, from 0 (no test split) to below 1.
        shared_chunks: let negatives of test queries stand in the train split too.
        seed: another one splits otherwise.

    Raises:
        MissingError: no query has both a positive and a negative.
        InvalidDataError: all queries hang together, so that no test can be held back.
        UsageError: `test_share` is out of range.
    """
    chunks = alike_chunks({row.chunk_id: row.chunk for row in labelled})
    queries = alike_queries({row.anchor_id: row.anchor for row in labelled})
    hidden = without_hidden_positives(labelled, chunks, queries)
    positives, negatives = _by_anchor(hidden.kept, "positive"), _by_anchor(hidden.kept, "negative")
    usable = positives.keys() & negatives.keys()
    if not usable:
        raise MissingError(
            f"no query of policy {policy.name!r} has both a positive and a negative"
            f" ({len(positives)} have a positive, {len(negatives)} a negative)",
            hint=f"uncited review push --policy {policy.name}",
        )
    groups, splits = _split(hidden.kept, positives, usable, queries, chunks, written, test_share, seed)
    offered = [row for row in hidden.kept if row.anchor_id not in groups.torn]
    tested = without_test_texts(offered, splits, chunks, shared_chunks=shared_chunks)
    return Parted(groups, splits, chunks, hidden, len(hidden.kept) - len(offered), offered, tested)


def _split(
    labelled: list[Labelled],
    positives: Mapping[str, list[str]],
    usable: set[str],
    queries: Alike,
    chunks: Alike,
    written: Mapping[str, Purpose],
    test_share: float,
    seed: int,
) -> tuple[Groups, dict[str, Split]]:
    """Return the groups, and the split of each anchor that is not torn.

    Questions that a model wrote for evaluation are tested on, and those for training or for a judge's examples are not.
    """
    sides: dict[str, Split] = {
        anchor: "test" if written[anchor] == "evaluation" else "train"
        for anchor in queries.representative
        if anchor in written
    }
    groups = split_groups(queries, positives, chunks, {row.chunk_id: row.documents for row in labelled}, sides)
    split_of = assign_splits(groups.of, usable, test_share=test_share, seed=seed, sides=groups.sides)
    return groups, {anchor: split_of[group] for anchor, group in groups.of.items() if anchor not in groups.torn}


class Triplet(NamedTuple):
    """Ids of a triplet, and its split."""

    split: Split
    anchor_id: str
    positive_id: str
    negative_id: str


def made_triplets(parts: Parted, negatives_per_positive: int) -> list[Triplet]:
    """Let every positive meet its share of the negatives of its query, as `train.triplets.build` says."""
    negatives = _by_anchor(parts.labelled, "negative")
    triplets = []
    for anchor, own in _by_anchor(parts.labelled, "positive").items():
        offered = negatives.get(anchor, [])
        taken = min(len(offered), negatives_per_positive)
        for i, positive in enumerate(own):
            for j in range(taken):
                negative = offered[(i * taken + j) % len(offered)]
                triplets.append(Triplet(parts.splits[anchor], anchor, positive, negative))
    return triplets


def _by_anchor(labelled: Iterable[Labelled], role: Role) -> dict[str, list[str]]:
    """Map each anchor to its chunks of a role: labelled by people first, then by rank, then by id."""
    rows = [row for row in labelled if row.role == role]
    rows.sort(key=lambda row: (row.source != "human", row.rank is None, row.rank, row.chunk_id))
    chunks = defaultdict(list)
    for row in rows:
        chunks[row.anchor_id].append(row.chunk_id)
    return dict(chunks)
