"""Which model, loss, learning rate and number of negatives: all tried, chosen on validation, told on test once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from train.experiments import Estimate, Gain, MeasuredOn


@dataclass(frozen=True, slots=True)
class Tried:
    """One combination and its metric on the validation queries; `base` is that of its base model before training."""

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
        return f"{Path(self.model).name}, {self.loss}, {self.learning_rate:g}, {self.negatives} negatives"


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
