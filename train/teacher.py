"""Soft targets: how relevant a teacher finds the pairs of a train split, where the labels only say yes or no."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from store.builds import get_build
from store.database import Store
from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import pair_id
from store.policies import get_policy_by_id
from store.progress import Progress, silent
from store.teacher_scores import Texts, judge_confidences, taught_scores
from train.advice import memory_advice
from train.kinds import kind_of, load
from train.models import quiet
from train.recipe import JUDGE, MAX_TOKENS
from train.rows import TrainingSplit

_SUREST = 0.98  # of a judge, and of what people say: a certainty has no logit


def with_teacher(store: Store, split: TrainingSplit, teacher: str, *, progress: Progress = silent) -> TrainingSplit:
    """Add a teacher's scores of all pairs of a split.

    A reranker reads each pair once; its scores stay in the store, for the next run. The judge's scores are what it said
    of its own answers, P(relevant); where it said nothing, or people found otherwise, the label counts, as 0.98 or
    0.02.

    Args:
        store: holds the build.
        split: of a build in the store.
        teacher: a reranker by folder or hub name, or "judge".
        progress: told of the pairs that are scored.

    Raises:
        MissingError: there is no such model, or no judge told its confidence about a pair of the build.
        UsageError: the model is no reranker.
        UserError: memory ran out.
    """
    if teacher == JUDGE:
        return dataclasses.replace(split, scores=_of_judge(store, split))
    texts = _texts(split)
    with memory_advice(f"the teacher {teacher} scored pairs", "--teacher SMALLER_RERANKER, or --teacher judge"):
        found = taught_scores(
            store,
            {pair_id(*ids): both for ids, both in texts.items()},
            model=f"{model_name(teacher)}, logits, {MAX_TOKENS} tokens",
            score=_Reranker(teacher),
            progress=progress,
        )
    return dataclasses.replace(split, scores={ids: found[pair_id(*ids)] for ids in texts})


class _Reranker:
    """A reranker that is loaded when it is first asked: what is stored needs none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._model: Any = None

    def __call__(self, pairs: list[Texts]) -> Sequence[float]:
        """Return one logit a pair."""
        import torch

        if self._model is None:
            if kind_of(self._name) != "reranker":
                raise UsageError(
                    f"the teacher {self._name} does not read query and chunk together, as a reranker does",
                    hint="--teacher FOLDER_OF_A_RERANKER, or --teacher judge",
                )
            self._model = load("reranker", self._name)
            self._model.max_seq_length = min(self._model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
        with quiet():
            logits: Sequence[float] = self._model.predict(
                pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False
            ).tolist()
        return logits


def _of_judge(store: Store, split: TrainingSplit) -> dict[tuple[str, str], float]:
    build = get_build(store, split.build_id)
    policy = get_policy_by_id(store, build.policy_id)
    said = judge_confidences(store, build)
    if not said:
        raise MissingError(
            f"no judge told its confidence about a pair of {split.build_id}",
            hint=f"uncited judge --policy {policy.name}",
        )
    scores = {}
    for row in split.labels.select(["anchor_id", "chunk_id", "relevance"]).to_pylist():
        ids = (row["anchor_id"], row["chunk_id"])
        share = _SUREST if row["relevance"] else 1 - _SUREST
        label, confidence = said.get(pair_id(*ids), (None, 0.0))
        if label is not None and (policy.role(label) == "positive") == bool(row["relevance"]):
            share = confidence if row["relevance"] else 1 - confidence
        share = min(max(share, 1 - _SUREST), _SUREST)
        scores[ids] = math.log(share / (1 - share))
    return scores


def _texts(split: TrainingSplit) -> dict[tuple[str, str], Texts]:
    """Return the texts of all pairs that a loss may read, by anchor and chunk id."""
    found = {
        (row["anchor_id"], row["chunk_id"]): (row["anchor"], row["chunk"])
        for row in split.labels.select(["anchor_id", "chunk_id", "anchor", "chunk"]).to_pylist()
    }
    for row in split.triplets.to_pylist():
        for side in ("positive", "negative"):
            found[row["anchor_id"], row[f"{side}_id"]] = (row["anchor"], row[side])
    return found
