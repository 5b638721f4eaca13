"""The shape of learning curves: a power law with a floor, fitted to many curves at once.

`error = floor + scale * n ** -exponent` is what learning curves of most learners follow (Viering and Loog 2021, "The
Shape of Learning Curves: a Review", arXiv 2103.10948: POW3; for deep networks Hestness et al. 2017, arXiv 1712.00409).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PARAMETERS = 3
_SLOWEST, _FASTEST, _STEPS = 0.05, 2.0, 79


def fit_power_law(examples: Sequence[float], errors: "npt.NDArray[np.float64]") -> "npt.NDArray[np.float64]":
    """Fit the law to each row of errors by least squares.

    For each exponent on a grid from 0.05 to 2 the rest is linear and solved exactly; the exponent with the smallest
    sum of squares is taken. The floor is never below 0, where no error can be. The scale may be negative: a curve that
    gets worse is not bent into one that gets better.

    Args:
        examples: how many were trained on, one a column, above zero.
        errors: shape (curves, columns).

    Returns:
        Shape (curves, 3): floor, scale, exponent.
    """
    import numpy as np

    n = np.asarray(examples, np.float64)
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), PARAMETERS))
    for exponent in np.linspace(_SLOWEST, _FASTEST, _STEPS):
        x = n**-exponent
        centred = x - x.mean()
        scale = errors @ centred / (centred @ centred)
        floor = errors.mean(axis=1) - scale * x.mean()
        scale = np.where(floor < 0, errors @ x / (x @ x), scale)
        floor = np.maximum(floor, 0)
        squares = ((errors - floor[:, None] - scale[:, None] * x) ** 2).sum(axis=1)
        better = squares < best
        best = np.where(better, squares, best)
        found[better] = np.stack([floor, scale, np.full(len(errors), exponent)], axis=1)[better]
    return found


def law_at(laws: "npt.NDArray[np.float64]", examples: float) -> "npt.NDArray[np.float64]":
    """Return the error that each law (floor, scale, exponent) gives for so many examples."""
    floor, scale, exponent = laws.T
    errors: npt.NDArray[np.float64] = floor + scale * examples**-exponent
    return errors
