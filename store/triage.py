"""Triage scores: an order for the review queue, where no judge can be had."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.policies import Policy


def add_triage_scores(store: Store, scorer: str, scores: Mapping[str, float]) -> int:
    """Store scores by pair id; return how many are new."""
    return store.insert(
        "triage_scores",
        pa.table(
            {
                "pair_id": pa.array(scores, pa.string()),
                "scorer": pa.array([scorer] * len(scores), pa.string()),
                "score": pa.array(scores.values(), pa.float64()),
                "scored_at": pa.array([datetime.now(UTC)] * len(scores), pa.timestamp("us", tz="UTC")),
            }
        ),
    )


def pairs_to_triage(store: Store, policy: Policy, scorer: str) -> pa.Table:
    """Return the candidate pairs of a policy that `scorer` has not scored.

    Returns:
        Columns pair_id, anchor_id, anchor, chunk_id, chunk; ordered by anchor_id, pair_id.
    """
    return store.table(
        """
        SELECT pair_id, anchor_id, anchors.text AS anchor, chunk_id, chunks.text AS chunk
        FROM candidate_pairs
        ANTI JOIN (SELECT pair_id FROM triage_scores WHERE scorer = $scorer) USING (pair_id)
        JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        WHERE policy_name = $policy AND duplicate_of IS NULL
        ORDER BY anchor_id, pair_id
        """,
        {"policy": policy.name, "scorer": scorer},
    )
