"""What chance in training does to a gain: the same recipe with other seeds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from store.errors import InvalidDataError, MissingError, UsageError
from train.evaluation import SeedSpread, Spread
from train.held_out import HeldOut
from train.metrics import METRICS, Run, per_query
from train.trainer import RUN_FILE

FEWEST_SEEDS = 3  # of fewer, a spread says little


def check_runs(runs: Sequence[Path]) -> None:
    """Make sure that runs differ in nothing but their seed.

    Raises:
        MissingError: a folder holds no run.
        InvalidDataError: a record of a run cannot be read.
        UsageError: two runs have the same seed, or differ in something else.
    """
    first: dict[str, object] = {}
    seeds: dict[object, Path] = {}
    for folder in runs:
        try:
            record = json.loads((folder / RUN_FILE).read_bytes())
            told: dict[str, object] = {**record["settings"], "build_id": record["build_id"]}
        except FileNotFoundError as error:
            raise MissingError(f"{folder} has no {RUN_FILE}: it is no run of `uncited train`") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidDataError(f"{folder / RUN_FILE} cannot be read: {error}") from error
        seed = told.pop("seed", None)
        if seed in seeds:
            raise UsageError(
                f"{folder} and {seeds[seed]} were trained with the same seed, {seed}",
                hint="uncited train --seed 1 --out models/seed-1",
            )
        seeds[seed] = folder
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
