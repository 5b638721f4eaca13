"""The best chunks for each query, exactly, in bounded memory: blocks of scores, of which the highest are kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from store.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

    # Scores of some anchors (rows) for some chunks (columns), float32; -inf where a chunk is out of the question.
    Score = Callable[[slice, slice], np.ndarray]

_SCORES_HELD = 8_000_000  # of one block, 4 bytes each
_ANCHORS_AT_A_TIME = 256
_GROUP = 64  # neighbouring chunks whose highest score is looked at first


class Hits(NamedTuple):
    """Chunks by anchor, best first. A row that is shorter ends in chunk -1 with score -inf."""

    chunks: "np.ndarray"  # shape (anchors, depth), int32: places in the corpus
    scores: "np.ndarray"  # the same shape, float32


class Lists(NamedTuple):
    """Lists of numbers of different lengths, one behind the other: list `i` is values[starts[i]:starts[i + 1]]."""

    starts: "np.ndarray"
    values: "np.ndarray"

    def of(self, index: int) -> "np.ndarray":
        """Return one of the lists."""
        found: np.ndarray = self.values[self.starts[index] : self.starts[index + 1]]
        return found


def best_hits(
    score: "Score",
    known: Lists,
    *,
    anchors: int,
    chunks: int,
    depth: int,
    chunks_at_a_time: int = 65_536,
    progress: Progress = silent,
) -> Hits:
    """Return the `depth` chunks with the highest scores for each anchor, without those that are `known` for it.

    Chunks that score -inf are left out. Of equal scores the chunk that comes first in the corpus stands first.

    Args:
        score: of a block of anchors and chunks.
        known: places of chunks by anchor, each list in order.
        anchors: how many there are.
        chunks: how many there are.
        depth: how many hits are wanted.
        chunks_at_a_time: the widest block that `score` is asked for.
        progress: told of anchors.
    """
    import numpy as np

    depth = min(depth, chunks)
    wide = min(chunks, chunks_at_a_time)
    high = max(1, min(_ANCHORS_AT_A_TIME, _SCORES_HELD // max(1, wide)))
    found = Hits(np.full((anchors, depth), -1, np.int32), np.full((anchors, depth), -np.inf, np.float32))
    for top in range(0, anchors, high):
        rows = slice(top, min(anchors, top + high))
        best = Hits(found.chunks[rows], found.scores[rows])
        for left in range(0, chunks, wide):
            columns = slice(left, min(chunks, left + wide))
            scores = score(rows, columns)
            _leave_out(scores, known, rows, columns)
            best = _merged(best, _highest(scores, depth, left), depth)
        found.chunks[rows], found.scores[rows] = best
        progress.advance(rows.stop - rows.start)
    found.chunks[found.scores == -np.inf] = -1
    return found


def in_order(hits: Hits) -> Hits:
    """Sort each row by score, highest first, and by place in the corpus where scores are equal."""
    import numpy as np

    order = np.lexsort((hits.chunks, -hits.scores), axis=1)
    return Hits(np.take_along_axis(hits.chunks, order, 1), np.take_along_axis(hits.scores, order, 1))


def as_lists(owners: "np.ndarray", values: "np.ndarray", count: int) -> Lists:
    """Gather `values` by their owner, a number below `count`; both are ordered by owner."""
    import numpy as np

    return Lists(np.searchsorted(owners, np.arange(count + 1)), values)


def _leave_out(scores: "np.ndarray", known: Lists, rows: slice, columns: slice) -> None:
    import numpy as np

    starts = known.starts[rows.start : rows.stop + 1]
    values = known.values[starts[0] : starts[-1]] - columns.start
    owners = np.repeat(np.arange(rows.stop - rows.start), np.diff(starts))
    inside = (values >= 0) & (values < columns.stop - columns.start)
    scores[owners[inside], values[inside]] = -np.inf


def _highest(scores: "np.ndarray", depth: int, offset: int) -> Hits:
    """Return the `depth` highest of each row, in no order.

    First the groups of columns with the highest maxima: the highest `depth` scores stand in no more than so many
    groups. That reads the block once, and sorts out a small part of it.
    """
    import numpy as np

    height, width = scores.shape
    groups = width // _GROUP
    places = np.broadcast_to(np.arange(width, dtype=np.int32), scores.shape)
    if groups > 2 * depth:
        whole = groups * _GROUP
        grouped = scores[:, :whole].reshape(height, groups, _GROUP)
        chosen = np.argpartition(grouped.max(axis=2), -depth, axis=1)[:, -depth:]
        inside = np.take_along_axis(grouped, chosen[:, :, None], 1).reshape(height, -1)
        where = (chosen[:, :, None] * _GROUP + np.arange(_GROUP)).reshape(height, -1).astype(np.int32)
        scores, places = np.hstack([inside, scores[:, whole:]]), np.hstack([where, places[:, whole:]])
    if scores.shape[1] > depth:
        kept = np.argpartition(scores, -depth, axis=1)[:, -depth:]
        scores, places = np.take_along_axis(scores, kept, 1), np.take_along_axis(places, kept, 1)
    return Hits(places + np.int32(offset), scores)


def _merged(one: Hits, other: Hits, depth: int) -> Hits:
    import numpy as np

    both = in_order(Hits(np.hstack([one.chunks, other.chunks]), np.hstack([one.scores, other.scores])))
    return Hits(both.chunks[:, :depth], both.scores[:, :depth])
