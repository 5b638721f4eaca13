"""Whether a model may take the place of another: yes only where the evaluation leaves no doubt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from train.compare import asked_alone
from train.evaluate import identified, versions
from train.evaluation import Compared, Evaluation
from train.held_out import HeldOut, labels_id
from train.seeds import FEWEST_SEEDS
from train.statistics import CONFIDENCE, MIN_CHANGED_GROUPS
from train.warnings import warnings

_ALPHA = 1 - CONFIDENCE + 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: whether it holds (None: it was not checked), and why, in words."""

    name: str
    passed: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class FallenPart:
    """A part of the test in which the mean fell; `certain` where that closes the gate, and a warning otherwise."""

    by: str
    name: str
    queries: int
    difference: Compared
    certain: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found: `passed` only where no check failed. `warnings` are those of the evaluation.

    `fell` are the parts whose mean fell, the largest fall first.
    """

    passed: bool
    build_id: str
    against: str
    metric: str
    min_gain: float
    difference: Compared
    checks: tuple[Check, ...]
    fell: tuple[FallenPart, ...]
    warnings: tuple[str, ...]


def gate(evaluation: Evaluation, against: str, *, min_gain: float, metric: str) -> GateResult:
    """Check whether the evaluated model is better than another system.

    Four conditions: the interval of the gain lies above zero (and the sign-flip test agrees); the gain is at least
    `min_gain`; no part falls for certain, which is said of one whose interval lies below zero; and, where runs with
    other seeds were evaluated, the standard deviation of their gains is not above their mean. One metric is looked at,
    so its p-value is not corrected for those that the evaluation claims besides.

    Args:
        evaluation: of the model.
        against: name of a system in it.
        min_gain: in units of the metric.
        metric: its name.
    """
    difference = asked_alone(evaluation.labelled.metric(metric).differences[against])
    fell = _fallen_parts(evaluation, against, metric)
    checks = (
        _above_zero(difference),
        _large_enough(difference, min_gain),
        _no_part_falls(fell, len(evaluation.slices)),
        _steady(evaluation, against, metric),
    )
    passed = not any(check.passed is False for check in checks)
    return GateResult(
        passed, evaluation.build_id, against, metric, min_gain, difference, checks, fell, evaluation.warnings
    )


def measured_before(
    kept: Evaluation | None, test: HeldOut, against: str, tuned: str, *, runs: Sequence[str] = (), seed: int = 0
) -> Evaluation | None:
    """Return a kept evaluation as `compare` would give it anew for the gate; None where it stands for something else.

    It has to be of the same labels, seed and versions, and of the same two models, which are known by their weights.
    In it, `against` goes by the name under which it was compared; see `system_of`.

    Args:
        kept: what was kept of an earlier evaluation, if anything.
        test: the test set as it is now.
        against: the model to beat, by folder or hub name.
        tuned: the model that is evaluated.
        runs: the same with other seeds.
        seed: of the bootstrap.
    """
    now = {"seed": seed, "labels_id": labels_id(test), "versions": versions()}
    if kept is None or any(kept.settings.get(name) != value for name, value in now.items()):
        return None
    name = system_of(kept, against)
    if name is None or kept.system(kept.subject).model_id != identified(tuned):
        return None
    wanted = tuple(map(identified, (tuned, *runs)))
    if runs and (kept.seeds is None or kept.seeds.against != name or kept.seeds.runs != wanted):
        return None
    told = warnings(test, kept.labelled, {against: against, kept.subject: tuned})
    return replace(kept, seeds=kept.seeds if runs else None, warnings=told)


def system_of(evaluation: Evaluation, model: str) -> str | None:
    """Return the name under which a model, by folder or hub name, was compared with the evaluated one, if it was."""
    wanted = identified(model)
    others = (system for system in evaluation.systems if system.name != evaluation.subject)
    return next((system.name for system in others if system.model_id == wanted), None)


def _above_zero(found: Compared) -> Check:
    name = "gain above zero"
    if found.value is None or found.low is None or found.high is None or found.p is None:
        return Check(name, passed=False, why="there are too few test queries for an interval")
    interval = f"the 95 % interval of the gain, {found.low:+.3f} to {found.high:+.3f},"
    if found.low <= 0:
        return Check(name, passed=False, why=f"{interval} does not lie above zero")
    if found.changed < MIN_CHANGED_GROUPS:
        return Check(name, passed=False, why=f"only {found.changed} of {found.groups} query groups differ")
    if found.p > _ALPHA:
        return Check(name, passed=False, why=f"chance alone gives such a gain too often (p = {found.p:.2f})")
    return Check(name, passed=True, why=f"{interval} lies above zero")


def _large_enough(found: Compared, min_gain: float) -> Check:
    name = "gain large enough"
    if found.value is None:
        return Check(name, passed=False, why="nothing was measured")
    passed = found.value >= min_gain
    relation = "at least" if passed else "less than"
    return Check(name, passed=passed, why=f"the gain is {found.value:+.4f}, {relation} the {min_gain:g} asked for")


def _fallen_parts(evaluation: Evaluation, against: str, metric: str) -> tuple[FallenPart, ...]:
    fell = []
    for part in evaluation.slices:
        found = part.ranking.metric(metric).differences[against]
        if found.value is not None and found.value < 0:
            certain = found.high is not None and found.high < 0 and found.changed >= MIN_CHANGED_GROUPS
            fell.append((found.value, FallenPart(part.by, part.name, part.ranking.queries, found, certain)))
    return tuple(part for _, part in sorted(fell, key=lambda each: each[0]))


def _no_part_falls(fell: Sequence[FallenPart], parts: int) -> Check:
    name = "no part falls"
    certain = [
        f"{part.by} {part.name!r} ({part.difference.low:+.3f} to {part.difference.high:+.3f})"
        for part in fell
        if part.certain
    ]
    if certain:
        return Check(name, passed=False, why=f"the interval lies below zero in {', '.join(certain)}")
    if not parts:
        return Check(name, passed=None, why="not checked: the test labels and queries are all of one part")
    means = f"; the mean fell in {len(fell)} of them" if fell else ""
    return Check(name, passed=True, why=f"in none of {parts} parts does the interval lie below zero{means}")


def _steady(evaluation: Evaluation, against: str, metric: str) -> Check:
    name = "seeds agree"
    seeds = evaluation.seeds
    if seeds is None or seeds.against != against:
        why = f"not checked: name two or more runs with other seeds (--runs), for {FEWEST_SEEDS} in all"
        return Check(name, passed=None, why=why)
    found = seeds.metrics.get(metric)
    if found is None:
        return Check(name, passed=False, why="nothing was measured")
    ends = f"{found.low:+.4f} to {found.high:+.4f}"
    told = f"over {len(found.gains)} seeds the gain is {found.mean:+.4f} on average ({ends})"
    if found.sd > found.mean:
        return Check(name, passed=False, why=f"{told}, less than its standard deviation of {found.sd:.4f}")
    return Check(name, passed=True, why=f"{told}, with a standard deviation of {found.sd:.4f}")
