"""Triage scores: an order for the review queue, where no judge can be had."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store


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
