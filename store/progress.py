"""How long work reports itself without knowing who watches.

A function that takes long accepts `progress: Progress = silent`, starts a stretch and advances it. `cli.py` passes
one that draws a bar on a terminal and stays silent when asked for JSON.
"""

from typing import Protocol


class Progress(Protocol):
    """What a long-running function tells its caller."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a new stretch of work of `total` steps (None where that is not known)."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done; `note` is a short status such as a cost or a rate."""


class _Silent:
    def start(self, description: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


silent: Progress = _Silent()
