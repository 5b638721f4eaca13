"""Chunks that repeat a positive of their anchor in other words, as far as an embedding model can tell."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

import pyarrow as pa

from mining.dense import embed_chunks
from store.database import Store
from store.embeddings import stored_rows
from store.progress import Progress, silent
from store.retrievals import not_repeated
from store.workspace import MineSettings

if TYPE_CHECKING:
    import numpy as np

_CHUNKS_AT_A_TIME = 16_384  # whose embeddings are held in memory
_COSINES_AT_A_TIME = 1_000_000
_DECIMALS = 6  # of a cosine; what differs behind them depends on which texts were encoded together


def repeated_by_embedding(
    store: Store,
    listed: pa.Table,
    repeated: pa.Table,
    settings: MineSettings,
    cosine: float,
    *,
    progress: Progress = silent,
) -> pa.Table:
    """Add to the chunks that repeat a positive by their text those that do by the cosine of their embeddings.

    Each is named once, with the positive whose cosine is highest (of equals, the first by id). Chunks that are embedded
    already are not encoded again, and those of anchors where the texts have settled everything are not looked at.

    Args:
        store: holds the texts, and keeps the embeddings.
        listed: see `mining.repeated.repeated_positives`; each chunk once an anchor.
        repeated: what that found.
        settings: the model, and the prompt of chunks.
        cosine: the lowest that counts as a repetition.
        progress: told of chunks that are encoded, and of those that are compared.

    Returns:
        The columns of `repeated`, and duplicate_model: null where the texts say it, else the model.

    Raises:
        MissingError: there is no such model.
    """
    import numpy as np

    left = not_repeated(store, listed, repeated)
    anchor_ids, chunk_ids = (left[name].combine_chunks() for name in ("anchor_id", "chunk_id"))
    carries = left["carries"].combine_chunks().to_numpy(zero_copy_only=False)
    chunks = embed_chunks(store, chunk_ids.unique(), settings, progress)
    progress.start("compare embeddings with candidate positives", left.num_rows)
    found = [_Closest.empty()]
    for page in _pages(anchor_ids.dictionary_encode().indices.to_numpy()):
        start = page[0].start
        encoded = chunk_ids[start : page[-1].stop].dictionary_encode()
        vectors, places = stored_rows(store, encoded.dictionary, model=chunks.stored_as), encoded.indices.to_numpy()
        for rows in page:
            own = _closest(vectors[places[rows.start - start : rows.stop - start]], carries[rows])
            near = own.cosines >= cosine
            found.append(_Closest(rows.start + own.others[near], rows.start + own.positives[near], own.cosines[near]))
            progress.advance(rows.stop - rows.start)
    others, positives, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    by_embedding = {
        "anchor_id": anchor_ids.take(others),
        "chunk_id": chunk_ids.take(others),
        "duplicate_of": chunk_ids.take(positives),
        "similarity": cosines,
        "duplicate_model": pa.array([chunks.model] * len(others), pa.string()),
    }
    by_text = repeated.append_column("duplicate_model", pa.nulls(repeated.num_rows, pa.string()))
    return pa.concat_tables([by_text, pa.table(by_embedding, schema=by_text.schema)])


class _Closest(NamedTuple):
    """Chunks that are no positives, and of each the positive whose embedding is closest; as places in a list."""

    others: "np.ndarray"
    positives: "np.ndarray"
    cosines: "np.ndarray"

    @classmethod
    def empty(cls) -> Self:
        import numpy as np

        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _closest(vectors: "np.ndarray", carries: "np.ndarray") -> _Closest:
    """Find the closest positive of each other chunk of an anchor, given the embeddings of all of them."""
    import numpy as np

    positives, others = np.flatnonzero(carries), np.flatnonzero(~carries)
    found = _Closest(others, np.zeros(len(others), np.int64), np.zeros(len(others)))
    step = max(1, _COSINES_AT_A_TIME // len(positives))
    for start in range(0, len(others), step):
        part = slice(start, start + step)
        # Not a product of matrices, whose last digits depend on their shapes.
        cosines = np.einsum("ij,kj->ik", vectors[others[part]], vectors[positives]).astype(np.float64).round(_DECIMALS)
        found.positives[part] = positives[cosines.argmax(axis=1)]
        found.cosines[part] = cosines.max(axis=1)
    return found


def _pages(anchors: "np.ndarray") -> "Iterator[list[slice]]":
    """Cut rows, ordered by anchor, into those of each anchor; yield as many together as fit into memory."""
    import numpy as np

    ends = np.flatnonzero(np.diff(anchors, append=-1)) + 1
    page: list[slice] = []
    start = 0
    for end in ends.tolist():
        page.append(slice(start, end))
        start = end
        if end - page[0].start >= _CHUNKS_AT_A_TIME:
            yield page
            page = []
    if page:
        yield page
