"""How the error falls with the number of training examples, and what more labels would buy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from train.experiments import Estimate, Gain, MeasuredOn


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
    """`1 - metric = floor + scale * examples ** -exponent`, least squares over the points."""

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
