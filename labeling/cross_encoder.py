"""A cross-encoder as a stage of the judge: a model that reads both texts at once and gives one number.

The sigmoid of that number is a probability of relevance only so far as the model was trained to make it one, and it
knows nothing of the policy. So by itself it scores, and labels nothing. Thresholds in the settings turn it into a
judge: `{answers = 0.8, unsure = 0.2, off = 0.0}` gives each pair the label with the highest threshold that its
probability reaches. Whoever sets them should have looked at labelled pairs first.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from labeling.scoring import Scorer
from labeling.stages import Answered
from store.encoders import load_cross_encoder, model_name
from store.ids import content_id
from store.judge_queue import PairToJudge
from store.judgments import Judgment
from store.policies import Policy

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BATCH = 64  # pairs


def cross_encoder(model: str) -> Scorer:
    """Score a pair by the probability that a cross-encoder gives it, in [0, 1]."""
    name = model_name(model)
    return Scorer(f"{name}, cross-encoder", name, lambda: partial(_probabilities, load_cross_encoder(model)))


def _probabilities(encoder: "CrossEncoder", anchors: Sequence[str], chunks: Sequence[str]) -> list[float]:
    from torch.nn import Sigmoid

    pairs = list(zip(anchors, chunks, strict=True))
    found = encoder.predict(pairs, activation_fn=Sigmoid(), show_progress_bar=False)
    # Rounded, so that the batch in which a pair happened to be scored does not show.
    return [round(float(probability), 5) for probability in found]


@dataclass(slots=True)
class CrossEncoderStage:
    """See `labeling.stages.Stage`. It costs nothing and runs one batch at a time, beside the event loop."""

    policy: Policy
    judge_id: str
    scorer: Scorer
    thresholds: Mapping[str, float]
    _score: Callable[[Sequence[str], Sequence[str]], list[float]] | None = field(default=None, init=False)

    @property
    def at_once(self) -> int:
        """The model uses all cores by itself."""
        return 1

    @property
    def resume_at(self) -> float:
        """At once."""
        return 0.0

    def next_batch(self, queue: deque[PairToJudge]) -> list[PairToJudge]:
        """As many as are scored well together."""
        return [queue.popleft() for _ in range(min(_BATCH, len(queue)))]

    def most_usd(self, batch: Sequence[PairToJudge]) -> float:
        """Nothing."""
        return 0.0

    async def answer(self, batch: Sequence[PairToJudge]) -> list[Answered]:
        """Label each pair by its probability."""
        probabilities = await asyncio.to_thread(self._probabilities, batch)
        return [Answered(self._judgment(*each)) for each in zip(batch, probabilities, strict=True)]

    def _probabilities(self, batch: Sequence[PairToJudge]) -> list[float]:
        self._score = self._score or self.scorer.load()
        return self._score([pair.anchor for pair in batch], [pair.chunk for pair in batch])

    def _judgment(self, pair: PairToJudge, probability: float) -> Judgment:
        label = label_at(probability, self.thresholds)
        return Judgment(
            pair_id=pair.pair_id,
            labelling_fingerprint=self.policy.labelling_fingerprint,
            judge_id=self.judge_id,
            prompt_id=content_id("prompt", pair.anchor, pair.chunk),
            label=label,
            confidence=_confidence(label, probability, self.thresholds),
            raw_answer=json.dumps({"probability": probability}),
            answered_model=self.scorer.model,
            cost_usd=0.0,
            judged_at=datetime.now(UTC),
        )


def label_at(probability: float, thresholds: Mapping[str, float]) -> str:
    """Return the label with the highest threshold that a probability reaches; one of them is 0."""
    return max((a for a in thresholds if probability >= thresholds[a]), key=lambda name: thresholds[name])


def _confidence(label: str, probability: float, thresholds: Mapping[str, float]) -> float | None:
    """Return P(label): known for the label at either end, not for one between them."""
    if label == max(thresholds, key=lambda name: thresholds[name]):
        return probability
    return 1 - probability if thresholds[label] == 0 else None
