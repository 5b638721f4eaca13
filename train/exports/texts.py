"""The texts of a build, each written down once in the form that a format needs, and taken from there row by row."""

import mmap
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from store.build_rows import Side, place_texts
from store.database import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Form = Callable[[pa.Array], pa.Array]


_AT_A_TIME = 10_000


class Texts:
    """The texts of one side of a build by their place (see `store.build_rows`), in one form.

    They lie in a nameless temporary file, so that memory holds only what is being written, however large a build is.
    """

    def __init__(self, store: Store, build_id: str, side: Side, form: "Form", folder: Path) -> None:
        """Read the texts and put each into `form`.

        Args:
            store: numbers the texts while they are read.
            build_id: whose.
            side: anchors or chunks.
            form: from texts to what is to stand in a file in their place.
            folder: where the temporary file lies.
        """
        import numpy as np
        import pyarrow as pa

        lengths, places, ids = [], [], []
        with tempfile.TemporaryFile(dir=folder) as file:
            for batch in place_texts(store, build_id, side):
                formed = form(batch["text"])
                file.write(contents(formed))
                lengths.append(np.diff(_offsets(formed)))
                places.append(batch["place"].to_numpy())
                ids.append(batch["id"])
            file.flush()
            written = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b""
        ends = np.concatenate([[0], *lengths], dtype=np.int64).cumsum()
        order = np.concatenate([[], *places]).astype(np.int64)
        self.bytes_each = ends[-1] / max(1, len(order))  # on average
        self._stored = pa.LargeStringArray.from_buffers(len(order), pa.py_buffer(ends), pa.py_buffer(written))
        self._where = np.empty(len(order), np.int64)  # place -> position in the file
        self._where[order] = np.arange(len(order))
        self._ids: pa.Array = pa.concat_arrays(ids).take(pa.array(self._where)) if ids else pa.array([], pa.string())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._stored)

    def at(self, places: "pa.Array") -> "pa.Array":
        """Return the texts at these places, in the same order; lists of places give lists of texts."""
        import pyarrow as pa

        return each(places, lambda flat: self._stored.take(pa.array(self._where[flat.to_numpy()])))

    def ids(self, places: "pa.Array") -> "pa.Array":
        """Return the ids of the texts at these places; lists of places give lists of ids."""
        return each(places, self._ids.take)

    def all(self) -> "Iterator[tuple[pa.Array, pa.Array]]":
        """Yield all ids and texts, a part at a time, in the order of their places."""
        import pyarrow as pa

        for start in range(0, len(self), _AT_A_TIME):
            places = pa.array(range(start, min(start + _AT_A_TIME, len(self))), pa.int32())
            yield self.ids(places), self.at(places)


def each(values: "pa.Array", change: "Callable[[pa.Array], pa.Array]") -> "pa.Array":
    """Change values; where they are lists, what is in the lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_list(values.type):
        return change(values)
    offsets = pc.subtract(values.offsets, values.offsets[0])  # a slice of lists does not begin at 0
    return pa.ListArray.from_arrays(offsets, change(values.flatten()))


def unchanged(texts: "pa.Array") -> "pa.Array":
    """Return texts as they are: the form for files that keep any text."""
    return texts


def contents(texts: "pa.Array") -> memoryview:
    """Return the UTF-8 bytes of an array of strings, one after another."""
    offsets = _offsets(texts)
    data = texts.buffers()[2]
    return memoryview(data)[offsets[0] : offsets[-1]] if data is not None else memoryview(b"")


def _offsets(texts: "pa.Array") -> "np.ndarray":
    import numpy as np
    import pyarrow as pa

    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    return np.frombuffer(texts.buffers()[1], dtype=width, count=len(texts) + 1, offset=texts.offset * width().itemsize)
