"""Bring together what belongs together, wherever it stands in a file, in bounded memory."""

import contextlib
import pickle
import tempfile
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import IO, Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

_IN_MEMORY = 64 << 20  # bytes of items; more go to disk
_BUCKETS = 64  # files, each of which must fit into memory


def grouped(items: Iterable[tuple[Key, Item]]) -> Iterator[tuple[Key, list[Item]]]:
    """Yield each key once, with all its items in their order.

    Up to 64 MiB of items are held in memory, and come in the order in which keys first appear. More are spread over
    64 temporary files by a hash of the key; one of them at a time is then held in memory.
    """
    held: dict[Any, list[bytes]] = {}
    size = 0
    rest = iter(items)
    for key, item in rest:
        packed = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        held.setdefault(key, []).append(packed)
        size += len(packed)
        if size > _IN_MEMORY:
            break
    else:
        for key, packed_items in held.items():
            yield key, [pickle.loads(packed) for packed in packed_items]
        return
    with contextlib.ExitStack() as stack:
        buckets = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_BUCKETS)]
        for key, packed_items in held.items():
            for packed in packed_items:
                _put(buckets, key, packed)
        held.clear()
        for key, item in rest:
            _put(buckets, key, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        for bucket in buckets:
            yield from _read_back(bucket)


def _put(buckets: Sequence[IO[bytes]], key: Hashable, packed: bytes) -> None:
    # Not `hash`, which differs from one process to the next: the order of what comes out should not.
    pickle.dump((key, packed), buckets[zlib.crc32(repr(key).encode()) % _BUCKETS], pickle.HIGHEST_PROTOCOL)


def _read_back(bucket: IO[bytes]) -> Iterator[tuple[Any, list[Any]]]:
    groups: dict[Any, list[bytes]] = {}
    bucket.seek(0)
    while True:
        try:
            key, packed = pickle.load(bucket)  # what `_put` wrote a moment ago, into a file that has no name
        except EOFError:
            break
        groups.setdefault(key, []).append(packed)
    for key, packed_items in groups.items():
        yield key, [pickle.loads(packed) for packed in packed_items]
