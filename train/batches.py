"""Which rows may stand in one batch, where the other rows of a batch serve as negatives.

A batch must not hold, beside a row, a chunk that is a positive of that row's anchor: the loss would push apart what
people said belongs together. Chunks that nearly repeat a positive count, and so do the positives of anchors that say
the same. Dropping equal texts (`BatchSamplers.NO_DUPLICATES`) is not enough: two rows of one anchor with different
positives, or a paraphrase, would pass.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers.base.sampler import DefaultBatchSampler

_MOST_PUT_BACK = 8  # rows looked at in vain for one batch, in batches: bounds the time where one anchor has most rows
_EPOCHS = 1_000_003  # more than a run has, so that no shuffle of one epoch is one of another


@dataclass(frozen=True, slots=True)
class Meets:
    """What a row brings into a batch, and what it must not meet there, as ids of groups of like texts."""

    chunks: frozenset[str]
    positives: frozenset[str]  # everything that equals or nearly repeats a positive of the row's anchor


def batches_apart(rows: Sequence[Meets], order: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield batches of up to `size` rows, each row once, none with a row whose chunks it must not meet.

    Rows that do not fit wait for the next batch; the rest keep the `order`.
    """
    waiting = deque(order)
    while waiting:
        batch: list[int] = []
        chunks: set[str] = set()
        positives: set[str] = set()
        put_back: list[int] = []
        while waiting and len(batch) < size and len(put_back) < size * _MOST_PUT_BACK:
            row = waiting.popleft()
            meets = rows[row]
            if positives.isdisjoint(meets.chunks) and chunks.isdisjoint(meets.positives):
                batch.append(row)
                chunks |= meets.chunks
                positives |= meets.positives
            else:
                put_back.append(row)
        waiting.extendleft(reversed(put_back))
        yield batch


@dataclass(frozen=True, slots=True)
class Task:
    """Rows (by place) that share batches with one another only; each is seen `weight` times an epoch, on average."""

    name: str
    rows: tuple[int, ...]
    weight: float = 1.0


def apart_sampler(rows: Sequence[Meets], tasks: Sequence[Task] = ()) -> "type[DefaultBatchSampler]":
    """Return the batch sampler for a dataset of these rows, as sentence-transformers' trainers take it.

    A batch holds rows of one task; without tasks all rows are one. Each task is shuffled and gone through as often as
    its weight says, and the batches of all are mixed. Every epoch has the same number of batches, which the trainer has
    to know beforehand: where chance would make more, the last ones are left out; where fewer, the epoch goes on with
    rows shuffled anew.
    """
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler

    parts = tasks or (Task("", tuple(range(len(rows)))),)

    class ApartBatches(DefaultBatchSampler):  # type: ignore[misc]  # comes without types
        def __init__(self, dataset: "Dataset", *args: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(dataset, *args, **options)
            if len(dataset) != len(rows):
                raise ValueError(f"{len(dataset)} rows of data, {len(rows)} to keep apart")
            whole = [len(self._once(part, 0)) for part in parts]
            self._counts = [
                max(1, round(part.weight * count)) if count else 0 for part, count in zip(parts, whole, strict=True)
            ]

        def _once(self, part: Task, seed: int) -> list[list[int]]:
            """Go through a task once."""
            generator = torch.Generator().manual_seed(self.seed + seed)
            order = [part.rows[i] for i in torch.randperm(len(part.rows), generator=generator).tolist()]
            batches = batches_apart(rows, order, self.batch_size)
            return [batch for batch in batches if len(batch) == self.batch_size or not self.drop_last]

        def _stream(self, part: Task, count: int) -> Iterator[list[int]]:
            shuffled = (self._once(part, self.epoch + _EPOCHS * time) for time in itertools.count())
            return itertools.islice(itertools.chain.from_iterable(shuffled), count)

        def __iter__(self) -> Iterator[list[int]]:
            streams = [self._stream(*part) for part in zip(parts, self._counts, strict=True)]
            turns = [i for i, count in enumerate(self._counts) for _ in range(count)]
            if len(parts) > 1:
                generator = torch.Generator().manual_seed(self.seed + self.epoch)
                turns = [turns[i] for i in torch.randperm(len(turns), generator=generator).tolist()]
            return (next(streams[i]) for i in turns)

        def __len__(self) -> int:
            return sum(self._counts)

    return ApartBatches
