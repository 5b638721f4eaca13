"""Propagation: a label that people gave one pair, lent to pairs that say the same.

Only where `[review] propagate` says so. A propagated label is no review: it is read off the reviews each time it is
asked for (the macro `propagated_labels` of the schema), so it goes when the setting or the review goes. What is stored
is which pairs are alike, and that follows from their texts.

Only pairs of one anchor are compared, where anchors count as one if they are the same once normalised (case, white
space, punctuation). Nearly the same anchor will not do: a question is short, and one word ("with", "without") turns
the answer round while most of its text is shared. A chunk is long, and from `NEAR_DUPLICATE` on nearly all that was
seen on real passages were copies with the same relevance grade (see `store.text`).
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.policies import Policy
from store.text import NEAR_DUPLICATE, Shingles, normalised, overlap, shingles

Propagate = Literal["none", "exact", "near"]

_PAIRS_AT_A_TIME = 50_000


def near_pairs(texts: Sequence[Shingles]) -> Iterator[tuple[int, int, float]]:
    """Yield the places of every two sets that overlap by `NEAR_DUPLICATE` or more (the larger first), and the overlap.

    Two sets that overlap by t or more share one of their first n - ceil(t * n) + 1 members in any common order, so
    only those are looked up (prefix filtering: Bayardo, Ma and Srikant, WWW 2007).
    """
    holders: dict[int, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        rare = heapq.nsmallest(len(text) - math.ceil(NEAR_DUPLICATE * len(text) - 1e-9) + 1, text)
        for other in {other for shingle in rare for other in holders[shingle]}:
            if (shared := overlap(text, texts[other])) >= NEAR_DUPLICATE:
                yield index, other, shared
        for shingle in rare:
            holders[shingle].append(index)


def compare_pairs(store: Store, policy: Policy, propagate: Propagate) -> None:
    """See to it that the candidates of a policy have been compared, as far as a label may spread.

    Call it before `labels` is read with the same `propagate`. What was compared before is not compared again, so it
    costs something only where candidates are new, or an anchor got its first review.
    """
    if propagate == "none":
        return
    for texts in _uncompared(store, policy):
        found = [row for group in texts.values() for row in _alike(group)]
        pairs = [pair_id for group in texts.values() for pair_id in group]
        with store.transaction():
            store.insert("alike_pairs", _table(found))
            compared = {"policy_name": [policy.name] * len(pairs), "pair_id": pairs}
            store.insert("compared_pairs", pa.table(compared))


def _uncompared(store: Store, policy: Policy) -> Iterator[dict[str, dict[str, str]]]:
    """Yield the pairs of anchors that have a review and a pair not compared yet: anchor -> pair_id -> chunk."""
    anchors = store.table(
        """
        SELECT anchor_id, text, bool_or(pair_id IN (
                   SELECT pair_id FROM reviews WHERE labelling_fingerprint = $fingerprint
               )) AS reviewed,
               bool_or(pair_id NOT IN (SELECT pair_id FROM compared_pairs WHERE policy_name = $policy)) AS new,
               count(*) AS pairs
        FROM candidate_pairs JOIN anchors USING (anchor_id) WHERE policy_name = $policy
        GROUP BY anchor_id, text ORDER BY anchor_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    ).to_pylist()
    groups: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in anchors:
        groups[normalised(row["text"])].append(row)
    wanted: list[tuple[str, str]] = []
    size = 0
    for anchor, rows in groups.items():
        if any(row["reviewed"] for row in rows) and any(row["new"] for row in rows):
            wanted += [(str(row["anchor_id"]), anchor) for row in rows]
            size += sum(int(str(row["pairs"])) for row in rows)
        if size > _PAIRS_AT_A_TIME:
            yield _texts(store, policy, wanted)
            wanted, size = [], 0
    if wanted:
        yield _texts(store, policy, wanted)


def _texts(store: Store, policy: Policy, wanted: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    ids, anchors = zip(*wanted, strict=True)
    with store.view_of("wanted", pa.table({"anchor_id": pa.array(ids), "anchor": pa.array(anchors)})):
        rows = store.table(
            """
            SELECT anchor, pair_id, text
            FROM candidate_pairs JOIN wanted USING (anchor_id) JOIN chunks USING (chunk_id)
            WHERE policy_name = ? ORDER BY anchor, pair_id
            """,
            [policy.name],
        )
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for anchor, pair_id, text in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        groups[anchor][pair_id] = text
    return groups


def _alike(texts: Mapping[str, str]) -> Iterator[tuple[str, str, float, bool]]:
    """Yield pair_id, alike_id, similarity, exact for every two pairs of a group that are alike, both ways round."""
    pairs, normal = list(texts), [normalised(text) for text in texts.values()]
    for one, other, shared in near_pairs([shingles(text) for text in normal]):
        exact = normal[one] == normal[other]
        yield pairs[one], pairs[other], 1.0 if exact else shared, exact
        yield pairs[other], pairs[one], 1.0 if exact else shared, exact


def _table(rows: Sequence[tuple[str, str, float, bool]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    kinds = (pa.string(), pa.string(), pa.float64(), pa.bool_())
    names = ("pair_id", "alike_id", "similarity", "exact")
    return pa.table({n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)})
