"""How the error falls with the number of training examples, and what more labels would buy."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from store.errors import MissingError, UsageError
from store.ids import content_id
from store.progress import Progress, silent
from train.crossed import Crossed, claimed, shown
from train.experiments import Estimate, Gain, MeasuredOn
from train.held_out import HeldOut
from train.power_law import PARAMETERS, fit_power_law, law_at
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.trials import Counted, Laboratory, Trial, checked, laboratory_on_test

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIZES = tuple(digit * 10**power for power in range(2, 7) for digit in (1, 2, 5))  # 100, 200, 500, 1,000 ...
_FEWEST_SIZES = PARAMETERS + 1  # with fewer, a law passes through every point, whatever the points are
_SMALLEST = 8  # triplets; fewer are hardly one step of training
_AHEAD = (2, 4)  # times as many examples as there are; further ahead a law of so few points says nothing


@dataclass(frozen=True, slots=True)
class Point:
    """Models trained on `examples` triplets: the metric over all seeds with its interval, and that of each seed.

    `queries` is how many train queries the triplets are of, on average over the seeds.
    """

    examples: int
    queries: float
    value: Estimate
    by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """`1 - metric = floor + scale * examples ** -exponent`, least squares over the points (see `train.power_law`)."""

    floor: float
    scale: float
    exponent: float

    def metric(self, examples: float) -> float:
        """Return the metric that the law gives for so many examples."""
        return 1 - self.floor - self.scale * math.pow(examples, -self.exponent)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the law says of `examples` triplets, which is more than there are; `gain` is against all there are."""

    examples: int
    value: Estimate
    gain: Gain


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The metric against the number of training examples.

    `base` is the model before training. `points` go from few examples to all. `learnt` is what the last point has over
    the first. `law` is None where the points do not carry one; `no_law` says why then, and is empty otherwise.
    """

    build_id: str
    settings: Mapping[str, object]
    metric: str
    seeds: tuple[int, ...]
    test: MeasuredOn
    base: Estimate
    points: tuple[Point, ...]
    learnt: Gain
    law: PowerLaw | None
    no_law: str
    forecasts: tuple[Forecast, ...]


def learning_curve(
    split: TrainingSplit,
    test: HeldOut,
    recipe: Recipe,
    *,
    folder: Path,
    sizes: Sequence[int] = (),
    seeds: int = 3,
    metric: str = "nDCG@10",
    progress: Progress = silent,
) -> LearningCurve:
    """Train on growing parts of a split, several times over, and measure each model.

    Every seed puts the train queries in an order of its own and takes triplets from the front, so that a smaller part
    lies within each larger one; it is also the seed of the training. Intervals are over queries and seeds (see
    `train.crossed`). Each model is remembered in `folder`: a second call trains nothing.

    Args:
        split: what there is to train on.
        test: what is held out; measured is the order of each query's labelled chunks.
        recipe: how to train; its seed is the first.
        folder: of the experiments.
        sizes: numbers of triplets; none: see `default_sizes`. All of the split is always the last.
        seeds: how many.
        metric: one of `train.metrics.METRICS`.
        progress: told of every model.

    Raises:
        UsageError: a size, the number of seeds, the metric or the recipe makes no sense.
        MissingError: too few triplets, or no test query that could tell.
    """
    recipe, numbers = checked(recipe, metric, seeds)
    place = laboratory_on_test(test, folder)
    wanted = _sizes(split, sizes)
    orders = {number: _order(split, number) for number in numbers}
    trials: dict[tuple[int, int], Trial] = {}
    bar = Counted(progress, len(wanted) * len(numbers) + 1)
    with bar.model("before training"):
        base = place.untrained(recipe, bar)
    for size in wanted:
        for number in numbers:
            with bar.model(f"{size:,} triplets, seed {number}"):
                part = _part(split, orders[number], size)
                trials[size, number] = place.trained(part, dataclasses.replace(recipe, seed=number), bar)
    queries = {size: sum(_queries(split, orders[number], size) for number in numbers) / len(numbers) for size in wanted}
    return _curve(split, recipe, metric, numbers, place, base, trials, queries)


def default_sizes(total: int) -> tuple[int, ...]:
    """Return numbers of triplets below `total`: 100, 200, 500, 1,000 and so on; of a few, halves of halves."""
    steps = [size for size in SIZES if size < total]
    if len(steps) >= _FEWEST_SIZES:
        return tuple(steps)
    halves = [total // 2**power for power in range(1, _FEWEST_SIZES + 1)]
    return tuple(sorted(size for size in halves if size >= _SMALLEST))


def _sizes(split: TrainingSplit, given: Sequence[int]) -> tuple[int, ...]:
    total = split.triplets.num_rows
    if total < 2 * _SMALLEST:
        raise MissingError(
            f"the train split of {split.build_id} has {total} triplets; a curve takes {2 * _SMALLEST} or more",
            hint="uncited build --policy NAME --test-share 0.3",
        )
    wrong = [size for size in given if not 1 <= size <= total]
    if wrong:
        raise UsageError(f"the train split has {total:,} triplets, so a size of {wrong[0]:,} makes no sense")
    return tuple(sorted({*(given or default_sizes(total)), total}))


def _order(split: TrainingSplit, seed: int) -> "npt.NDArray[np.int64]":
    """Return the places of all triplets: query by query, in an order that the seed gives.

    The triplets of a query come in such an order too: where the last query of a part is cut, chance cuts it.
    """
    import numpy as np

    names = split.triplets.select(["anchor_id", "positive_id", "negative_id"]).to_pylist()
    keys = [
        (content_id("order", seed, row["anchor_id"]), content_id("order", seed, row["positive_id"], row["negative_id"]))
        for row in names
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _part(split: TrainingSplit, order: "npt.NDArray[np.int64]", size: int) -> TrainingSplit:
    """Return the first triplets of an order, with the labels of the chunks in them.

    Labels that stand in no triplet are left out of the whole split too: a reranker, which reads labels, would have more
    of them for each triplet at the last point than at the others.
    """
    import pyarrow.compute as pc

    triplets = split.triplets.take(pa.array(sorted(order[:size].tolist())))
    anchors = pc.is_in(split.labels["anchor_id"], value_set=triplets["anchor_id"].combine_chunks())
    chunks = pa.concat_arrays([triplets[name].combine_chunks() for name in ("positive_id", "negative_id")])
    shown = pc.and_(anchors, pc.is_in(split.labels["chunk_id"], value_set=chunks))
    return dataclasses.replace(split, triplets=triplets, labels=split.labels.filter(shown))


def _queries(split: TrainingSplit, order: "npt.NDArray[np.int64]", size: int) -> int:
    return len(set(split.triplets["anchor_id"].take(pa.array(order[:size])).to_pylist()))


def _curve(
    split: TrainingSplit,
    recipe: Recipe,
    metric: str,
    seeds: tuple[int, ...],
    place: Laboratory,
    base: Trial,
    trials: Mapping[tuple[int, int], Trial],
    queries: Mapping[int, float],
) -> LearningCurve:
    """Put the measured values together: columns are the sizes, and the base model last."""
    import numpy as np

    sizes = list(queries)
    columns = [place.table([trials[size, seed] for seed in seeds], metric) for size in sizes]
    before = np.repeat(place.table([base], metric), len(seeds), axis=1)
    values = np.stack([*columns, before], axis=2)
    crossed = Crossed(values, place.groups)
    points = tuple(
        Point(size, queries[size], crossed.estimate(i), tuple(map(float, values[:, :, i].mean(axis=0))))
        for i, size in enumerate(sizes)
    )
    law, no_law, forecasts = _law(crossed, sizes)
    return LearningCurve(
        split.build_id,
        {name: value for name, value in recipe.settings().items() if name != "seed"},
        metric,
        seeds,
        place.measured_on,
        crossed.estimate(len(sizes)),
        points,
        crossed.gain(len(sizes) - 1, 0),
        law,
        no_law,
        forecasts,
    )


def _law(crossed: Crossed, sizes: Sequence[int]) -> tuple[PowerLaw | None, str, tuple[Forecast, ...]]:
    """Fit the law to the means, and to each draw for the intervals; refuse where it would say nothing."""
    if len(sizes) < _FEWEST_SIZES:
        return None, f"{len(sizes)} sizes are too few: a law of {PARAMETERS} numbers fits any of them", ()
    last = len(sizes) - 1
    learnt = crossed.gain(last, 0)
    if learnt.verdict != "gain":
        return None, f"from {sizes[0]:,} to {sizes[last]:,} triplets there is {_in_words(learnt.verdict)}", ()
    laws = fit_power_law(sizes, 1 - crossed.draws[:, : len(sizes)])
    own = fit_power_law(sizes, 1 - crossed.means[None, : len(sizes)])
    forecasts = tuple(_forecast(crossed, own, laws, sizes[last], times) for times in _AHEAD)
    missed, missed_at = _missed(crossed, own, laws, sizes)
    if missed > abs(forecasts[0].gain.value):
        return None, f"it would miss the point at {missed_at:,} triplets by {missed:.3f}, more than it promises", ()
    return PowerLaw(*map(float, own[0])), "", forecasts


def _forecast(crossed: Crossed, own: "np.ndarray", laws: "np.ndarray", most: int, times: int) -> Forecast:
    """Say what the law, and that of each draw, gives for several times as many triplets as there are at most."""
    now, drawn_now = law_at(own, most)[0], law_at(laws, most)
    then, drawn_then = law_at(own, times * most)[0], law_at(laws, times * most)
    gain = claimed(float(now - then), crossed.bounds(drawn_now - drawn_then), crossed.groups, crossed.groups)
    return Forecast(times * most, shown(float(1 - then), crossed.bounds(1 - drawn_then)), gain)


def _missed(crossed: Crossed, own: "np.ndarray", laws: "np.ndarray", sizes: Sequence[int]) -> tuple[float, int]:
    """Return by how much the law misses a point at most, more than chance explains, and which; 0 where by nothing.

    Learning has other shapes too: where it starts late, or in a leap, a law of this form is wrong everywhere.
    """
    found = [(0.0, sizes[0])]
    for i, size in enumerate(sizes):
        bounds = crossed.bounds(1 - crossed.draws[:, i] - law_at(laws, size), questions=len(sizes))
        if bounds and not bounds[0] <= 0 <= bounds[1]:
            found.append((abs(float(1 - crossed.means[i] - law_at(own, size)[0])), size))
    return max(found)


def _in_words(verdict: str) -> str:
    return "a loss, which no such law has" if verdict == "loss" else verdict
