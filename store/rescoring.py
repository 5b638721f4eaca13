"""Scores that a cross-encoder gave to pairs of a search. They are kept, since each costs a forward pass."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from store.candidates import PAIR_ID
from store.database import Store
from store.progress import Progress

if TYPE_CHECKING:
    import numpy as np

_PAIRS_HELD = 4096  # read from the store together
_SECONDS = 1.0  # a run that is stopped loses what was scored since


def rescored_pairs(
    store: Store,
    owners: "np.ndarray",
    chunks: "np.ndarray",
    *,
    model: str,
    score: "Callable[[list[tuple[str, str]]], np.ndarray]",
    progress: Progress,
) -> "np.ndarray":
    """Return the score of each pair of places (see `store.mined.read_ground`); only new pairs are scored.

    Args:
        store: keeps the scores.
        owners: places of anchors.
        chunks: places of chunks, as many; each pair once.
        model: names the cross-encoder.
        score: scores pairs of texts; not called where nothing is new.
        progress: told of the pairs that are scored.

    Returns:
        Shape (pairs,), float32.
    """
    import numpy as np

    asked = pa.table({"number": pa.array(range(len(owners)), pa.int64()), "anchor": owners, "chunk": chunks})
    with store.view_of("asked", asked):
        store.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE rescoring AS
            SELECT number, anchor, chunk, {PAIR_ID} AS pair_id
            FROM asked JOIN mining_anchors USING (anchor) JOIN mining_corpus USING (chunk)
            """
        )
    new = store.table(
        """
        SELECT pair_id, anchor, chunk FROM rescoring
        ANTI JOIN (FROM cross_encoder_scores WHERE model = ?) USING (pair_id) ORDER BY anchor, chunk
        """,
        [model],
    )
    if new.num_rows:
        progress.start("rescoring", new.num_rows)
    for start in range(0, new.num_rows, _PAIRS_HELD):
        _score_page(store, new.slice(start, _PAIRS_HELD), model, score, progress)
    found = store.table(
        "SELECT number, score FROM rescoring JOIN cross_encoder_scores USING (pair_id) WHERE model = ?", [model]
    )
    store.execute("DROP TABLE rescoring")
    scores = np.empty(len(owners), np.float32)
    scores[found["number"].to_numpy()] = found["score"].to_numpy()
    return scores


def _score_page(
    store: Store,
    page: pa.Table,
    model: str,
    score: "Callable[[list[tuple[str, str]]], np.ndarray]",
    progress: Progress,
) -> None:
    with store.view_of("page", page):
        texts = store.table(
            """
            SELECT pair_id, mining_anchors.text AS anchor, chunks.text AS chunk
            FROM page JOIN mining_anchors USING (anchor) JOIN mining_corpus USING (chunk) JOIN chunks USING (chunk_id)
            ORDER BY length(mining_anchors.text) + length(chunks.text) DESC, pair_id
            """
        )
    keys = texts["pair_id"].to_pylist()
    pairs = list(zip(texts["anchor"].to_pylist(), texts["chunk"].to_pylist(), strict=True))
    done: list[tuple[str, float]] = []
    stored_at = time.monotonic()
    try:
        for start in range(0, len(pairs), 64):
            batch = slice(start, start + 64)
            done += zip(keys[batch], map(float, score(pairs[batch])), strict=True)
            progress.advance(len(keys[batch]))
            if time.monotonic() - stored_at >= _SECONDS:
                _put(store, model, done)
                done, stored_at = [], time.monotonic()
    finally:
        _put(store, model, done)


def _put(store: Store, model: str, done: list[tuple[str, float]]) -> None:
    columns = {
        "model": pa.array([model] * len(done), pa.string()),
        "pair_id": pa.array([key for key, _ in done], pa.string()),
        "score": pa.array([score for _, score in done], pa.float32()),
    }
    store.insert("cross_encoder_scores", pa.table(columns))
