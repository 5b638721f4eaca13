"""A pool of chunks as a model sees it: made once, then searched."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.bm25 import bm25_index
from store.progress import Progress
from train.models import quiet
from train.recipe import Kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TEXTS_AT_ONCE = 512

_QUERIES_AT_ONCE = 256
_CELLS = 1 << 24  # of a block of token similarities: bounds the memory of late interaction to some 64 MB


@dataclass(frozen=True, slots=True)
class Index:
    """An index over chunks.

    `encode` turns query texts into what `search` takes; `search` yields blocks of scores, shape (some queries, chunks),
    in the order of the queries. A score at or below `floor` says that the chunk is not found at all. `dimensions` is
    the length of the vectors of a bi-encoder, and `cut` makes the index of their first so many values.
    """

    encode: Callable[[Sequence[str], Progress], Any]
    search: Callable[[Any], Iterator["npt.NDArray[np.float32]"]]
    size_bytes: int
    device: str
    floor: float = float("-inf")
    dimensions: int | None = None
    cut: Callable[[int], "Index"] | None = None


def embedding_index(model: Any, kind: Kind, chunks: Sequence[str], progress: Progress) -> Index:  # noqa: ANN401
    """Encode chunks with a loaded model that embeds, with its own prompts."""
    encoded = _encoded(model.encode_document, kind, chunks, progress)

    def encode(queries: Sequence[str], told: Progress) -> Any:  # noqa: ANN401
        return _encoded(model.encode_query, kind, queries, told)

    device = device_name(model.device.type)
    if kind == "multi-vector":
        size = sum(int(matrix.nbytes) for matrix in encoded)
        return Index(encode, lambda queries: _late_interaction(model, queries, encoded), size, device)
    if kind == "sparse":
        size = int(encoded.data.nbytes + encoded.indices.nbytes + encoded.indptr.nbytes)
        return Index(encode, lambda queries: _products(queries, encoded), size, device)
    return _dense_index(encode, encoded, device)


def bm25_over(chunks: Sequence[str]) -> Index:
    """Index the words of chunks; a chunk that shares no word with a query is not found."""
    index = bm25_index(chunks)

    def search(queries: Sequence[list[int]]) -> "Iterator[npt.NDArray[np.float32]]":
        for terms in queries:
            yield index.scores(terms)[None, :]

    def encode(queries: Sequence[str], told: Progress) -> list[list[int]]:
        return [index.terms(query) for query in queries]

    return Index(encode, search, index.bytes_held, device_name("cpu"), floor=0.0)


def device_name(device: str) -> str:
    """Name what computes, such as `cuda (NVIDIA H200)` or `cpu (x86_64, 2 threads)`."""
    import torch

    if device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    threads = torch.get_num_threads()
    return f"{device} ({platform.machine()}, {threads} thread{'s' * (threads > 1)})"


def _dense_index(
    encode: Callable[[Sequence[str], Progress], Any], chunks: "npt.NDArray[np.float32]", device: str
) -> Index:
    def cut(dimensions: int) -> Index:
        return _dense_index(
            lambda queries, told: _first(encode(queries, told), dimensions), _first(chunks, dimensions), device
        )

    return Index(
        encode,
        lambda queries: _products(queries, chunks),
        int(chunks.nbytes),
        device,
        dimensions=chunks.shape[1],
        cut=cut,
    )


def _first(vectors: "npt.NDArray[np.float32]", dimensions: int) -> "npt.NDArray[np.float32]":
    """Cut vectors to their first values, and give them length 1 again."""
    import numpy as np

    short = np.ascontiguousarray(vectors[:, :dimensions])
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    cut: npt.NDArray[np.float32] = short / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cut


def _products(queries: Any, chunks: Any) -> Iterator["npt.NDArray[np.float32]"]:  # noqa: ANN401
    """Yield inner products of rows, in blocks; matrices are dense or sparse."""
    for start in range(0, queries.shape[0], _QUERIES_AT_ONCE):
        block = queries[start : start + _QUERIES_AT_ONCE] @ chunks.T
        yield block.toarray() if hasattr(block, "toarray") else block


def _encoded(encode: Any, kind: Kind, texts: Sequence[str], progress: Progress) -> Any:  # noqa: ANN401
    """Return unit vectors (bi-encoder), a sparse matrix in rows (sparse), or a matrix of token vectors a text."""
    import numpy as np
    from scipy.sparse import vstack

    options = {"normalize_embeddings": True} if kind == "bi-encoder" else {}
    parts = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = list(texts[start : start + TEXTS_AT_ONCE])
        with quiet():
            part = encode(some, show_progress_bar=False, **options)
        parts.append(_in_rows(part) if kind == "sparse" else part)
        progress.advance(len(some))
    if kind == "multi-vector":
        return [matrix for part in parts for matrix in part]
    return vstack(parts, format="csr") if kind == "sparse" else np.concatenate(parts)


def _in_rows(tensor: Any) -> Any:  # noqa: ANN401
    """Turn a sparse tensor into scipy's matrix, whose rows can be sliced."""
    from scipy.sparse import csr_matrix

    whole = tensor.cpu().coalesce()
    return csr_matrix((whole.values().numpy(), whole.indices().numpy()), shape=tuple(whole.shape))


def _late_interaction(
    model: Any,  # noqa: ANN401
    queries: Sequence[Any],
    chunks: Sequence[Any],
) -> Iterator["npt.NDArray[np.float32]"]:
    """Yield the scores of one query after the other; chunks are padded to the longest of a block of their own."""
    import numpy as np

    tokens = max(len(chunk) for chunk in chunks)
    for query in queries:
        size = max(1, _CELLS // (tokens * len(query)))
        blocks = (chunks[start : start + size] for start in range(0, len(chunks), size))
        yield np.concatenate([model.similarity([query], block).cpu().numpy() for block in blocks], axis=1)
