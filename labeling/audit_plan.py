"""How many blind reviews an audit needs, before anybody is asked."""

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, get_args

from labeling.audit_sample import observed_rate, sample_of
from labeling.bounds import reviews_needed, spent
from labeling.certify import CONFIDENCE, MAX_ERROR, check_goal
from store.audits import Audit, Group, drawable_pairs, newest_audit, questions_asked
from store.database import Store
from store.errors import UsageError
from store.labels import Resolution
from store.policies import Policy


class Need(NamedTuple):
    """What the pairs of a group from a threshold of confidence on need, and what the newest audit has of it.

    `pairs` counts those that nobody has reviewed. `expected` is the rate of errors that was reckoned with, `needed` the
    blind reviews that then bound it (None: no number does). Of the newest audit: pairs drawn, answered blind, open.
    """

    group: Group
    threshold: float
    pairs: int
    expected: float
    needed: int | None
    drawn: int
    answered: int
    open: int


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What it takes to certify the labels of a judge.

    `unknown` is the number of reviews for a large group of which nothing is known. `draw` is the size of a fresh audit
    that very likely holds enough pairs of each group that it is worth auditing; None where there is none.
    `drawable` is how many pairs may be drawn, `outside` how many judged pairs the newest audit says nothing about.
    """

    policy: str
    audit_id: str
    max_error: float
    confidence: float
    unknown: int | None
    needs: tuple[Need, ...]
    draw: int | None
    drawable: int
    outside: int


def plan_audit(
    store: Store,
    policy: Policy,
    *,
    resolution: Resolution,
    max_error: float = MAX_ERROR,
    confidence: float = CONFIDENCE,
    expected: float | None = None,
) -> AuditPlan:
    """Say how many blind reviews would bound the errors of each group, and how far the newest audit is.

    Args:
        store: holds judgments and reviews.
        policy: whose labels.
        resolution: of several answers to a pair.
        max_error: the share of wrong labels to be undercut.
        confidence: that the bound holds.
        expected: the rate of errors to reckon with; None: as the newest audit found it, or none.

    Raises:
        UsageError: one of the three is no share, or `expected` is not below `max_error`.
    """
    check_goal(max_error, confidence)
    if expected is not None and not 0 <= expected < max_error:
        raise UsageError(
            f"--expected-error {expected} is not from 0 to below --max-error {max_error}: no number of reviews can"
            " show that there are fewer errors than there are",
            hint=f"--expected-error {max_error / 4:g}",
        )
    audit = newest_audit(store, policy, resolution=resolution)
    drawable = set(drawable_pairs(store, policy))
    needs: list[Need] = []
    draws: list[int] = []
    levels: list[float] = []
    for group in get_args(Group):
        levels.append(spent(1 - confidence, questions_asked(store, policy, group) + 1))
        found = {n.pairs: n for n in _needs(audit, group, max_error, levels[-1], expected) if n.pairs}
        needs += found.values()
        whole = next(reversed(found.values()), None)
        draws += [] if whole is None else _draw(audit, whole, drawable)
    return AuditPlan(
        policy=policy.name,
        audit_id=audit.audit_id,
        max_error=max_error,
        confidence=confidence,
        unknown=reviews_needed(max_error, alpha=min(levels), expected=expected or 0.0),
        needs=tuple(needs),
        draw=max(draws, default=None),
        drawable=len(drawable),
        outside=audit.outside,
    )


def _needs(audit: Audit, group: Group, max_error: float, level: float, expected: float | None) -> Iterator[Need]:
    for threshold in audit.thresholds:
        have = sample_of(audit.pairs, group, threshold)
        pairs = have.population + sample_of(audit.others, group, threshold).population
        rate = expected if expected is not None else observed_rate(have)
        needed = reviews_needed(max_error, alpha=level, population=pairs, expected=rate) if pairs else None
        yield Need(group, threshold, pairs, rate, needed, have.sampled, have.answered, have.open)


def _draw(audit: Audit, need: Need, drawable: Set[str]) -> list[int]:
    """Return how many pairs to draw from all, so that hardly ever too few are of the group.

    Two standard deviations are added to what is needed on average. Nothing is returned for a group that has too few
    pairs, or of which more than half would be reviewed: then one may as well review it, and no audit should grow by it.
    """
    of_group = sum(pair.group == need.group and pair.pair_id in drawable for pair in (*audit.pairs, *audit.others))
    if need.needed is None or need.needed > min(of_group, need.pairs / 2):
        return []
    share = of_group / len(drawable)
    wanted = need.needed + 2 * math.sqrt(need.needed * (1 - share))
    return [min(len(drawable), math.ceil(wanted / share))]
