"""Call a function in processes of its own, item after item, where one processor core is not enough.

A process is a Python of its own that gets items on its standard input and answers on its standard output. It ends when
its input ends, so none outlives whoever started it, however that ends; and unlike those of `multiprocessing` it does
not run the user's script once more.
"""

import contextlib
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mining.ahead import OBJECTS_BETWEEN_COLLECTIONS, in_order
from store.errors import UserError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def in_processes(
    function: Callable[[Item], Answer], items: Iterable[Item], processes: int
) -> Generator[Iterator[Answer]]:
    """Offer `function` of each item, in their order; as many are worked on at a time, and one more waits.

    When the block ends, however it ends, the processes have ended too.

    Args:
        function: one that can be pickled: of a module, or a `functools.partial` of such a one.
        items: taken in the thread that reads the answers; they are pickled, as the answers are.
        processes: how many.

    Raises:
        UserError: a process was killed, most likely since memory ran out.
    """
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for _ in range(processes):
            idle.put(stack.enter_context(_serving(function)))
        pool = ThreadPoolExecutor(processes)  # each of its threads waits for one process
        stack.callback(pool.shutdown, cancel_futures=True)

        def ask(item: Item) -> Answer:
            process = idle.get()
            try:
                answer: Answer = _asked(process, item)
                return answer
            finally:
                idle.put(process)

        yield in_order(pool, ask, items, processes + 1)


@contextlib.contextmanager
def _serving(function: Callable[[Item], Answer]) -> Generator[_Process]:
    """Start a process that finds the modules which this one finds, and no others by the folder it is started in."""
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        _send(process, function)
        yield process
    finally:
        process.kill()
        process.communicate()


def _asked(process: _Process, item: object) -> Any:  # noqa: ANN401 (whatever the function returns)
    assert process.stdout
    try:
        _send(process, item)
        done, answer = pickle.load(process.stdout)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"a process that helps with this ended by itself (status {process.wait()}); most likely memory ran out",
            hint="close other programs, and run the same command again",
        ) from error
    if not done:
        raise answer
    return answer


def _send(process: _Process, item: object) -> None:
    assert process.stdin
    pickle.dump(item, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()


def serve() -> None:
    """Be such a process: read the function, then answer items until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; whoever asks decides
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    with contextlib.suppress(EOFError, BrokenPipeError):
        function = pickle.load(source)
        while True:
            item = pickle.load(source)
            try:
                answer = (True, function(item))
            except Exception as error:
                answer = (False, error)
            pickle.dump(answer, target, protocol=pickle.HIGHEST_PROTOCOL)
            target.flush()
            del item, answer  # the next one is as large
    os._exit(0)  # whoever asked may have gone: nothing is to be flushed
