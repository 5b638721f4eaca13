"""What chance in training does to a gain: the same recipe with other seeds."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from store.errors import MissingError, UsageError
from train.evaluation import SeedSpread, Spread
from train.held_out import HeldOut
from train.metrics import METRICS, Run, per_query
from train.runs import read_run

FEWEST_SEEDS = 3  # of fewer, a spread says little

# What differs between runs of one recipe: the seed decides what is held back for validation, and so what is left.
_OF_THE_SEED = ("seed", "rows", "rows_sha256", "base_model", "guide")


def check_runs(runs: Sequence[Path]) -> None:
    """Make sure that runs differ in nothing but their seed, and are enough.

    Raises:
        MissingError: a folder holds no run.
        UsageError: there are too few runs, two have the same seed, or they differ in something else.
    """
    if len(runs) < FEWEST_SEEDS:
        raise UsageError(
            f"{len(runs)} seeds say little of their spread: at least {FEWEST_SEEDS}, the evaluated model included",
            hint="uncited train --policy NAME --seed 1 --out models/seed-1",
        )
    first: dict[str, object] = {}
    seeds: dict[object, Path] = {}
    for folder in runs:
        record = read_run(folder)
        if record is None:
            raise MissingError(f"{folder} holds no run of `uncited train`", hint="uncited runs")
        seed = record["settings"].get("seed")
        if seed in seeds:
            raise UsageError(
                f"{folder} and {seeds[seed]} were trained with the same seed, {seed}",
                hint="uncited train --policy NAME --seed 1 --out models/seed-1",
            )
        seeds[seed] = folder
        told = {name: value for name, value in record["settings"].items() if name not in _OF_THE_SEED}
        told["build_id"] = record.get("build_id")
        first = first or told
        unlike = sorted(name for name in first.keys() | told.keys() if first.get(name) != told.get(name))
        if unlike:
            raise UsageError(f"{folder} and {runs[0]} differ in more than their seed: {', '.join(unlike)}")


def seed_spread(
    test: HeldOut, queries: Sequence[str], against: str, labelled: Mapping[str, Run], runs: Mapping[str, Run]
) -> SeedSpread:
    """Return the gains of runs over the system `against`, and how they scatter.

    Args:
        test: the labels.
        queries: those that count.
        against: a system of `labelled`.
        labelled: the labelled chunks in the order of each system.
        runs: the same, of each run.
    """
    grades = test.grades or None
    baseline = per_query(test.qrels, labelled[against], queries, grades)
    gains = {name: per_query(test.qrels, run, queries, grades) - baseline for name, run in runs.items()}
    spreads = {}
    for i, metric in enumerate(METRICS):
        values = tuple(float(found[:, i].mean()) for found in gains.values()) if queries else ()
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else 0.0
            spreads[metric] = Spread(values, statistics.fmean(values), sd, min(values), max(values))
    return SeedSpread(tuple(runs), against, spreads)
