"""How many blind reviews an audit needs, before anybody is asked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from labeling.audit_regions import Outlook, outlook
from labeling.audit_sample import observed_rate, sample_of
from labeling.audit_strata import KnownStratum, PlannedDraw, known_strata, planned_draw
from labeling.bounds import spent
from labeling.certify import CONFIDENCE, MAX_ERROR, check_goal, extensions, outside
from labeling.sequential_bounds import reviews_needed
from store.audit_draws import Drawable, drawable_pairs, drawn_from
from store.audits import Audit, Group, audits_by_group, questions_asked, sample_of_all
from store.database import Store
from store.errors import UsageError
from store.labels import Resolution
from store.policies import Policy

PILOT = 25  # pairs that show whether a judge is worth an audit


class Need(NamedTuple):
    """What the pairs of a group from a threshold of confidence on need, and what its newest audit has of it.

    `pairs` counts those that nobody has reviewed. `expected` is the rate of errors that was reckoned with, `needed` the
    blind reviews that then bound it (None: no number does). Of the audit: pairs drawn, answered blind, open.
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
    of all pairs that very likely holds enough of each group that it is worth auditing; None where there is none.
    `drawable` is how many pairs may be drawn; with `include_shown` most of what nobody has answered was put before
    reviewers with a judge's suggestion, and is among them. `outlooks` say what a random sample has shown of each
    group; they are empty before there is one. `outside` counts the judged pairs that no audit says anything about,
    `waiting` those that were drawn and that nobody has answered yet, `synthetic` those that may be drawn and whose
    question a model wrote. `extensions` tells by how many pairs to extend the newest audit of a group, where that is
    what `certify` would advise. `draws` are the audits, or the pilot, that should be drawn now; none where answers or
    an extension come first, or where no audit is worth while. `strata` tell what is known, and how the draws fall.
    """

    policy: str
    max_error: float
    confidence: float
    unknown: int | None
    needs: tuple[Need, ...]
    outlooks: tuple[Outlook, ...]
    draw: int | None
    drawable: int
    include_shown: bool
    outside: int
    waiting: int
    synthetic: int
    extensions: Mapping[Group, int]
    draws: tuple[PlannedDraw, ...]
    strata: tuple[KnownStratum, ...]


def plan_audit(
    store: Store,
    policy: Policy,
    *,
    resolution: Resolution,
    max_error: float = MAX_ERROR,
    confidence: float = CONFIDENCE,
    expected: float | None = None,
) -> AuditPlan:
    """Say how many blind reviews would bound the errors of each group, and how far the newest audits are.

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
    audits = audits_by_group(store, policy, resolution=resolution)
    everything = sample_of_all(store, policy, resolution=resolution)
    sample = [pair for pair in everything.pairs if pair.sampled]
    open_pairs = {p.pair_id for a in (*audits.values(), everything) for p in a.pairs if p.sampled and not p.reviewed}
    unanswered = drawable_pairs(store, policy)
    unseen = drawn_from(unanswered, None, 0.0, include_shown=False)
    include_shown = 2 * len(unseen) < len(unanswered)
    drawable = unanswered if include_shown else unseen
    needs: list[Need] = []
    outlooks: list[Outlook] = []
    sizes: list[int] = []
    levels: list[float] = []
    for group in get_args(Group):
        levels.append(spent(1 - confidence, questions_asked(store, policy, group) + 1))
        seen = outlook(sample, drawable, group, max_error, alpha=levels[-1])
        outlooks += [] if seen is None else [seen]
        if group in audits:
            found = {n.pairs: n for n in _needs(audits[group], group, max_error, levels[-1], expected) if n.pairs}
            needs += found.values()
            whole = next(reversed(found.values()), None)
            sizes += [] if whole is None else _draw(whole, drawable)
    more = extensions(store, policy, audits, resolution, max_error, confidence)
    draws = () if open_pairs or more else _worth_drawing(outlooks, drawable)
    return AuditPlan(
        policy=policy.name,
        max_error=max_error,
        confidence=confidence,
        unknown=reviews_needed(max_error, alpha=min(levels), expected=expected or 0.0),
        needs=tuple(needs),
        outlooks=tuple(outlooks),
        draw=max(sizes, default=None),
        drawable=len(drawable),
        include_shown=include_shown,
        outside=outside(audits),
        waiting=len(open_pairs),
        synthetic=sum(pair.synthetic for pair in drawable),
        extensions=more,
        draws=draws,
        strata=known_strata(drawable, (*audits.values(), everything), draws, confidence=confidence),
    )


def _worth_drawing(outlooks: Sequence[Outlook], drawable: Sequence[Drawable]) -> tuple[PlannedDraw, ...]:
    """Return the audits that are worth while; before anything is known of the judge, a pilot."""
    if not outlooks and len(drawable) >= PILOT:
        return (planned_draw(drawable, PILOT, group=None, min_confidence=0.0, pilot=True),)
    return tuple(
        planned_draw(drawable, found.best.draw, group=found.group, min_confidence=found.best.min_confidence)
        for found in outlooks
        if found.worthwhile
    )


def _needs(audit: Audit, group: Group, max_error: float, level: float, expected: float | None) -> Iterator[Need]:
    for threshold in audit.thresholds:
        have = sample_of(audit.pairs, group, threshold)
        pairs = have.population + (0 if audit.group else sample_of(audit.others, group, threshold).population)
        rate = expected if expected is not None else observed_rate(have)
        needed = reviews_needed(max_error, alpha=level, population=pairs, expected=rate) if pairs else None
        least = max(threshold, audit.min_confidence)
        yield Need(group, least, pairs, rate, needed, have.sampled, have.answered, have.open)


def _draw(need: Need, drawable: Sequence[Drawable]) -> list[int]:
    """Return how many pairs to draw from all, so that hardly ever too few are of the group.

    Two standard deviations are added to what is needed on average. Nothing is returned for a group that has too few
    pairs, or of which more than half would be reviewed: then one may as well review it, and no audit should grow by it.
    """
    of_group = sum(pair.group == need.group for pair in drawable)
    if need.needed is None or need.needed > min(of_group, need.pairs / 2):
        return []
    share = of_group / len(drawable)
    wanted = need.needed + 2 * math.sqrt(need.needed * (1 - share))
    return [min(len(drawable), math.ceil(wanted / share))]
