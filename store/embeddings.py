"""Embeddings of texts, kept by content: a text is encoded once for each model, whoever needs it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from store.database import Store
from store.ids import text_id
from store.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

_TEXTS_AT_A_TIME = 128  # encoded and written together: a run that is stopped loses no more


def embedded(
    store: Store,
    texts: Sequence[str],
    *,
    model: str,
    encode: "Callable[[list[str]], np.ndarray]",
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
    ids = {text: text_id(text) for text in texts}
    asked = pa.table({"text_id": pa.array(ids.values(), pa.string())})
    with store.view_of("asked", asked):
        found = store.table("SELECT text_id FROM embeddings SEMI JOIN asked USING (text_id) WHERE model = ?", [model])
    known = set(found["text_id"].to_pylist())
    new = sorted((text for text, key in ids.items() if key not in known), key=len)
    if new:
        progress.start("Embedding texts", len(new))
    for start in range(0, len(new), _TEXTS_AT_A_TIME):
        batch = new[start : start + _TEXTS_AT_A_TIME]
        rows = np.ascontiguousarray(encode(batch), "<f4")
        columns = {
            "model": pa.array([model] * len(batch), pa.string()),
            "text_id": pa.array([ids[text] for text in batch], pa.string()),
            "embedding": pa.array([row.tobytes() for row in rows], pa.binary()),
        }
        store.insert("embeddings", pa.table(columns))
        progress.advance(len(batch))
    with store.view_of("asked", asked):
        stored = store.table(
            "SELECT text_id, embedding FROM embeddings SEMI JOIN asked USING (text_id) WHERE model = ?", [model]
        )
    rows = np.frombuffer(b"".join(stored["embedding"].to_pylist()), "<f4").reshape(stored.num_rows, -1)
    place = {key: index for index, key in enumerate(stored["text_id"].to_pylist())}
    return rows[[place[ids[text]] for text in texts]]
