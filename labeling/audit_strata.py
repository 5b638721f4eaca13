"""What is known of each stratum of the pairs that an audit may draw, and how many reviews a draw will bring it.

A draw takes each pair of its list with the same chance and is not divided by stratum: the certificate is one statement
about the whole list, and one bound of it asks for fewer reviews than a bound for each stratum. So strata are there to
plan by, and the bound does not hang on them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from labeling.audit_sample import counts_against
from labeling.bounds import clopper_pearson_upper
from store.audit_draws import Drawable, drawn_from
from store.audits import THRESHOLDS, Audit, AuditedPair, Group


class PlannedDraw(NamedTuple):
    """A draw of `size` pairs at random from the list of those that it may take, `pairs` of `queries` queries."""

    group: Group | None  # None: of all
    min_confidence: float
    pilot: bool
    pairs: int
    queries: int
    size: int


class KnownStratum(NamedTuple):
    """The pairs of a group with a confidence from `least` to below `below` that may be drawn, and what is known.

    Of the newest random samples `reviewed` pairs of the stratum were answered blind, and `wrong` of them do not confirm
    the judge's label; from `low` to `high` is where the rate of errors lies (None before the first such review).
    `reviews` of the planned draws are to be expected here.
    """

    group: Group | None  # None: the judge gave no label, or one that is excluded
    least: float
    below: float | None  # None: there is no stratum of a higher confidence
    pairs: int
    queries: int
    reviewed: int
    wrong: int
    low: float | None
    high: float | None
    reviews: float


def planned_draw(
    drawable: Sequence[Drawable], size: int, *, group: Group | None, min_confidence: float, pilot: bool = False
) -> PlannedDraw:
    """Describe a draw from the drawable pairs; `store.audit_draws.draw_audit` takes it from the same list."""
    frame = drawn_from(drawable, group, min_confidence)
    return PlannedDraw(group, min_confidence, pilot, len(frame), _queries(frame), size)


def known_strata(
    drawable: Sequence[Drawable], audits: Sequence[Audit], draws: Sequence[PlannedDraw], *, confidence: float
) -> tuple[KnownStratum, ...]:
    """Part the drawable pairs by group and confidence, so that each stratum is wholly inside or outside of each draw.

    Args:
        drawable: the pairs that may be drawn.
        audits: whose blind answers tell of the strata that they were drawn from as a whole.
        draws: that are planned.
        confidence: of the interval of each stratum (Clopper and Pearson 1934, both sides).

    Returns:
        The strata with a pair, group by group, from strict to loose.
    """
    blind = [(some, pair) for some in audits for pair in some.pairs if pair.sampled and pair.reviewed and pair.blind]
    found: list[KnownStratum] = []
    for group in (*get_args(Group), None):
        mine = [pair for pair in drawable if pair.group == group]
        strict = _edges(group, mine, audits, draws)
        inside: dict[float, list[Drawable]] = defaultdict(list)
        for pair in mine:
            inside[_edge(strict, pair)].append(pair)
        for below, least in zip((None, *strict), strict, strict=False):
            if pairs := inside[least]:
                answered = {
                    pair.pair_id: pair
                    for audit, pair in blind
                    if group and pair.group == group and _edge(strict, pair) == least
                    if audit.group in (None, group) and audit.min_confidence <= least
                }
                wrong = sum(group is not None and counts_against(pair, group) for pair in answered.values())
                low, high = _interval(wrong, len(answered), 1 - confidence)
                expected = sum(
                    draw.size * len(drawn_from(pairs, draw.group, draw.min_confidence)) / draw.pairs for draw in draws
                )
                known = (len(pairs), _queries(pairs), len(answered), wrong, low, high, expected)
                found.append(KnownStratum(group, least, below, *known))
    return tuple(found)


def _edges(
    group: Group | None, pairs: Sequence[Drawable], audits: Sequence[Audit], draws: Sequence[PlannedDraw]
) -> list[float]:
    """Return the confidences at which the strata of a group begin, falling; 0 alone where there are no confidences."""
    if group is None or not any(pair.confidence for pair in pairs):
        return [0.0]
    of_audits = {audit.min_confidence for audit in audits if audit.group in (None, group)}
    of_draws = {draw.min_confidence for draw in draws if draw.group in (None, group)}
    return sorted({*THRESHOLDS, *of_audits, *of_draws}, reverse=True)


def _edge(strict: Sequence[float], pair: Drawable | AuditedPair) -> float:
    """Return the highest of these confidences that the pair reaches; without a confidence it is the lowest."""
    return next((edge for edge in strict if (pair.confidence or 0.0) >= edge), strict[-1])


def _queries(pairs: Iterable[Drawable]) -> int:
    return len({pair.anchor_id for pair in pairs})


def _interval(wrong: int, reviewed: int, alpha: float) -> tuple[float | None, float | None]:
    if not reviewed:
        return None, None
    low = 1 - clopper_pearson_upper(reviewed - wrong, reviewed, alpha=alpha / 2)
    return low, clopper_pearson_upper(wrong, reviewed, alpha=alpha / 2)
