"""What labels are worth: models trained on negatives that were chosen in different ways, compared on one test set."""

from collections.abc import Mapping
from dataclasses import dataclass

from train.experiments import Estimate, Gain, MeasuredOn

NAIVE = "naive"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to choose what is trained on, and how the models fared that were trained on it.

    `available` counts the triplets that the way yields, of which as many are taken as every arm can give; `queries`
    counts the train queries of those. Of their negatives `known` have a label, and `relevant` of these are relevant
    all the same: false negatives. `unavailable` says in words why no model was trained; it is empty where one was, and
    then `value` is the metric and `against_naive` the difference from the arm `naive` (None for that arm itself).
    """

    name: str
    what: str
    available: int
    queries: int
    known: int
    relevant: int
    unavailable: str
    value: Estimate | None
    by_seed: tuple[float, ...]
    against_naive: Gain | None


@dataclass(frozen=True, slots=True)
class Ablation:
    """The arms, each trained on `triplets` triplets with the same recipe and seeds; `base` is the model before."""

    build_id: str
    settings: Mapping[str, object]
    metric: str
    seeds: tuple[int, ...]
    triplets: int
    test: MeasuredOn
    base: Estimate
    arms: tuple[Arm, ...]
