"""Models trained to be measured and thrown away; what they reached is kept, so that no model is trained twice."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import canonical_json, content_id
from store.progress import Progress
from train.evaluate import METRICS
from train.experiments import MeasuredOn, kept
from train.held_out import HeldOut
from train.ranking import rank_with_all
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.trainer import train

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_TEXTS = ("anchor", "positive", "negative", "chunk")  # columns that say no more than the ids beside them


@dataclass(frozen=True, slots=True)
class Trial:
    """What one model reached: `values` has each metric of `METRICS` by query; no steps where it was not trained."""

    values: Mapping[str, Mapping[str, float]]
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Where trials take place: the test set, and the folder that keeps what was found.

    Make it with `laboratory`. `queries` are those that count, in order; all have a positive and a negative.
    """

    test: HeldOut
    queries: tuple[str, ...]
    folder: Path
    measured_on: MeasuredOn
    test_id: str

    @property
    def groups(self) -> list[str]:
        """The group of each query."""
        return [self.test.groups[query] for query in self.queries]

    def untrained(self, model: str, progress: Progress) -> Trial:
        """Measure a model as it is; it is not asked again."""
        trial_id = content_id("trial", model_name(model), self.test_id)
        return self._kept(trial_id, lambda: Trial(_measured(self, model, progress), 0, 0.0))

    def trained(self, split: TrainingSplit, recipe: Recipe, progress: Progress) -> Trial:
        """Train a model, measure it and throw it away; the same on the same is not done again.

        One that was stopped in the middle goes on as `train.trainer.train` does.
        """
        recipe = recipe.complete()
        names = [model_name(name) for name in (recipe.base_model, recipe.guide) if name]
        trial_id = content_id("trial", recipe.settings(), names, _split_id(split), self.test_id)

        def run() -> Trial:
            done = train(split, recipe, out=self.folder / f"{trial_id}.model", progress=progress)
            found = Trial(_measured(self, str(done.model), progress), done.run["steps"], done.run["seconds"])
            shutil.rmtree(done.model)
            return found

        return self._kept(trial_id, run)

    def _kept(self, trial_id: str, run: Callable[[], Trial]) -> Trial:
        def found() -> Mapping[str, Any]:
            trial = run()
            return {"values": trial.values, "steps": trial.steps, "seconds": trial.seconds}

        return Trial(**kept(self.folder / f"{trial_id}.json", found))

    def table(self, trials: Sequence[Trial], metric: str) -> "npt.NDArray[np.float64]":
        """Return a metric of several trials, shape (queries, trials)."""
        import numpy as np

        return np.array([[trial.values[metric][query] for trial in trials] for query in self.queries])


def laboratory(test: HeldOut, folder: Path) -> Laboratory:
    """Prepare a test set: logged queries with a positive and a negative, each to order its labelled chunks.

    That is the headline of `train.evaluate`: with what has no label left out of the list, no metric rests on a guess.

    Args:
        test: what is held out.
        folder: of all experiments; what trials found is kept in a folder of its own below it.

    Raises:
        MissingError: no query can tell one order from another.
    """
    contested = [
        query
        for query, labels in test.qrels.items()
        if query not in test.synthetic and any(labels.values()) and not all(labels.values())
    ]
    if not contested:
        raise MissingError(
            f"no test query of {test.build_id} has both a positive and a negative, so every order is as good",
            hint="uncited build --test-share 0.3",
        )
    needed = {chunk for query in contested for chunk in test.qrels[query]}
    small = test._replace(pool={chunk: text for chunk, text in test.pool.items() if chunk in needed})
    labels = sum(len(test.qrels[query]) for query in contested)
    all_labels = sum(len(labels) for labels in test.qrels.values())
    found = MeasuredOn(
        len(contested), len({test.groups[query] for query in contested}), labels, test.human_labels / all_labels
    )
    asked = {query: [test.queries[query], test.qrels[query], test.groups[query]] for query in contested}
    return Laboratory(small, tuple(contested), folder / "trials", found, content_id("test", asked, small.pool))


def _measured(place: Laboratory, model: str, progress: Progress) -> dict[str, dict[str, float]]:
    """Return each metric by query, for the labelled chunks in the order that the model gives them."""
    import ir_measures

    run = rank_with_all(place.test, place.queries, [model], progress)[model].labelled
    named = {ir_measures.parse_measure(measure): name for name, measure in METRICS.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(place.queries, 0.0) for name in METRICS}
    for found in ir_measures.iter_calc(list(named), {query: place.test.qrels[query] for query in place.queries}, run):
        values[named[found.measure]][found.query_id] = float(found.value)
    return values


def _split_id(split: TrainingSplit) -> str:
    """Name what is trained on by its content; texts are named by their ids."""
    digest = hashlib.sha256()
    for table in (split.triplets, split.labels):
        told = table.drop_columns([name for name in _TEXTS if name in table.column_names])
        for batch in told.to_batches(max_chunksize=10_000):
            digest.update(canonical_json(batch.to_pylist()).encode())
    return content_id("split", digest.hexdigest())


def checked(recipe: Recipe, metric: str, seeds: int) -> tuple[Recipe, tuple[int, ...]]:
    """Fill in a recipe and return it with the seeds to train with, which begin at its own.

    Raises:
        UsageError: there is no such metric, no seed, or the recipe is wrong or not of a model that retrieves.
    """
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    if seeds < 1:
        raise UsageError(f"{seeds} seeds train no model: at least 1")
    recipe = recipe.complete()
    if recipe.kind == "reranker":
        raise UsageError("experiments are for models that retrieve, not for a reranker")
    return recipe, tuple(range(recipe.seed, recipe.seed + seeds))


class Counted:
    """A bar over all models of an experiment. What the training of each one reports becomes the note beside it."""

    def __init__(self, outer: Progress, models: int) -> None:
        """Start the bar; call `next` after each model."""
        self._outer = outer
        self._outer.start("Models", models)
        self._name = self._what = ""
        self._total: int | None = None
        self._done = 0

    def name(self, name: str) -> None:
        """Say which model comes now."""
        self._name = name

    def next(self) -> None:
        """Say that a model is done."""
        self._outer.advance()

    def start(self, description: str, total: int | None) -> None:
        """Begin a stretch of the training or measuring of one model."""
        self._what, self._total, self._done = description, total, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Show how far it is."""
        self._done += steps
        self._outer.advance(0, f"{self._name}: {self._what} {self._done}/{self._total or '?'} {note}".rstrip())
