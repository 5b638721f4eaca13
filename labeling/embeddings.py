"""Vectors of pairs, behind Argilla's Find similar: candidates of one query that say nearly the same are the closest."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from store.database import Store
from store.embeddings import embedded
from store.encoders import load_model, model_name
from store.progress import Progress, silent
from store.reviews import PairToReview

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

# Of a text: enough to tell what it is about. Encoding takes time in proportion, and on CPUs it is what a push waits for
_TOKENS = 128


def pair_vectors(
    store: Store, pairs: Sequence[PairToReview], *, model: str, progress: Progress = silent
) -> "np.ndarray":
    """Return a vector of unit length for each pair: the embeddings of its anchor and of its chunk, side by side.

    The cosine of two pairs is thus the mean of the cosines of their anchors and of their chunks. What has been
    embedded before is read from the store, and the model is not even loaded where that is all.

    Args:
        store: keeps the embeddings.
        pairs: what the vectors are of.
        model: folder or name of a SentenceTransformer.
        progress: told of the texts that are embedded.

    Returns:
        Shape (pairs, twice the model's dimensions), float32.

    Raises:
        MissingError: there is no such model.
    """
    import numpy as np

    name = model_name(model)
    loaded = functools.cache(lambda: _fast(load_model(model)))
    halves = []
    for part, texts in (("query", [pair.anchor for pair in pairs]), ("document", [pair.chunk for pair in pairs])):

        def encode(batch: list[str], part: str = part) -> "np.ndarray":
            encoder = loaded()
            encode_part = encoder.encode_query if part == "query" else encoder.encode_document
            found: np.ndarray = (
                encode_part(batch, show_progress_bar=False, convert_to_tensor=True).float().cpu().numpy()
            )
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            return found

        named = f"{name}, {part}, {_TOKENS} tokens"
        halves.append(embedded(store, texts, model=named, encode=encode, progress=progress))
    return np.concatenate(halves, axis=1) / np.float32(np.sqrt(2))


def _fast(encoder: "SentenceTransformer") -> "SentenceTransformer":
    """Cut texts short and, on CPUs that can, compute in bfloat16: the cosines to float32 are above 0.999."""
    import torch

    encoder.max_seq_length = min(encoder.max_seq_length or _TOKENS, _TOKENS)
    able = torch.cpu.get_capabilities()
    if encoder.device.type == "cpu" and (able.get("avx512_bf16") or able.get("amx_bf16")):
        encoder.bfloat16()
    return encoder
