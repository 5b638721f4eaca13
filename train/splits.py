"""Train and test, parted so that nothing leaks from one into the other."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from store.errors import InvalidDataError, UsageError
from store.ids import content_id
from train.alike import Alike

Split = Literal["train", "test"]

# A "document" that stands behind more of the anchors than this is a category (a whole manual, a product line, a
# class), not a text whose parts give one another away; linking by it would leave one group and nothing to test on.
LARGEST_DOCUMENT_GROUP = 0.1


@dataclass(frozen=True, slots=True)
class Groups:
    """Anchors that must stay on one side of the split.

    `of` maps each anchor id to its group, named by the smallest anchor id in it. `unlinked_documents` maps the
    documents that were not held together, because the group would have grown too large or its anchors belong to
    different sides, to their number of anchors. `sides` maps the groups that hold an anchor which may stand on one side
    only to that side; `torn` are anchors that may only be tested on, in a group of which others may only be trained on:
    such a group is trained on, and they have to be left out.
    """

    of: Mapping[str, str]
    unlinked_documents: Mapping[str, int]
    sides: Mapping[str, Split] = field(default_factory=dict)
    torn: frozenset[str] = frozenset()


def split_groups(
    queries: Alike,
    positives: Mapping[str, Collection[str]],
    chunks: Alike,
    documents: Mapping[str, Iterable[str]],
    sides: Mapping[str, Split] | None = None,
) -> Groups:
    """Return the connected components over anchors.

    Linked always: anchors whose queries nearly repeat each other, and anchors of which a positive of one is, or nearly
    repeats, a positive of the other. Linked where it can be: anchors with positives from the same document. Documents
    are taken from the smallest up, each wholly or not at all, as long as the group they make holds at most a tenth of
    the anchors (and never fewer than two) and none of them belong to different sides; the rest is named in the result,
    so that nobody takes it for granted.

    Args:
        queries: all anchors, compared.
        positives: the positive chunk ids of each anchor that has any.
        chunks: at least all positives, compared.
        documents: the source documents of each chunk that has any.
        sides: anchors that may stand on one side only.
    """
    sides = sides or {}
    parent = {anchor: anchor for anchor in queries.representative}
    size = dict.fromkeys(parent, 1)
    wanted = {anchor: {sides[anchor]} if anchor in sides else set() for anchor in parent}  # sides, by root

    def find(anchor: str) -> str:
        while parent[anchor] != anchor:
            parent[anchor] = parent[parent[anchor]]
            anchor = parent[anchor]
        return anchor

    def link(anchors: Iterable[str]) -> None:
        roots = sorted({find(anchor) for anchor in anchors})
        for root in roots[1:]:
            parent[root] = roots[0]
            size[roots[0]] += size[root]
            wanted[roots[0]] |= wanted[root]

    _link_alike(queries, {anchor: [anchor] for anchor in parent}, link)
    _link_alike(chunks, _turned_round(positives), link)
    behind: dict[str, set[str]] = {}
    for anchor, chunk_ids in positives.items():
        for document in {document for chunk_id in chunk_ids for document in documents.get(chunk_id, ())}:
            behind.setdefault(document, set()).add(anchor)
    limit = max(2, int(LARGEST_DOCUMENT_GROUP * len(parent)))
    unlinked = {}
    for document, anchors in sorted(behind.items(), key=lambda item: (len(item[1]), item[0])):
        roots = {find(anchor) for anchor in anchors}
        apart = len(set().union(*(wanted[root] for root in roots))) > 1
        if len(roots) > 1 and (apart or sum(size[root] for root in roots) > limit):
            unlinked[document] = len(anchors)
        else:
            link(anchors)
    roots = {find(anchor) for anchor in sides}
    side_of: dict[str, Split] = {root: "train" if "train" in wanted[root] else "test" for root in roots}
    torn = frozenset(anchor for anchor, side in sides.items() if side == "test" and side_of[find(anchor)] == "train")
    return Groups({anchor: find(anchor) for anchor in parent}, unlinked, side_of, torn)


def _turned_round(positives: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Map each positive chunk to its anchors."""
    anchors_of: dict[str, list[str]] = {}
    for anchor, chunk_ids in positives.items():
        for chunk_id in chunk_ids:
            anchors_of.setdefault(chunk_id, []).append(anchor)
    return anchors_of


def _link_alike(alike: Alike, holders: Mapping[str, list[str]], link: Callable[[list[str]], None]) -> None:
    """Link the anchors that hold texts which repeat one another."""
    by_text: dict[str, list[str]] = {}
    for text_id, anchors in holders.items():
        by_text.setdefault(alike.representative[text_id], []).extend(anchors)
    for own, anchors in by_text.items():
        link(anchors + [anchor for other in alike.near.get(own, ()) for anchor in by_text.get(other, ())])


def assign_splits(
    groups: Mapping[str, str],
    usable: Collection[str],
    *,
    test_share: float,
    seed: int,
    sides: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Give each group to train or test; return the split of each group.

    Groups are taken in the order of a hash of their name, so new labels move few of them, and go to test as long as
    that brings its number of anchors nearer to `test_share`. The groups with usable anchors are dealt first and apart
    from the others, so that both sides get their part of them.

    Args:
        groups: the group of each anchor.
        usable: anchors that have both a positive and a negative.
        test_share: of the anchors, at least 0 and below 1; 0 makes no test split.
        seed: another seed deals otherwise.
        sides: groups whose side is settled; they are not dealt, and the share is one of the others.

    Raises:
        UsageError: `test_share` is out of range.
        InvalidDataError: there are too few groups to part.
    """
    if not 0 <= test_share < 1:
        raise UsageError(f"a test share of {test_share} makes no sense: at least 0, below 1")
    weights: dict[str, int] = {}
    others: dict[str, int] = {}
    sides = sides or {}
    for anchor, group in groups.items():
        if group in sides:
            continue
        others[group] = others.get(group, 0) + 1
        if anchor in usable:
            weights[group] = weights.get(group, 0) + 1
    if test_share and len(weights) < 2 and "test" not in sides.values():
        raise InvalidDataError(
            f"all {sum(weights.values())} queries that have a positive and a negative form one group (they share"
            " positives or nearly repeat one another), so none can be held back for a test without leaking;"
            " have more queries reviewed, or train on all of them with `--test-share 0`"
        )
    for group in weights:
        del others[group]
    in_test = _dealt(weights, test_share, seed) | _dealt(others, test_share, seed)
    return {group: "test" if group in in_test else "train" for group in {**weights, **others}} | dict(sides)


def _dealt(weights: Mapping[str, int], test_share: float, seed: int) -> set[str]:
    """Choose the groups for test: about `test_share` of the weight, at least one group where there are two."""
    target = test_share * sum(weights.values())
    chosen: set[str] = set()
    taken = 0
    for group in sorted(weights, key=lambda group: content_id("split", seed, group)):
        weight = weights[group]
        if len(chosen) + 1 < len(weights) and abs(taken + weight - target) < abs(taken - target):
            chosen.add(group)
            taken += weight
    if not chosen and test_share and len(weights) > 1:  # one group outweighs all others
        chosen.add(min(weights, key=lambda group: (weights[group], group)))
    return chosen
