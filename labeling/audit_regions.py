"""Which part of a judge's labels an audit is worth while for, by what a random sample has shown of the judge."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from labeling.calibration import logistic_map
from labeling.sequential_bounds import reviews_needed
from store.audit_draws import Drawable
from store.audits import ROLE_OF, AuditedPair, Group

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FEWEST = 20  # pairs of a sample, below which nothing is said of a judge
_STEPS = 20  # confidences that are tried for a group
_DECIMALS = 4  # of a confidence that somebody has to type
_GAIN = 1.5  # labels that each review of an audit must be expected to give, to be worth more than the review itself


class Region(NamedTuple):
    """The pairs of a group from a confidence on that may be drawn.

    `expected` is the rate of errors that is reckoned with among them, `needed` the reviews that then certify them; None
    where no number does.
    """

    group: Group
    min_confidence: float
    pairs: int
    expected: float
    needed: int | None


class Outlook(NamedTuple):
    """What a random sample makes one expect of a group of a judge's labels.

    `reviewed` of its pairs were answered blind, of which the judge was wrong about `wrong`. `surest` is the part with
    the least expected rate of errors, `best` the one that gives most labels a review; None where no audit is worth it.
    """

    group: Group
    reviewed: int
    wrong: int
    surest: Region
    best: Region | None


def outlook(
    sample: Sequence[AuditedPair], drawable: Sequence[Drawable], group: Group, max_error: float, *, alpha: float
) -> Outlook | None:
    """Find the part of a group whose certification costs fewest reviews a label.

    The chance that a label is wrong is taken from the judge's confidence by a logistic map fitted to the sample (see
    `labeling.calibration`); without confidences it is the same for all labels of a role. It is a guess that only
    decides what is audited: the audit is bounded without it.

    Args:
        sample: pairs answered blind, drawn at random from all.
        drawable: the pairs that may be drawn.
        group: which of them.
        max_error: the share of wrong labels to be undercut.
        alpha: how often the bound may be wrong.

    Returns:
        None where the sample is too small or the group is empty.
    """
    import numpy as np

    answered = [pair for pair in sample if pair.group and pair.blind and pair.reviewed and pair.role]
    mine = [pair for pair in drawable if pair.group == group]
    if len(answered) < FEWEST or not mine:
        return None
    worth = logistic_map(
        np.array([_said(pair) for pair in answered]), np.array([pair.role == "positive" for pair in answered])
    )
    relevant = worth(np.array([_said(pair) for pair in mine]))
    wrong = relevant if ROLE_OF[group] == "negative" else 1 - relevant
    regions = list(_regions(group, mine, wrong, max_error, alpha))
    worthwhile = [region for region in regions if region.needed and region.pairs >= _GAIN * region.needed]
    of_group = [pair for pair in answered if pair.group == group]
    return Outlook(
        group=group,
        reviewed=len(of_group),
        wrong=sum(pair.role != ROLE_OF[group] for pair in of_group),
        surest=min(regions, key=lambda region: region.expected),
        best=max(worthwhile, key=lambda region: region.pairs / (region.needed or math.inf), default=None),
    )


def _said(pair: AuditedPair | Drawable) -> float:
    """Return the judge's chance that a pair is relevant; without a confidence it is taken at its word."""
    sure = 1.0 if pair.confidence is None else pair.confidence
    return 1 - sure if pair.group == "negatives" else sure


def _regions(
    group: Group, pairs: Sequence[Drawable], wrong: "Floats", max_error: float, alpha: float
) -> Iterator[Region]:
    import numpy as np

    confidence = np.array([pair.confidence or 0.0 for pair in pairs])
    steps = np.unique(np.quantile(confidence, np.arange(_STEPS) / _STEPS, method="inverted_cdf"))
    steps = np.floor(steps * 10**_DECIMALS) / 10**_DECIMALS
    for least in steps.tolist():
        inside = confidence >= least
        expected, size = float(wrong[inside].mean()), int(inside.sum())
        needed = reviews_needed(max_error, alpha=alpha, population=size, expected=expected)
        yield Region(group, 0.0 if size == len(pairs) else least, size, expected, needed)
