"""Which hits of a search may be negatives: the filters of sentence-transformers' `mine_hard_negatives`.

The settings have its names and its meaning. What differs is what becomes of a hit that scores too close to a positive:
it is the most likely to be relevant itself, so it is marked for the judge rather than thrown away.
"""

from typing import TYPE_CHECKING, NamedTuple

from mining.hits import Hits
from store.workspace import MineSettings

if TYPE_CHECKING:
    import numpy as np

# Filters by number: those that say that a hit is too close to a positive, or none.
TOO_CLOSE = (None, "absolute_margin", "relative_margin", "max_score")


class Sifted(NamedTuple):
    """What the filters make of hits; both of their shape."""

    may_be_negative: "np.ndarray"  # bool
    too_close: "np.ndarray"  # int8: which of `TOO_CLOSE` says so


def sift(hits: Hits, positive: "np.ndarray | None", settings: MineSettings, depth: int) -> Sifted:
    """Apply the filters to hits.

    Args:
        hits: best first.
        positive: the lowest score of each anchor's positives, shape (anchors,); None where the scores mean nothing
            beyond their order, so that only ranks are filtered.
        settings: the filters.
        depth: at most so many of each anchor's hits may be negatives, those of `range_min` included.

    Returns:
        As `mine_hard_negatives` has it: `range_min` counts what has passed the other filters.
    """
    import numpy as np

    passed = hits.chunks >= 0
    too_close = np.zeros(hits.scores.shape, np.int8)
    if positive is not None:
        too_close = _too_close(hits.scores, positive[:, None], settings)
        too_close[~passed] = 0
        passed &= too_close == 0
        if settings.min_score is not None:
            passed &= hits.scores >= np.float32(settings.min_score)
    number = np.cumsum(passed, axis=1)
    return Sifted(passed & (number > settings.range_min) & (number <= depth), too_close)


def sift_nothing(hits: Hits) -> Sifted:
    """Let all hits pass."""
    import numpy as np

    return Sifted(hits.chunks >= 0, np.zeros(hits.chunks.shape, np.int8))


def _too_close(scores: "np.ndarray", floor: "np.ndarray", settings: MineSettings) -> "np.ndarray":
    """Number the first filter by which a score is too close to that of a positive; 0 where there is none."""
    import numpy as np

    found = np.zeros(scores.shape, np.int8)
    if settings.absolute_margin is not None:
        found[scores + np.float32(settings.absolute_margin) > floor] = 1
    if settings.relative_margin is not None:
        # Of the magnitude, so that a margin lowers the bound where scores are negative too.
        bound = floor - np.abs(floor) * np.float32(settings.relative_margin)
        found[(found == 0) & (scores > bound)] = 2
    if settings.max_score is not None:
        found[(found == 0) & (scores > np.float32(settings.max_score))] = 3
    return found
