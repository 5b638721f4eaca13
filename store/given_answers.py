"""Answers as people gave them: when, beside which suggestion, about which text."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from store.database import Store
from store.policies import Policy
from store.propagation import compare_pairs


class GivenAnswer(NamedTuple):
    """One answer of a reviewer under a policy's question; adjudications and carried answers are none.

    `current`: it is the last one that this reviewer gave about the pair. `judged` is the label of the judge that
    counts now. `origin` as in `store.reviews.Review`.
    """

    pair_id: str
    anchor_id: str
    chunk: str
    reviewer: str
    label: str | None  # None: discarded
    stream: str
    suggested: str | None
    judged: str | None
    reviewed_at: datetime
    origin: str
    current: bool


class AlikeAnswers(NamedTuple):
    """The last answers to two pairs of one query whose chunks (nearly) repeat each other, where these differ."""

    pair_id: str
    reviewer: str
    label: str
    alike_id: str
    alike_reviewer: str
    alike_label: str
    similarity: float
    exact: bool
    anchor: str
    chunk: str
    alike_chunk: str


def given_answers(store: Store, policy: Policy) -> list[GivenAnswer]:
    """Return all answers to a policy's question about its candidates, ordered by reviewer and time."""
    found = store.table(
        """
        SELECT pair_id, anchor_id, chunks.text AS chunk, reviewer, reviews.label, stream, suggested,
               judged.label AS judged, reviewed_at, origin,
               review_id IN (SELECT review_id FROM current_reviews) AS current
        FROM reviews
        JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates USING (pair_id)
        JOIN chunks USING (chunk_id)
        LEFT JOIN (FROM current_judgments WHERE labelling_fingerprint = $fingerprint) AS judged USING (pair_id)
        WHERE reviews.labelling_fingerprint = $fingerprint AND stream <> 'adjudication'
              AND reviews.carried_from IS NULL
        ORDER BY reviewer, reviewed_at, pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [GivenAnswer(**row) for row in found.to_pylist()]


def alike_pairs(store: Store, policy: Policy) -> dict[str, set[str]]:
    """Map the candidates of reviewed anchors to those of the same anchor that (nearly) repeat them."""
    compare_pairs(store, policy, "near")
    rows = store.table(
        """
        SELECT pair_id, list(alike_id) AS alike FROM alike_pairs
        SEMI JOIN (FROM candidate_pairs WHERE policy_name = ?) AS candidates USING (pair_id) GROUP BY pair_id
        """,
        [policy.name],
    )
    return {pair: set(alike) for pair, alike in zip(*(c.to_pylist() for c in rows.columns), strict=True)}


def differing_answers(store: Store, policy: Policy, labels: Sequence[str]) -> list[AlikeAnswers]:
    """Return where reviewers gave different labels of these to duplicates; the most alike first, each two once."""
    compare_pairs(store, policy, "near")
    found = store.table(
        """
        WITH said AS (
            SELECT pair_id, reviewer, label FROM votes
            WHERE labelling_fingerprint = $fingerprint AND label IN (SELECT unnest($labels))
        )
        SELECT alike_pairs.pair_id, one.reviewer, one.label, alike_id, other.reviewer AS alike_reviewer,
               other.label AS alike_label, alike_pairs.similarity, alike_pairs.exact, anchors.text AS anchor,
               chunks.text AS chunk, other_chunks.text AS alike_chunk
        FROM alike_pairs
        JOIN said AS one ON one.pair_id = alike_pairs.pair_id
        JOIN said AS other ON other.pair_id = alike_id AND other.label <> one.label
        JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates
            ON candidates.pair_id = alike_pairs.pair_id
        JOIN pairs AS other_pairs ON other_pairs.pair_id = alike_id
        JOIN anchors ON anchors.anchor_id = candidates.anchor_id
        JOIN chunks ON chunks.chunk_id = candidates.chunk_id
        JOIN chunks AS other_chunks ON other_chunks.chunk_id = other_pairs.chunk_id
        WHERE alike_pairs.pair_id < alike_id
        ORDER BY exact DESC, alike_pairs.similarity DESC, alike_pairs.pair_id, alike_id, one.reviewer, other.reviewer
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint, "labels": list(labels)},
    )
    return [AlikeAnswers(**row) for row in found.to_pylist()]
