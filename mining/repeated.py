"""Which chunks of an anchor repeat one of its positives: for millions of chunks, without comparing most of them."""

import itertools
import operator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from mining.ahead import in_order
from mining.near_duplicates import repeats
from mining.sketches import Sketches, may_repeat, sketches
from store.candidates import chunk_texts
from store.database import Store
from store.progress import Progress, silent
from store.retrievals import texts_at

if TYPE_CHECKING:
    import numpy as np

_TEXTS_AT_A_TIME = 4_096
_PAIRS_AT_A_TIME = 100_000  # whose sketches each thread holds in memory twice
_COMPARED_AT_A_TIME = 50_000  # chunks whose texts are held in memory
_KEPT_MIB = 256  # by the database, which would keep all texts that it read
_THREADS = 2


class _Listed(NamedTuple):
    """The chunks of each anchor, as places among all chunks and all anchors; ordered by anchor."""

    anchor_ids: pa.Array
    chunk_ids: pa.Array
    anchors: "np.ndarray"
    chunks: "np.ndarray"
    carries: "np.ndarray"


def repeated_positives(store: Store, listed: pa.Table, *, progress: Progress = silent) -> pa.Table:
    """Find the chunks that equal or nearly equal a positive of the same anchor (see `near_duplicates.repeats`).

    Args:
        store: holds the texts.
        listed: columns anchor_id, chunk_id, carries (true: a positive), ordered by anchor_id; an anchor without a
            positive may be left out.
        progress: told of texts that are read, and of those that are compared.

    Returns:
        Columns anchor_id, chunk_id, duplicate_of, similarity; ordered by anchor_id.
    """
    import numpy as np

    anchors, chunks = (listed[name].combine_chunks().dictionary_encode() for name in ("anchor_id", "chunk_id"))
    rows = _Listed(
        anchors.dictionary,
        chunks.dictionary,
        anchors.indices.to_numpy(),
        chunks.indices.to_numpy(),
        listed["carries"].combine_chunks().to_numpy(zero_copy_only=False),
    )
    sketched = _sketched(store, rows.chunk_ids, progress)

    def close_of(pairs: np.ndarray) -> np.ndarray:
        near: np.ndarray = pairs[:, may_repeat(sketched, rows.chunks[pairs[0]], rows.chunks[pairs[1]])]
        return near

    with ThreadPoolExecutor(_THREADS) as pool:
        close = list(in_order(pool, close_of, _pairs(rows), _THREADS))
    found = _compared(store, rows, np.concatenate([np.zeros((2, 0), np.int64), *close], axis=1), progress)
    store.let_go_of_memory(_KEPT_MIB)
    return found


def _sketched(store: Store, chunk_ids: pa.Array, progress: Progress) -> Sketches:
    """Sketch chunks, in the order of `chunk_ids`; texts are read while others are sketched."""
    import numpy as np

    progress.start("sketch chunks", len(chunk_ids))
    empty = sketches(pa.array([], pa.string()))
    bits = np.zeros((len(chunk_ids), empty.bits.shape[1]), empty.bits.dtype)
    runs = np.zeros(len(chunk_ids), empty.runs.dtype)

    def sketch(batch: pa.RecordBatch) -> int:
        places = batch["place"].to_numpy()
        bits[places], runs[places] = sketches(batch["text"])
        return len(places)

    with ThreadPoolExecutor(_THREADS) as pool:
        for done in in_order(pool, sketch, texts_at(store, chunk_ids, rows=_TEXTS_AT_A_TIME), 2 * _THREADS):
            progress.advance(done)
    return Sketches(bits, runs)


def _pairs(rows: _Listed) -> "Iterator[np.ndarray]":
    """Yield pairs of a positive and another chunk of one anchor, as places in `rows`: shape (2, pairs)."""
    import numpy as np

    positives, others = np.flatnonzero(rows.carries), np.flatnonzero(~rows.carries)
    first = np.searchsorted(rows.anchors[positives], rows.anchors[others])
    counts = np.searchsorted(rows.anchors[positives], rows.anchors[others], side="right") - first
    ends = np.cumsum(counts)
    start = 0
    while start < len(others):
        so_far = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, so_far + _PAIRS_AT_A_TIME)))
        number = counts[start:stop]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        yield np.stack(
            [positives[np.repeat(first[start:stop], number) + within], np.repeat(others[start:stop], number)]
        )
        start = stop


def _compared(store: Store, rows: _Listed, close: "np.ndarray", progress: Progress) -> pa.Table:
    """Compare the texts of pairs; keep those that do repeat."""
    progress.start("compare with candidate positives", close.shape[1])
    found: list[tuple[str, str, str, float]] = []
    grouped = itertools.groupby(
        zip(rows.anchors[close[0]].tolist(), *close.tolist(), strict=True), operator.itemgetter(0)
    )
    anchors = ((anchor, [pair[1:] for pair in group]) for anchor, group in grouped)
    for page in _pages(anchors):
        ids = {
            place: rows.chunk_ids[rows.chunks[place]].as_py() for _, group in page for pair in group for place in pair
        }
        texts = chunk_texts(store, pa.array(sorted(set(ids.values())), pa.string()))
        for anchor, group in page:
            positives, others = ({ids[pair[side]]: texts[ids[pair[side]]] for pair in group} for side in (0, 1))
            name = rows.anchor_ids[anchor].as_py()
            found += [(name, *repeat) for repeat in repeats(positives, others)]
            progress.advance(len(group))
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    names = ("anchor_id", "chunk_id", "duplicate_of", "similarity")
    kinds = (pa.string(), pa.string(), pa.string(), pa.float64())
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})


_Group = tuple[int, list[tuple[int, ...]]]


def _pages(anchors: Iterator[_Group]) -> Iterator[list[_Group]]:
    """Cut the anchors into stretches whose texts fit into memory."""
    page: list[_Group] = []
    held = 0
    for anchor, group in anchors:
        page.append((anchor, group))
        held += len(group)
        if held >= _COMPARED_AT_A_TIME:
            yield page
            page, held = [], 0
    if page:
        yield page
