"""One ranking of several systems: the metrics of each, and how the last one differs from each other one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from train.evaluation import Compared, Metric, Ranking
from train.held_out import HeldOut
from train.metrics import METRICS, Run, highest, per_query
from train.statistics import CONFIDENCE, Difference, holm, paired_bootstrap, sign_flip_p

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def compared(
    test: HeldOut,
    queries: Sequence[str],
    runs: Mapping[str, Run],
    *,
    named: Sequence[str],
    seed: int,
    bounds: bool = False,
) -> Ranking:
    """Measure runs on `queries`, and compare the last one with each other one.

    A difference is claimed only of the metrics `named` beforehand, and only where two things agree: the bootstrap
    interval leaves out zero, and the p-value of the sign-flip test is at most 5 % after Holm's correction over these
    metrics. The first gives the size of a gain, the second holds what it promises with few groups, too.

    Args:
        test: the labels.
        queries: those that count; none gives a ranking without values.
        runs: by system.
        named: metrics.
        seed: of the resampling.
        bounds: tell also what each metric would be at most, were what has no label relevant.
    """
    import numpy as np

    grades = test.grades or None
    groups = [test.groups[query] for query in queries]
    measured = {name: per_query(test.qrels, run, queries, grades) for name, run in runs.items()}
    *others, subject = runs
    wide = [(measured[subject] - measured[name])[:, :-1] for name in others]
    columns = np.concatenate(wide, axis=1) if wide else np.zeros((len(queries), 0))
    differences = paired_bootstrap(columns, groups, rng=np.random.default_rng(seed))
    p_values = sign_flip_p(columns, groups, rng=np.random.default_rng(seed))
    means = {name: _mean(values) for name, values in measured.items()}
    most = {name: _mean(highest(test.qrels, run, queries, grades)) for name, run in runs.items()} if bounds else {}
    by_other = {
        name: _compared(
            differences[i * len(METRICS) : (i + 1) * len(METRICS)],
            p_values[i * len(METRICS) : (i + 1) * len(METRICS)],
            named,
        )
        for i, name in enumerate(others)
    }
    metrics = tuple(
        Metric(
            metric,
            metric in named,
            {name: found[i] for name, found in means.items()},
            {name: found[i] for name, found in most.items()},
            {name: found[i] for name, found in by_other.items()},
        )
        for i, metric in enumerate(METRICS)
    )
    return Ranking(len(queries), len(set(groups)), metrics, {name: found[-1] for name, found in means.items()})


def _mean(values: "npt.NDArray[np.float64]") -> list[float | None]:
    """Return the mean of each column; None without rows."""
    if not len(values):
        return [None] * values.shape[1]
    return [float(mean) for mean in values.mean(axis=0)]


def _compared(differences: Sequence[Difference], p_values: Sequence[float], named: Sequence[str]) -> list[Compared]:
    """Say of each metric what may be said."""
    asked = [i for i, name in enumerate(METRICS) if name in named]
    corrected = dict(zip(asked, holm([p_values[i] for i in asked]), strict=True))
    return [
        Compared(
            _known(found.value),
            _known(found.low),
            _known(found.high),
            p,
            corrected.get(i),
            found.groups,
            found.changed,
            _verdict(found, corrected.get(i), len(asked)),
        )
        for i, (found, p) in enumerate(zip(differences, p_values, strict=True))
    ]


def asked_alone(found: Compared) -> Compared:
    """Return what is said of a metric where it is the only one that was named beforehand."""
    if found.p is None:
        return found
    low, high = (math.nan if bound is None else bound for bound in (found.low, found.high))
    value = math.nan if found.value is None else found.value
    verdict = _verdict(Difference(value, low, high, found.groups, found.changed), found.p, 1)
    return replace(found, corrected_p=found.p, verdict=verdict)


def _verdict(found: Difference, corrected_p: float | None, asked: int) -> str:
    if corrected_p is None:
        return "no claim (not named beforehand)"
    claim = found.verdict
    if claim in ("gain", "loss") and corrected_p > 1 - CONFIDENCE + 1e-9:
        return f"no claim (p = {corrected_p:.2f} after correction for {asked} metrics)"
    return claim


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
