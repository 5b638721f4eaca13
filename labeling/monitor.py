"""Precision over time: a share of new traffic is judged, and what was found poor becomes the agenda of a review."""

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from labeling.agenda import Agenda, Looked, agenda_of
from labeling.dry_run import StageEstimate, estimate_run
from labeling.endpoint import TRANSIENT
from labeling.judge import JudgeResult, judge_candidates
from labeling.prevalence import Prevalence, prevalence
from labeling.query_bootstrap import CONFIDENCE, RESAMPLES, Estimate, QuerySums
from store.audits import sample_of_all
from store.database import Store
from store.errors import MissingError, UsageError
from store.labels import Resolution
from store.monitor import Monitored, Shown, draw_traffic, logged_fields, monitor_seed, monitored_interactions, traffic
from store.policies import Policy
from store.progress import Progress, silent
from store.review_streams import new_seed
from store.segments import in_order, largest, segment_of
from store.workspace import JudgeSettings, Price

Per = Literal["day", "week", "month"]

_SHOWN_FIELDS = 20


class Precision(NamedTuple):
    """Precision of the interactions of one period or segment.

    `interactions` are those drawn, `measured` those whose chunks are all judged; `none_relevant` is the share of those
    that retrieved nothing relevant, or nothing at all.
    """

    name: str
    interactions: int
    measured: int
    precision: Estimate
    none_relevant: float | None


class MonitorReport(NamedTuple):
    """What the traffic drawn so far looks like.

    `by_segment` holds the periods of each segment. `judge` tells how often the judge is wrong, by the audit of all
    pairs, and `assisted` what the audit says of the chunks of the drawn interactions alone, with the judge's help; None
    where there is no such audit, or it is not answered yet. `judges` are those whose labels were used.
    """

    policy: str
    depth: int
    overall: Precision
    periods: tuple[Precision, ...]
    segments: tuple[Precision, ...]
    by_segment: Mapping[str, tuple[Precision, ...]]
    agenda: Agenda
    judge: Prevalence | None
    assisted: Prevalence | None
    judges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MonitorRun:
    """What a run drew and asked; `judged` is None where nothing had to be asked."""

    new_traffic: int
    drawn: int
    not_mined: int
    judged: JudgeResult | None


def draw_and_judge(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    share: float,
    depth: int,
    budget_usd: float | None = None,
    progress: Progress = silent,
) -> MonitorRun:
    """Draw from the traffic that came since the last run, and have the judge label what was retrieved for it.

    What was drawn before and is not judged yet is judged too; nothing is judged twice.

    Args:
        store: holds the traffic, mined under the policy.
        policy: what relevant means.
        settings: of the judge.
        prices: dollars by model name.
        share: the chance of each new interaction to be drawn, from 0 to 1.
        depth: how many of the chunks of each list are looked at.
        budget_usd: stop before the run costs more.
        progress: told of pairs.

    Raises:
        MissingError: there is no traffic that is mined under the policy; or no judge to ask.
        ProviderError, UsageError: as `labeling.judge.judge_candidates`.
    """
    seed = monitor_seed(store, policy.name)
    before = traffic(store, policy.name)
    if seed is None and not before.new:
        raise MissingError(
            f"no interactions are mined under {policy.name}",
            hint=f"uncited mine --policy {policy.name}" if before.not_mined else "uncited import FILE",
        )
    drawn = draw_traffic(store, policy.name, share=share, seed=seed or new_seed())
    waiting = waiting_pairs(monitored_interactions(store, policy, depth=depth))
    judged = None
    if waiting:
        judged = judge_candidates(
            store, policy, settings, prices, pairs=waiting, budget_usd=budget_usd, progress=progress
        )
    return MonitorRun(before.new, drawn, before.not_mined, judged)


class MonitorEstimate(NamedTuple):
    """What a run would draw and ask."""

    new_traffic: int
    not_mined: int
    drawn: int
    stages: tuple[StageEstimate, ...]


class _Undone(Exception):
    pass


def estimate_monitoring(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    share: float,
    depth: int,
) -> MonitorEstimate:
    """Say what `draw_and_judge` would do, with nothing sent and nothing kept; arguments and errors are as there.

    From the second run on it is the very draw that the run will make.
    """
    found = traffic(store, policy.name)
    seed = monitor_seed(store, policy.name) or new_seed()
    drawn, stages = 0, []
    with contextlib.suppress(_Undone), store.transaction():
        drawn = draw_traffic(store, policy.name, share=share, seed=seed)
        waiting = waiting_pairs(monitored_interactions(store, policy, depth=depth))
        stages = estimate_run(store, policy, settings, prices, pairs=waiting) if waiting else []
        raise _Undone
    return MonitorEstimate(found.new, found.not_mined, drawn, tuple(stages))


def waiting_pairs(drawn: Sequence[Monitored]) -> list[str]:
    """Return the pairs that a judge has still to settle."""
    return sorted({shown.asked for one in drawn for shown in one.shown if _waits(shown)})


def check_segments(store: Store, by: str) -> None:
    """Refuse a field that makes no segments, before anything is paid for.

    Raises:
        UsageError: it is neither `length` nor `source` nor a field that any line of the logs held.
    """
    known = ["length", "source", *logged_fields(store)]
    if by not in known:
        near = difflib.get_close_matches(by, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        shown = ", ".join(known[:_SHOWN_FIELDS]) + (" ..." if len(known) > _SHOWN_FIELDS else "")
        raise UsageError(
            f"--by {by}: no line of the logs holds {by}{meant} (there are {shown})",
            hint="uncited monitor --policy NAME --by length",
        )


def report(
    store: Store,
    policy: Policy,
    *,
    depth: int,
    per: Per = "week",
    by: str = "length",
    resolution: Resolution = "majority",
    agenda: int = 10,
    rng_seed: int = 0,
) -> MonitorReport:
    """Measure what has been drawn and judged so far.

    Args:
        store: holds it.
        policy: whose labels count.
        depth: how many of the chunks of each list are looked at.
        per: length of a period, UTC.
        by: what makes a segment: `source`, `length` (of the query in words), or a field that the lines of the log hold
            besides those of the format.
        resolution: what makes one label of several people's blind answers (see `store.labels`).
        agenda: at most so many queries and so many documents.
        rng_seed: of the intervals.

    Raises:
        MissingError: nothing has been drawn yet.
    """
    drawn = monitored_interactions(store, policy, depth=depth)
    if not drawn:
        raise MissingError(
            f"nothing of the traffic has been drawn yet under {policy.name}",
            hint=f"uncited monitor --policy {policy.name} --share 1",
        )
    looked = [_look(policy, one) for one in drawn]
    segments = largest(
        {one.drawn.interaction_id: segment_of(by, one.drawn.query, one.drawn.source, one.drawn.extra) for one in looked}
    )
    parts = {
        name: [one for one in looked if segments[one.drawn.interaction_id] == name]
        for name in in_order(segments.values())
    }
    audit = sample_of_all(store, policy, resolution=resolution)
    asked = {shown.asked for one in drawn for shown in one.shown}
    of_traffic = replace(audit, pairs=tuple(pair for pair in audit.pairs if pair.pair_id in asked))
    return MonitorReport(
        policy.name,
        depth,
        _measure("all", looked, rng_seed),
        _periods(looked, per, rng_seed),
        tuple(_measure(name, part, rng_seed) for name, part in parts.items()),
        {name: _periods(part, per, rng_seed) for name, part in parts.items()},
        agenda_of(looked, limit=agenda),
        prevalence(audit, confidence=CONFIDENCE),
        prevalence(of_traffic, confidence=CONFIDENCE),
        tuple(sorted({shown.judge_id for one in drawn for shown in one.shown if shown.judge_id})),
    )


def _waits(shown: Shown) -> bool:
    return shown.label is None and (shown.error is None or shown.error in TRANSIENT)


def _look(policy: Policy, drawn: Monitored) -> Looked:
    roles = tuple(None if shown.label is None else policy.role(shown.label) for shown in drawn.shown)
    waiting = any(map(_waits, drawn.shown))
    labelled = roles.count("positive") + roles.count("negative")
    precision = roles.count("positive") / labelled if labelled and not waiting else None
    return Looked(drawn, roles, waiting, precision)


def _measure(name: str, looked: Sequence[Looked], rng_seed: int) -> Precision:
    """Average over interactions, with an interval over queries: those who ask the same get the same."""
    import numpy as np

    settled = [one for one in looked if not one.waiting]
    measured = [one for one in settled if one.precision is not None]
    none_relevant = sum(not one.relevant for one in settled) / len(settled) if settled else None
    if not measured:
        return Precision(name, len(looked), 0, Estimate(None, reason="nothing is judged"), none_relevant)
    _, query = np.unique([one.drawn.anchor_id for one in measured], return_inverse=True)
    values = np.array([[one.precision, 1.0] for one in measured], np.float64)
    sums = QuerySums(query, np.random.default_rng(rng_seed), RESAMPLES)
    estimate = sums.estimate(values, lambda totals: totals[:, 0] / totals[:, 1], "nothing is judged")
    return Precision(name, len(looked), len(measured), estimate, none_relevant)


def _periods(looked: Sequence[Looked], per: Per, rng_seed: int) -> tuple[Precision, ...]:
    parts: dict[str, list[Looked]] = {}
    for one in looked:
        parts.setdefault(period_of(one.drawn.happened_at, per), []).append(one)
    return tuple(_measure(name, parts[name], rng_seed) for name in sorted(parts))


def period_of(moment: datetime, per: Per) -> str:
    """Name the period of a moment by its first day; a week begins on Monday."""
    day = moment.date()
    if per == "week":
        day -= timedelta(days=day.weekday())
    return (day.replace(day=1) if per == "month" else day).isoformat()
