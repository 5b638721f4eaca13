"""Requests under way at the same time, and what they bring, written down at least once a second.

What has been answered is lost only if the machine dies within that second. The first Ctrl-C or SIGTERM lets requests
that are under way end within a few seconds; what they bring is written too.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from labeling.stopping import ending_on_signals

_WRITE_EVERY_S = 0.8
_GRACE_S = 3.0  # for requests under way when the run is stopped

_T = TypeVar("_T")


class UnderWay(Generic[_T]):
    """The requests of one run; none of them outlives `work`."""

    def __init__(self, *, answered: Callable[[_T, float], None], write: Callable[[], None]) -> None:
        """Start nothing yet.

        Args:
            answered: takes what a request brought, and the dollars that were reserved for it.
            write: writes down what was taken.
        """
        self.interrupted = False  # by a signal
        self.fatal: BaseException | None = None  # what the run ended of
        self._answered = answered
        self._write = write
        self._tasks: set[asyncio.Task[_T]] = set()
        self._wake = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        """How many requests are under way."""
        return len(self._tasks)

    def start(self, request: Coroutine[Any, Any, _T], *, reserved_usd: float) -> None:
        """Send one more request. One that raises ends the run."""
        task = asyncio.create_task(request)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, reserved_usd=reserved_usd))

    def stop(self, because: BaseException | None = None) -> None:
        """End the run: nothing more is started. Of several reasons the first one is kept, as `fatal`."""
        self.fatal = self.fatal or because
        self._stopping = True
        self._wake.set()

    async def work(
        self, *, more: Callable[[], bool], hand_out: Callable[[], None], resume_at: Callable[[], float]
    ) -> None:
        """Work until nothing is left to ask, or until the run is stopped.

        Args:
            more: tells whether something is left that has not been started.
            hand_out: starts what may be started now.
            resume_at: until when the endpoint wants to be left alone, on `time.monotonic`'s clock.
        """
        written = time.monotonic()
        with ending_on_signals(self._interrupt):
            try:
                while not self._stopping and (self._tasks or more()):
                    hand_out()
                    await self._until_something_happens(resume_at())
                    if time.monotonic() - written >= _WRITE_EVERY_S:
                        self._write()
                        written = time.monotonic()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=_GRACE_S)
                    await asyncio.sleep(0)  # lets the callbacks of finished tasks run
            finally:
                for task in self._tasks:
                    task.cancel()
                self._write()

    def _interrupt(self) -> None:
        self.interrupted = True
        self.stop()

    def _done(self, task: asyncio.Task[_T], *, reserved_usd: float) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.stop(error)
        else:
            self._answered(task.result(), reserved_usd)

    async def _until_something_happens(self, resume_at: float) -> None:
        pause = resume_at - time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(pause, _WRITE_EVERY_S) if pause > 0 else _WRITE_EVERY_S)
        self._wake.clear()
