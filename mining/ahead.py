"""Work a few steps ahead of whoever reads, in threads."""

import contextlib
import gc
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Where objects are made by the hundred thousand and none refers back to itself, looking for cycles at every 700 of them
# takes a third of the time.
OBJECTS_BETWEEN_COLLECTIONS = 200_000


@contextlib.contextmanager
def ahead(items: Iterable[Item]) -> Generator[Iterable[Item]]:
    """Offer `items`, made in a thread while the reader works on the one before; what it raises, the reader raises.

    When the block ends, the thread has ended too: between two items, where the block ends early.
    """
    made: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=1)  # one is made, one waits, one is read
    given_up = threading.Event()

    def make() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                if given_up.is_set():
                    return
                made.put(item)
        except BaseException as error:
            end = error
        made.put(end)

    def read() -> Generator[Item]:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thresholds = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *thresholds[1:])
    thread.start()
    try:
        yield read()
    finally:
        gc.set_threshold(*thresholds)
        given_up.set()
        while thread.is_alive():  # it may wait for a place to put what nobody reads any more
            with contextlib.suppress(queue.Empty):
                made.get(timeout=0.05)
        thread.join()


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Answer], items: Iterable[Item], at_once: int
) -> Iterator[Answer]:
    """Yield `function` of each item, in their order, from the threads of a pool.

    Items are taken in the thread that reads; `at_once` of them are worked on, wait, or have an answer to be read.
    """
    asked: deque[Future[Answer]] = deque()
    for item in items:
        asked.append(pool.submit(function, item))
        if len(asked) == at_once:
            yield asked.popleft().result()
    while asked:
        yield asked.popleft().result()
