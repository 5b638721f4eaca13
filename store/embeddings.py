"""Embeddings of texts, kept by content: a text is encoded once for each model, whoever needs it.

They are kept as float32. Half of that would do for most uses, but it moves cosines by up to 0.001, and the ranking of
a large corpus with them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from store.database import Store
from store.ids import text_id
from store.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    Encode = Callable[[list[str]], np.ndarray]

_TEXTS_AT_A_TIME = 512  # handed to the encoder together
_TEXTS_HELD = 8_192  # read from the store together
_KEPT_MIB = 16  # by the database meanwhile: each embedding is written once and read once
_SECONDS = 1.0  # a run that is stopped loses what was encoded since


def embedded(
    store: Store,
    texts: Sequence[str],
    *,
    model: str,
    encode: "Encode",
    progress: Progress = silent,
) -> "np.ndarray":
    """Return the embedding of each text; only those that are not stored yet are encoded, and then stored.

    Args:
        store: keeps the embeddings.
        texts: in any order, and any number of times.
        model: names all that decides the numbers: weights, prompt, truncation, normalisation.
        encode: encodes texts; called with texts of like length. Not called where nothing is new.
        progress: told of the texts that are encoded.

    Returns:
        Shape (texts, dimensions), float32; (0, 0) without texts.
    """
    import numpy as np

    if not texts:
        return np.zeros((0, 0), np.float32)
    text_of = {text_id(text): text for text in texts}
    new = _not_stored(store, _array(list(text_of)), model)
    new.sort(key=lambda key: -len(text_of[key]))
    _encode(store, ((new, [text_of[key] for key in new]),), len(new), model, encode, progress)
    place = {text: number for number, text in enumerate(text_of.values())}
    return _stored(store, _array(list(text_of)), model)[[place[text] for text in texts]]


def embedded_rows(
    store: Store,
    table: Literal["chunks", "anchors"],
    ids: pa.Array | pa.ChunkedArray,
    *,
    model: str,
    encode: "Encode",
    progress: Progress = silent,
) -> "np.ndarray":
    """Return the embeddings of stored chunks or anchors, as `embedded` does, without holding their texts in memory.

    Args:
        store: keeps texts and embeddings.
        table: which of the two.
        ids: of chunks or anchors.
        model: see `embedded`.
        encode: see `embedded`.
        progress: see `embedded`.

    Returns:
        Shape (ids, dimensions), float32, contiguous; (0, 0) without ids.
    """
    embed_rows(store, table, ids, model=model, encode=encode, progress=progress)
    return _stored(store, ids, model)


def embed_rows(
    store: Store,
    table: Literal["chunks", "anchors"],
    ids: pa.Array | pa.ChunkedArray,
    *,
    model: str,
    encode: "Encode",
    progress: Progress = silent,
) -> None:
    """Encode and store what of `embedded_rows` is not stored yet, for whoever reads it part by part (`stored_rows`)."""
    id_column = "chunk_id" if table == "chunks" else "anchor_id"
    longest_first = f"SELECT {id_column} FROM {table} SEMI JOIN new USING ({id_column}) ORDER BY length(text) DESC, 1"
    with store.view_of("new", pa.table({id_column: _array(_not_stored(store, ids, model))})):
        new = store.table(longest_first)[id_column].to_pylist()

    def texts() -> Iterator[tuple[list[str], list[str]]]:
        for start in range(0, len(new), _TEXTS_HELD):
            keys = new[start : start + _TEXTS_HELD]
            with store.view_of("wanted", pa.table({id_column: _array(keys)})):
                found = store.table(f"SELECT {id_column}, text FROM {table} SEMI JOIN wanted USING ({id_column})")
            text_of = dict(zip(found[id_column].to_pylist(), found["text"].to_pylist(), strict=True))
            yield keys, [text_of[key] for key in keys]

    _encode(store, texts(), len(new), model, encode, progress)


def stored_rows(store: Store, ids: pa.Array, *, model: str) -> "np.ndarray":
    """Return the stored embeddings of some thousands of ids, wherever they stand among the others.

    Args:
        store: keeps the embeddings.
        ids: different ones, all of them stored.
        model: see `embedded`.

    Returns:
        Shape (ids, dimensions), float32.
    """
    import numpy as np

    with store.view_of("asked", pa.table({"place": pa.array(range(len(ids)), pa.int64()), "text_id": ids})):
        found = store.table(
            "SELECT place, embedding FROM embeddings JOIN asked USING (text_id) WHERE model = ?", [model]
        ).combine_chunks()
    vectors = _as_rows(found["embedding"].chunk(0))
    matrix = np.empty_like(vectors)
    matrix[found["place"].to_numpy()] = vectors
    return matrix


def _not_stored(store: Store, ids: pa.Array | pa.ChunkedArray, model: str) -> list[str]:
    with store.view_of("asked", pa.table({"text_id": ids})):
        found = store.table(
            """
            SELECT DISTINCT text_id FROM asked
            ANTI JOIN (SELECT text_id FROM embeddings WHERE model = ?) USING (text_id) ORDER BY text_id
            """,
            [model],
        )
    new: list[str] = found["text_id"].to_pylist()
    return new


def _encode(
    store: Store,
    pages: Iterable[tuple[list[str], list[str]]],
    total: int,
    model: str,
    encode: "Encode",
    progress: Progress,
) -> None:
    """Encode pages of (ids, texts), longest first, and store what comes out, a second's worth at a time."""
    import numpy as np

    if total:
        progress.start("Embedding texts", total)
    for keys, texts in pages:
        waiting: list[tuple[list[str], np.ndarray]] = []
        stored_at = time.monotonic()
        try:
            for start in range(0, len(keys), _TEXTS_AT_A_TIME):
                batch = slice(start, start + _TEXTS_AT_A_TIME)
                waiting.append((keys[batch], np.ascontiguousarray(encode(texts[batch]), "<f4")))
                if time.monotonic() - stored_at >= _SECONDS:
                    _put(store, model, waiting)
                    waiting, stored_at = [], time.monotonic()
                progress.advance(len(keys[batch]))
        finally:
            _put(store, model, waiting)


def _put(store: Store, model: str, encoded: "Sequence[tuple[list[str], np.ndarray]]") -> None:
    keys = [key for batch, _ in encoded for key in batch]
    rows = [row.tobytes() for _, vectors in encoded for row in vectors]
    columns = {
        "model": pa.array([model] * len(keys), pa.string()),
        "text_id": _array(keys),
        "embedding": pa.array(rows, pa.binary()),
    }
    store.insert("embeddings", pa.table(columns))
    store.let_go_of_memory(_KEPT_MIB)


def _stored(store: Store, ids: pa.Array | pa.ChunkedArray, model: str) -> "np.ndarray":
    """Read the embeddings of different ids into one matrix, in their order.

    Page by page of the table, since DuckDB would hold a result of this size in memory as a whole.
    """
    import numpy as np

    with store.view_of("asked", pa.table({"place": pa.array(range(len(ids)), pa.int64()), "text_id": ids})):
        found = store.table(
            """
            SELECT place, embeddings.rowid AS row FROM embeddings JOIN asked USING (text_id)
            WHERE model = ? ORDER BY row
            """,
            [model],
        )
    places, rows = (found[name].to_numpy() for name in ("place", "row"))
    matrix = np.zeros((0, 0), np.float32)
    for start in range(0, len(rows), _TEXTS_HELD):
        wanted = rows[start : start + _TEXTS_HELD]
        page = store.table(
            "SELECT rowid AS row, embedding FROM embeddings WHERE rowid BETWEEN ? AND ? AND model = ? ORDER BY row",
            [int(wanted[0]), int(wanted[-1]), model],
        ).combine_chunks()
        vectors = _as_rows(page["embedding"].chunk(0))[np.isin(page["row"].to_numpy(), wanted, assume_unique=True)]
        if not matrix.size:
            matrix = np.empty((len(ids), vectors.shape[1]), np.float32)
        matrix[places[start : start + _TEXTS_HELD]] = vectors
        store.let_go_of_memory(_KEPT_MIB)
    return matrix


def _as_rows(column: pa.Array) -> "np.ndarray":
    """View binary values of one length as the rows of a matrix, without copying them."""
    import numpy as np

    _, offsets, values = column.buffers()
    first, end = np.frombuffer(offsets, np.int32)[[column.offset, column.offset + len(column)]]
    return np.frombuffer(values, "<f4", (end - first) // 4, first).reshape(len(column), -1)


def _array(keys: Sequence[str]) -> pa.Array:
    return pa.array(keys, pa.string())
