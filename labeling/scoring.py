"""Scores from models on this machine: they order pairs, and label none."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from store.database import Store
from store.judge_queue import queue_unscored, queued_pairs
from store.progress import Progress
from store.triage import add_triage_scores

_PAIRS_AT_A_TIME = 512  # scored and written together


@dataclass(frozen=True, slots=True)
class Scorer:
    """A way to score pairs. `name` is that of the model and the method; `load` returns the function that scores.

    That one takes anchors and chunks, of the same number, and returns a number for each pair.
    """

    name: str
    model: str
    load: Callable[[], Callable[[Sequence[str], Sequence[str]], list[float]]]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run brought: `scored` counts pairs of this run."""

    scorer: str
    scored: int
    seconds: float


def score_scope(store: Store, scorer: Scorer, progress: Progress) -> Scored:
    """Score the pairs of the scope (see `store.judge_queue`) that have no score of this scorer.

    Stopped, it goes on where it was. Where there is nothing to score, no model is loaded.
    """
    started = time.monotonic()
    scored = sum(score_batches(store, scorer, progress))
    return Scored(scorer.name, scored, time.monotonic() - started)


def score_batches(store: Store, scorer: Scorer, progress: Progress, *, limit: int | None = None) -> Iterator[int]:
    """Do what `score_scope` does, batch by batch; yields how many pairs each batch had."""
    unscored = queue_unscored(store, scorer.name)
    total = unscored if limit is None else min(unscored, limit)
    if not total:
        return
    score = scorer.load()
    progress.start(f"scoring with {scorer.model}", total)
    for after in range(0, total, _PAIRS_AT_A_TIME):
        pairs = queued_pairs(store, after=after, limit=min(_PAIRS_AT_A_TIME, total - after))
        scores = score([pair.anchor for pair in pairs], [pair.chunk for pair in pairs])
        add_triage_scores(store, scorer.name, dict(zip([p.pair_id for p in pairs], scores, strict=True)))
        progress.advance(len(pairs))
        yield len(pairs)
