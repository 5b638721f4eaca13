"""Hits rescored by a cross-encoder, which reads query and chunk together."""

import functools
import gc
from typing import TYPE_CHECKING

from mining.hits import Hits, in_order
from store.database import Store
from store.encoders import load_cross_encoder, model_name
from store.mined import Ground
from store.progress import Progress
from store.rescoring import rescored_pairs

if TYPE_CHECKING:
    import numpy as np


def rescored(store: Store, ground: Ground, hits: Hits, model: str, progress: Progress) -> "tuple[Hits, np.ndarray]":
    """Return hits in the order of a cross-encoder's scores, and the lowest score of each anchor's positives.

    Raises:
        MissingError: there is no such model.
        UsageError: it gives more than one number a pair.
    """
    import numpy as np

    load = functools.cache(lambda: load_cross_encoder(model))

    def score(pairs: list[tuple[str, str]]) -> "np.ndarray":
        found: np.ndarray = load().predict(pairs, show_progress_bar=False)
        return found

    rows, columns = np.nonzero(hits.chunks >= 0)
    owners, positives = ground.positives
    scores = rescored_pairs(
        store,
        np.concatenate([rows.astype(np.int32), owners]),
        np.concatenate([hits.chunks[rows, columns], positives]),
        model=f"{model_name(model)}, cross-encoder",
        score=score,
        progress=progress,
    )
    load.cache_clear()
    gc.collect()
    again = np.full(hits.scores.shape, -np.inf, np.float32)
    again[rows, columns] = scores[: len(rows)]
    lowest = np.full(len(ground.anchors), np.inf, np.float32)
    np.minimum.at(lowest, owners, scores[len(rows) :])
    return in_order(Hits(hits.chunks, again)), lowest
