"""Triage: an order for the review queue where no judge can be had. It labels nothing.

The score of a pair is the cosine of its anchor and the sentence of its chunk that is closest to it. On graded pairs
of real logs it told relevant from irrelevant poorly (AUC .68 with all-MiniLM-L6-v2), and of the tenth that it ranked
lowest up to a quarter was relevant. So it decides what people look at first, and no more.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from labeling.scoring import Scored, Scorer, score_scope
from store.database import Store
from store.encoders import load_model, model_name
from store.judge_queue import set_scope
from store.policies import Policy
from store.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

_SENTENCES_KEPT = 100_000  # whose embeddings are held in memory, as chunks recur under other anchors
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def triage_candidates(store: Store, policy: Policy, *, model: str, progress: Progress = silent) -> Scored:
    """Score the candidate pairs of a policy that this model has not scored; stopped, it goes on where it was.

    Args:
        store: holds the candidates and takes the scores.
        policy: whose candidates.
        model: folder or name of a SentenceTransformer.
        progress: told of pairs.

    Raises:
        MissingError: there is no such model.
    """
    set_scope(store, policy)
    return score_scope(store, max_sentence(model), progress)


def max_sentence(model: str) -> Scorer:
    """Score a pair by the sentence of its chunk that is closest to its anchor."""
    name = model_name(model)
    return Scorer(
        f"{name}, max-sentence cosine", name, lambda: partial(best_sentence_cosines, _Encoder(load_model(model)))
    )


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
