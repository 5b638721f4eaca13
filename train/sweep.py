"""Which model, loss, learning rate and number of negatives: all tried, chosen on validation, told on test once."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.errors import MissingError
from store.progress import Progress, silent
from train.crossed import Crossed
from train.experiments import Estimate, Gain, MeasuredOn
from train.held_out import HeldOut
from train.on_ray import train_on_ray
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.sweep_file import Plan, recipes
from train.trials import Counted, Laboratory, Trial, laboratory_on_test, laboratory_on_validation
from train.validation import hold_back


@dataclass(frozen=True, slots=True)
class Tried:
    """One combination and its metric on the validation queries; `base` is that of its base model before training.

    `seconds` is what the training of one of its models took, on average over the seeds.
    """

    model: str
    loss: str
    learning_rate: float
    negatives: int
    value: Estimate
    base: float
    seconds: float

    @property
    def name(self) -> str:
        """What tells it from the others, in one line."""
        several = f", {self.negatives} negatives" if self.negatives > 1 else ""
        return f"{Path(self.model).name}, {self.loss}, {self.learning_rate:g}{several}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """All combinations that were tried, best first, and what the first of them is worth on the test queries.

    `validation` and `test` say what was measured on. `on_test` is the metric of the winner, trained anew on the whole
    train split, and `gain` what it has over its own base model.
    """

    build_id: str
    settings: Mapping[str, object]
    metric: str
    seeds: tuple[int, ...]
    validation: MeasuredOn
    test: MeasuredOn
    tried: tuple[Tried, ...]
    on_test: Estimate
    gain: Gain


def sweep(
    split: TrainingSplit,
    test: HeldOut,
    plan: Plan,
    *,
    folder: Path,
    ray: str | None = None,
    progress: Progress = silent,
) -> Sweep:
    """Try all combinations of a plan on a part of the train split, and tell on the test split what the best is worth.

    Whole groups of train queries are held back and not trained on; the best mean there wins. The winner alone is
    trained anew on the whole train split, as `uncited train` would, and measured on the test queries: chosen without
    them, it owes them nothing. Each model is remembered in `folder`: a second call trains nothing, and a larger plan
    only what is new.

    Args:
        split: what there is to train on.
        test: what is held out.
        plan: what to try (see `train.sweep_file.read_plan`).
        folder: of the experiments.
        ray: the address of a Ray cluster to train on (see `train.on_ray`); None: one model after the other, here.
        progress: told of every model.

    Raises:
        UsageError: a combination makes no sense.
        MissingError: too few train queries to hold any back, no test query that could tell, no such model or cluster.
    """
    tried = recipes(plan)
    numbers = tuple(range(plan.seed, plan.seed + plan.seeds))
    parts = hold_back(split, plan.validation_share, plan.seed)
    if parts.held is None:
        raise MissingError(
            f"nothing can be held back of the train split of {split.build_id} to choose by: {parts.why_not}",
            hint=f"uncited review push --policy {test.policy}",
        )
    validation, final = laboratory_on_validation(parts.held, folder), laboratory_on_test(test, folder)

    def ahead(place: Laboratory, part: TrainingSplit, wanted: Sequence[Recipe]) -> None:
        if ray:
            seeded = [dataclasses.replace(recipe, seed=seed) for recipe in wanted for seed in numbers]
            train_on_ray(place, part, seeded, address=ray, progress=progress)

    ahead(validation, parts.rest, tried)
    bases = list(dict.fromkeys(recipe.base_model for recipe in tried))
    bar = Counted(progress, len(bases) + (len(tried) + 1) * len(numbers) + 1)
    before = {}
    for recipe in tried:
        if recipe.base_model not in before:
            before[recipe.base_model] = _untrained(validation, recipe, bar)
    found = [_all_seeds(validation, parts.rest, recipe, numbers, bar) for recipe in tried]
    ranked = _ranked(validation, tried, found, before, plan.metric)
    winner = tried[ranked[0][0]]
    ahead(final, split, [winner])
    base = _untrained(final, winner, bar)
    trained = _all_seeds(final, split, winner, numbers, bar)
    crossed = _crossed(final, [trained, [base] * len(numbers)], plan.metric)
    return Sweep(
        split.build_id,
        plan.model_dump(mode="json"),
        plan.metric,
        numbers,
        validation.measured_on,
        final.measured_on,
        tuple(one for _, one in ranked),
        crossed.estimate(0),
        crossed.gain(0, 1),
    )


def _untrained(place: Laboratory, recipe: Recipe, bar: Counted) -> Trial:
    with bar.model(f"{recipe.base_model} before training"):
        return place.untrained(recipe, bar)


def _all_seeds(
    place: Laboratory, split: TrainingSplit, recipe: Recipe, seeds: Sequence[int], bar: Counted
) -> list[Trial]:
    found = []
    for seed in seeds:
        with bar.model(f"{recipe.loss}, {recipe.learning_rate:g}, seed {seed}"):
            found.append(place.trained(split, dataclasses.replace(recipe, seed=seed), bar))
    return found


def _ranked(
    place: Laboratory,
    tried: Sequence[Recipe],
    found: Sequence[Sequence[Trial]],
    before: Mapping[str, Trial],
    metric: str,
) -> list[tuple[int, Tried]]:
    """Return each combination with its place in the plan, the best mean first; of equals, the first of the plan."""
    crossed = _crossed(place, found, metric)
    rows = []
    for i, (recipe, trials) in enumerate(zip(tried, found, strict=True)):
        base = float(place.table([before[recipe.base_model]], metric).mean())
        seconds = sum(trial.seconds for trial in trials) / len(trials)
        named = (recipe.base_model, recipe.loss, recipe.learning_rate, recipe.negatives)
        rows.append((i, Tried(*named, crossed.estimate(i), base, seconds)))
    return sorted(rows, key=lambda row: -row[1].value.value)


def _crossed(place: Laboratory, found: Sequence[Sequence[Trial]], metric: str) -> Crossed:
    import numpy as np

    return Crossed(np.stack([place.table(trials, metric) for trials in found], axis=2), place.groups)
