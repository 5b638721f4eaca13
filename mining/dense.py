"""The dense search: cosines of a query's embedding and those of the corpus, exactly, whatever SentenceTransformer."""

import contextlib
import functools
import gc
import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Literal, NamedTuple

from store.database import Store
from store.embeddings import embed_rows, embedded_rows
from store.encoders import load_model, model_name
from store.progress import Progress
from store.workspace import MineSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from store.embeddings import Encode

# Characters, with padding, and texts that are encoded together. On CPUs larger batches took up to a quarter longer.
_ON_CPU = (4_096, 32)  # about 1,000 tokens
_ELSEWHERE = (524_288, 512)


class Vectors(NamedTuple):
    """Embeddings of unit length of the anchors and of the corpus, by place."""

    anchors: "np.ndarray"
    chunks: "np.ndarray"
    model: str

    def score(self, rows: slice, columns: slice) -> "np.ndarray":
        """Return the cosines of a block."""
        found: np.ndarray = self.anchors[rows] @ self.chunks[columns].T
        return found

    def lowest_of(self, owners: "np.ndarray", chunks: "np.ndarray") -> "np.ndarray":
        """Return the lowest cosine of each anchor (in `owners`) with its chunks; infinity without any."""
        import numpy as np

        lowest = np.full(len(self.anchors), np.inf, np.float32)
        for start in range(0, len(owners), 65_536):
            part = slice(start, start + 65_536)
            cosines = np.einsum("ij,ij->i", self.anchors[owners[part]], self.chunks[chunks[part]])
            np.minimum.at(lowest, owners[part], cosines)
        return lowest


def embed(
    store: Store, anchor_ids: "pa.Array", chunk_ids: "pa.Array", settings: MineSettings, progress: Progress
) -> Vectors:
    """Embed what was never embedded with this model and prompt; where that is nothing, no model is loaded.

    Raises:
        MissingError: there is no such model.
    """
    with _encoding(settings) as (name, queries, documents):
        return Vectors(
            embedded_rows(store, "anchors", anchor_ids, model=queries.name, encode=queries.encode, progress=progress),
            embedded_rows(store, "chunks", chunk_ids, model=documents.name, encode=documents.encode, progress=progress),
            name,
        )


class EmbeddedChunks(NamedTuple):
    """By which model chunks are embedded, and the name under which `store.embeddings.stored_rows` finds it."""

    model: str
    stored_as: str


def embed_chunks(store: Store, chunk_ids: "pa.Array", settings: MineSettings, progress: Progress) -> EmbeddedChunks:
    """Embed chunks as `embed` does, and hold none of the embeddings in memory.

    Raises:
        MissingError: there is no such model.
    """
    with _encoding(settings) as (name, _, documents):
        embed_rows(store, "chunks", chunk_ids, model=documents.name, encode=documents.encode, progress=progress)
    return EmbeddedChunks(name, documents.name)


class _Part(NamedTuple):
    """How queries or chunks are encoded, and the name that tells what comes out from everything else."""

    name: str
    encode: "Encode"


@contextlib.contextmanager
def _encoding(settings: MineSettings) -> Generator[tuple[str, _Part, _Part]]:
    """Offer the name of the model, and how queries and chunks are encoded; it is loaded when it is needed."""
    name = model_name(settings.model)
    load = functools.cache(lambda: load_model(settings.model))

    def part(kind: Literal["query", "document"], prompt: str | None) -> _Part:
        def encode(texts: list[str]) -> "np.ndarray":
            model = load()
            encode_part = model.encode_query if kind == "query" else model.encode_document
            named = prompt in model.prompts
            vectors: np.ndarray = encode_part(
                texts,
                prompt_name=prompt if named else None,
                prompt=None if named else prompt,
                batch_size=_batch_size(texts, model.device.type),
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            return vectors

        return _Part(f"{name}, {kind}, prompt {json.dumps(prompt)}, unit length", encode)

    try:
        yield name, part("query", settings.query_prompt), part("document", settings.chunk_prompt)
    finally:
        load.cache_clear()
        gc.collect()  # of the model, which is as large as the embeddings of many chunks


def _batch_size(texts: list[str], device: str) -> int:
    characters, most = _ON_CPU if device == "cpu" else _ELSEWHERE
    return max(8, min(most, characters // max(1, max(map(len, texts)))))
