"""Memory that training frees is there for its next step, and the system's again when it has ended."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from train.freed_memory import keeping_freed_memory

REPOSITORY = Path(__file__).resolve().parents[1]
MEASURE = """
import ctypes, resource
from train.freed_memory import keeping_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [library.malloc(48 << 20) for _ in range(2)]
        for block in blocks:
            library.memset(block, 1, 48 << 20)
        for block in blocks:
            library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20


left_alone = faults_of_steps()
with keeping_freed_memory():
    kept = faults_of_steps()
    inside = resident()
after = resident()
print(left_alone, kept, inside - after)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at every step")
def test_each_step_but_the_first_finds_its_memory_there_and_the_end_gives_it_back() -> None:
    # In a process of its own: what an allocator does depends on all that was allocated before.
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    left_alone, kept, given_back = map(int, done.stdout.split())
    assert kept < left_alone / 5  # ten steps: the first one takes the pages
    assert given_back >= 90  # MiB


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", called.append)
    with keeping_freed_memory():
        pass
    assert not called
