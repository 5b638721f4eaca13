"""What becomes of memory that is freed: it stays with the process, or goes back to the system."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Parameters of glibc's mallopt(3): how much free memory goes back to the system, from what size on a block is mapped
# by itself (and goes back when it is freed), and how many such blocks there may be at a time.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = -1


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Have the C library keep what is freed inside the block, and give it back at the end.

    A step of training on a CPU takes and frees gigabytes, the same ones as the step before. Left to itself glibc gives
    large blocks back at once and takes them again page by page. `python bench/train.py` shows what that costs: its
    script leaves glibc to itself. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    library.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        # glibc adapts its thresholds to what is freed until one is set. These are where it ends after a large block.
        library.mallopt(_MMAP_MAX, 65_536)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_TRIM_THRESHOLD, 64 << 20)
        library.malloc_trim(0)
