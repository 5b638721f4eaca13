"""Several processes of one training, as `torchrun` and `accelerate launch` start them: who is first, and what it tells.

The first one reads the workspace, writes and speaks; the others get from it what they need. A process that was started
alone is the first one of one.
"""

import atexit
import functools
import os
from collections.abc import Callable
from typing import TypeVar

from store.errors import UserError

_Made = TypeVar("_Made")


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Tell whether this is the process that reads, writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(make: Callable[[], _Made]) -> _Made:
    """Let the first process make something, and return it in all of them. All have to call this, in the same order.

    Raises:
        UserError: the first process raised one; it is raised in all.
    """
    if processes() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    _join()
    told: list[object] = [None, None]
    if is_first():
        try:
            told[0] = make()
        except UserError as error:
            told[1] = error
    made, failed = broadcast_object_list(told)
    if isinstance(failed, UserError):
        raise failed
    return made  # type: ignore[no-any-return]  # comes without types


@functools.cache
def _join() -> None:
    """Meet the other processes: over NCCL where there are GPUs, else over gloo."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    atexit.register(state.destroy_process_group)
