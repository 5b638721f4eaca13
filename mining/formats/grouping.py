"""Bring together what belongs together, wherever it stands in a file, in bounded memory."""

import contextlib
import itertools
import pickle
import tempfile
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import IO, Any, TypeVar

from store.progress import Progress

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
_Group = tuple[Any, list[bytes]]  # a key, and its items packed

_IN_MEMORY = 64 << 20  # bytes of items; more go to disk
_BUCKETS = 64  # files, each of which must fit into memory
_TOLD_AT_A_TIME = 1_000  # items


def grouped(items: Iterable[tuple[Key, Item]], name: str, progress: Progress) -> Iterator[tuple[Key, list[Item]]]:
    """Yield each key once, with all its items in their order.

    Up to 64 MiB of items are held in memory, and come in the order in which keys first appear. More are spread over
    64 temporary files by a hash of the key; one of them at a time is then held in memory.

    Args:
        items: keys with what belongs to them; all are read before the first group comes.
        name: where they stand.
        progress: told of items whose groups have been taken: a stretch of its own, after the items are read.
    """
    with contextlib.ExitStack() as stack:
        count, groups = _gathered(items, stack)
        progress.start(f"bring together the records of {name}", count)
        taken = 0
        for key, packed_items in groups:
            yield key, [pickle.loads(packed) for packed in packed_items]
            taken += len(packed_items)
            if taken >= _TOLD_AT_A_TIME:
                progress.advance(taken)
                taken = 0
        progress.advance(taken)


def _gathered(items: Iterable[tuple[Any, Any]], stack: contextlib.ExitStack) -> tuple[int, Iterable[_Group]]:
    """Read all items; return how many they are, and the groups of them, which stand in files that `stack` closes."""
    held: dict[Any, list[bytes]] = {}
    count = size = 0
    rest = iter(items)
    for key, item in rest:
        packed = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        held.setdefault(key, []).append(packed)
        count += 1
        size += len(packed)
        if size > _IN_MEMORY:
            break
    else:
        return count, held.items()
    buckets = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_BUCKETS)]  # noqa: SIM115
    for key, packed_items in held.items():
        for packed in packed_items:
            _put(buckets, key, packed)
    held.clear()
    for key, item in rest:
        _put(buckets, key, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        count += 1
    return count, itertools.chain.from_iterable(map(_read_back, buckets))


def _put(buckets: Sequence[IO[bytes]], key: Hashable, packed: bytes) -> None:
    # Not `hash`, which differs from one process to the next: the order of what comes out should not.
    pickle.dump((key, packed), buckets[zlib.crc32(repr(key).encode()) % _BUCKETS], pickle.HIGHEST_PROTOCOL)


def _read_back(bucket: IO[bytes]) -> Iterable[_Group]:
    groups: dict[Any, list[bytes]] = {}
    bucket.seek(0)
    while True:
        try:
            key, packed = pickle.load(bucket)  # what `_put` wrote a moment ago, into a file that has no name
        except EOFError:
            break
        groups.setdefault(key, []).append(packed)
    return groups.items()
