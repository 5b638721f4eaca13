"""Ending a run in good order: the first Ctrl-C or SIGTERM asks it to end, a second one ends it as usual."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ending_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first signal that arrives within the block. To be used inside a running event loop."""
    loop = asyncio.get_running_loop()
    handled: list[int] = []

    def release() -> None:
        while handled:
            loop.remove_signal_handler(handled.pop())

    def first() -> None:
        stop()
        release()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, first)
            handled.append(number)
    try:
        yield
    finally:
        release()
