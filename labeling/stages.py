"""What a stage of the judge is to a run: something that answers batches of pairs."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from labeling.chat import Reply
from store.judge_queue import PairToJudge
from store.judgments import Judgment


class Answered(NamedTuple):
    """What came of a pair. `judgment` is None where a recording does not hold it."""

    judgment: Judgment | None
    recorded: tuple[str, Reply] | None = None  # what a recording keeps: the id of the request, and the reply


class Stage(Protocol):
    """Something that answers pairs."""

    @property
    def at_once(self) -> int:
        """How many batches may be in flight now."""

    @property
    def resume_at(self) -> float:
        """The time (of `time.monotonic`) before which nothing should be sent."""

    def next_batch(self, queue: deque[PairToJudge]) -> list[PairToJudge]:
        """Take from the left of a queue the pairs that are answered together; at least one."""

    def most_usd(self, batch: Sequence[PairToJudge]) -> float:
        """Return the most that the answer about a batch can cost."""

    async def answer(self, batch: Sequence[PairToJudge]) -> list[Answered]:
        """Answer each pair, in order.

        Raises:
            ProviderError: no pair will be answered any more.
        """
