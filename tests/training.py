"""A train split without a store, for tests of what is trained on it."""

from collections.abc import Sequence

import pyarrow as pa

from store.ids import anchor_id, chunk_id
from train.rows import TrainingSplit

_TRIPLETS = ("anchor_id", "positive_id", "negative_id", "anchor", "positive", "negative")


def split_of(triplets: Sequence[tuple[str, str, str]]) -> TrainingSplit:
    """Make the split that holds these triplets (anchor, positive, negative) and the labels that they rest on."""
    rows = [(anchor_id(a), chunk_id(p), chunk_id(n), a, p, n) for a, p, n in triplets]
    table = pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(_TRIPLETS)})
    told = {(a, text): relevance for a, p, n in triplets for text, relevance in ((p, 1.0), (n, 0.0))}
    labels = pa.table(
        {
            "anchor_id": pa.array([anchor_id(a) for a, _ in told], pa.string()),
            "chunk_id": pa.array([chunk_id(text) for _, text in told], pa.string()),
            "anchor": pa.array([a for a, _ in told], pa.string()),
            "chunk": pa.array([text for _, text in told], pa.string()),
            "relevance": pa.array(list(told.values()), pa.float64()),
            "split_group": pa.array([anchor_id(a) for a, _ in told], pa.string()),
            "source": pa.array(["human"] * len(told), pa.string()),
            "kind": pa.array(["text"] * len(told), pa.string()),
            "synthetic": pa.array([False] * len(told), pa.bool_()),
        }
    )
    return TrainingSplit("build_1", table, labels)
