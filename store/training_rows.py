"""The labels of a build's train split as training reads them."""

import pyarrow as pa

from store.builds import Build
from store.database import Store


def training_labels(store: Store, build: Build) -> pa.Table:
    """Return the labels that a build trains on, with texts.

    Returns:
        Columns anchor_id, chunk_id, anchor, chunk, relevance (1 for a positive, 0 for a negative), split_group, source,
        kind (of the chunk), synthetic (whether a model wrote the anchor), label; ordered by anchor_id and pair_id.
    """
    return store.table(
        """
        SELECT pairs.anchor_id, pairs.chunk_id, anchors.text AS anchor, chunks.text AS chunk,
               CAST(role = 'positive' AS DOUBLE) AS relevance, split_group, source, chunks.kind,
               pairs.anchor_id IN (SELECT anchor_id FROM synthetic_anchors) AS synthetic, label
        FROM build_labels
        JOIN pairs USING (pair_id)
        JOIN anchors ON anchors.anchor_id = pairs.anchor_id
        JOIN chunks ON chunks.chunk_id = pairs.chunk_id
        WHERE build_id = ? AND split = 'train' AND role <> 'excluded' ORDER BY pairs.anchor_id, pair_id
        """,
        [build.build_id],
    )
