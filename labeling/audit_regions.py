"""Which part of a judge's labels an audit is worth while for, by what a random sample has shown of the judge."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from labeling.calibration import logistic_map, logits
from labeling.certify import WORTH_REVIEWING
from labeling.sequential_bounds import undercuts
from store.audit_draws import Drawable
from store.audits import ROLE_OF, AuditedPair, Group

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FEWEST = 20  # pairs of a sample, below which nothing is said of a judge
_RIDGE = 2.0  # how firmly a judge is taken at its word before a sample says otherwise
_FUTURES = 400  # that are made up to see how an audit would go
_MOST = 1_000  # reviews of an audit that are reckoned with
_STEPS = 20  # confidences that are tried for a group
_DECIMALS = 6  # of a confidence that somebody has to type
_WORTH = 1.5  # labels that an audit must be expected to give for a review, where plain reviewing gives up to one
_HOPELESS = 0.1  # chance of a certificate


class Region(NamedTuple):
    """The pairs of a group from a confidence on that may be drawn, and how an audit of them is expected to go.

    - expected: rate of errors among them
    - chance: that they are certified before nearly all of them, or a thousand, are reviewed
    - reviews: that it takes then, on average; draw: pairs to draw, so that they suffice nine times in ten
    - labels_a_review: labels obtained, certified or reviewed, for each review
    """

    group: Group
    min_confidence: float
    pairs: int
    expected: float
    chance: float
    reviews: int
    draw: int
    labels_a_review: float


class Outlook(NamedTuple):
    """What a random sample makes one expect of a group of a judge's labels.

    `reviewed` of its pairs were answered blind, of which the judge was wrong about `wrong`. `best` is the part that
    gives most labels a review; `worthwhile` tells whether an audit of it beats plain reviewing, `hopeless` that hardly
    any part could be certified.
    """

    group: Group
    reviewed: int
    wrong: int
    best: Region
    worthwhile: bool
    hopeless: bool


def outlook(
    sample: Sequence[AuditedPair], drawable: Sequence[Drawable], group: Group, max_error: float, *, alpha: float
) -> Outlook | None:
    """Find the part of a group that an audit is expected to give most labels for a review of.

    The chance that a label is wrong is taken from the judge's confidence by a logistic map fitted to the sample, with
    what is uncertain about it (its Laplace approximation); without confidences it is the same for all labels of a role.
    Audits are then played through on made-up errors. It is a guess that only decides what is audited: the certificate
    does not hang on it.

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
    mine = sorted((p for p in drawable if p.group == group), key=lambda p: p.confidence or 0.0)
    if len(answered) < FEWEST or not mine:
        return None
    said = np.array([_said(pair) for pair in answered])
    relevant = np.array([pair.role == "positive" for pair in answered])
    rng = np.random.default_rng(0)
    wrong = _chances(said, relevant, np.array([_said(pair) for pair in mine]), rng)
    wrong = wrong if ROLE_OF[group] == "negative" else 1 - wrong
    confidence = np.array([pair.confidence or 0.0 for pair in mine])
    regions = list(_regions(group, confidence, wrong, max_error, alpha, rng))
    best = max(regions, key=lambda region: region.labels_a_review)
    of_group = [pair for pair in answered if pair.group == group]
    return Outlook(
        group=group,
        reviewed=len(of_group),
        wrong=sum(pair.role != ROLE_OF[group] for pair in of_group),
        best=best,
        worthwhile=best.labels_a_review >= _WORTH,
        hopeless=max(region.chance for region in regions) < _HOPELESS,
    )


def _said(pair: AuditedPair | Drawable) -> float:
    """Return the judge's chance that a pair is relevant; without a confidence it is taken at its word."""
    sure = 1.0 if pair.confidence is None else pair.confidence
    return 1 - sure if pair.group == "negatives" else sure


def _chances(
    said: "Floats", relevant: "npt.NDArray[np.bool_]", wanted: "Floats", rng: "np.random.Generator"
) -> "Floats":
    """Return chances that pairs are relevant, a row for each of some likely maps of what the judge said."""
    import numpy as np

    fitted = logistic_map(said, relevant, ridge=_RIDGE).parameters
    centre = np.array([fitted["intercept"][0], fitted["slope"][0]])
    columns = np.stack([np.ones(len(said)), logits(said)], axis=1)
    likely = 1 / (1 + np.exp(-columns @ centre))
    curvature = (columns * (likely * (1 - likely))[:, None]).T @ columns + 2 * _RIDGE * np.eye(2)
    maps = rng.multivariate_normal(centre, np.linalg.inv(curvature), size=_FUTURES)
    chances: Floats = 1 / (1 + np.exp(-(maps[:, :1] + np.maximum(maps[:, 1:], 0) * logits(wanted))))
    return chances


def _regions(
    group: Group, confidence: "Floats", wrong: "Floats", max_error: float, alpha: float, rng: "np.random.Generator"
) -> Iterator[Region]:
    """Play the audit of each region through.

    Args:
        group: of the pairs.
        confidence: of each pair, rising.
        wrong: chances that each is wrong, futures x pairs.
        max_error: the share of wrong labels to be undercut.
        alpha: how often the bound may be wrong.
        rng: source of randomness.
    """
    import numpy as np

    steps = np.quantile(confidence, np.arange(_STEPS) / _STEPS, method="inverted_cdf")
    for least in np.unique(np.floor(steps * 10**_DECIMALS) / 10**_DECIMALS).tolist():
        first = int(np.searchsorted(confidence, least))
        size = len(confidence) - first
        rates = wrong[:, first:].mean(axis=1)
        most = min(_MOST, size)
        drawn = np.arange(1, most + 1)
        found = np.cumsum(rng.random((len(rates), most)) < rates[:, None], axis=1)
        enough = undercuts(found, drawn, max_error, size, alpha=alpha)
        enough &= drawn <= WORTH_REVIEWING * size
        certified = enough.any(axis=1)
        reviews = np.where(certified, enough.argmax(axis=1) + 1, most)
        labels = np.where(certified, size - rates * size, most * (1 - rates))
        yield Region(
            group=group,
            min_confidence=least if first else 0.0,
            pairs=size,
            expected=float(rates.mean()),
            chance=float(certified.mean()),
            reviews=round(float(reviews[certified].mean())) if certified.any() else most,
            draw=int(np.quantile(reviews[certified], 0.9)) if certified.any() else most,
            labels_a_review=float(labels.mean() / reviews.mean()),
        )
