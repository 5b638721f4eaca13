# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""Run Argilla's background jobs from a real Redis, as `python -m uncited_argilla.worker`.

The server starts it where ARGILLA_REDIS_URL is set. It ends with the server, however that ends.
"""

import os
import signal
import threading
import time

_LOOK_EVERY_S = 1.0


def main() -> None:
    """Work until the server is gone."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE, REDIS_CONNECTION
    from rq import Worker

    from . import engine  # noqa: F401 - importing it registers it

    Worker([HIGH_QUEUE, DEFAULT_QUEUE], connection=REDIS_CONNECTION).work(with_scheduler=True)


def _end_with(server: int) -> None:
    while os.getppid() == server:
        time.sleep(_LOOK_EVERY_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # the group of the server: what is left of it are the worker's children


if __name__ == "__main__":
    main()
