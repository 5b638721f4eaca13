"""Models trained to be measured and thrown away; what they reached is kept, so that no model is trained twice."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import canonical_json, content_id
from store.progress import Progress
from train.experiments import MeasuredOn, kept
from train.held_out import HeldOut
from train.kinds import load
from train.metrics import METRICS, checked_metrics, per_query
from train.models import quiet
from train.prompts import known_prompts
from train.ranking import labelled_scores
from train.recipe import LOSSES, Kind, Recipe
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
    """Where trials take place: what is ranked for whom, and the folder that keeps what was found.

    Texts by id, `qrels` (relevance by query and chunk), the group of each query, and `grades` where the labels stand on
    a scale. Every query has a positive and a negative; its labelled chunks are put in order, and nothing else. That is
    the headline of `train.evaluate`: with what has no label left out of the list, no metric rests on a guess. Make it
    with `laboratory_on_test` or `laboratory_on_validation`.
    """

    folder: Path
    queries: Mapping[str, str]
    chunks: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    group_of: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]] | None
    measured_on: MeasuredOn

    @property
    def groups(self) -> list[str]:
        """The group of each query, in order."""
        return [self.group_of[query] for query in self.qrels]

    def untrained(self, recipe: Recipe, progress: Progress) -> Trial:
        """Measure the base model of a complete recipe as it is; it is not asked again."""
        prompts = list(known_prompts(recipe.base_model))
        trial_id = content_id("trial", recipe.kind, model_name(recipe.base_model), prompts, self._test_id())

        def run() -> Trial:
            from transformers import set_seed

            set_seed(recipe.seed)  # weights that the base model lacks are drawn
            return Trial(self._measured(recipe.kind, recipe.base_model, progress), 0, 0.0)

        return self._kept(trial_id, run)

    def trained(self, split: TrainingSplit, recipe: Recipe, progress: Progress) -> Trial:
        """Train a model by a complete recipe, measure it and throw it away; the same on the same is not done again.

        One that was stopped in the middle goes on as `train.trainer.train` does. What it left goes away once its values
        are kept, not before: stopped in between, it would find half a model.
        """
        trial_id = self.trial_id(split, recipe)

        def run() -> Trial:
            done = train(split, recipe, out=self.folder / f"{trial_id}.model", progress=progress)
            values = self._measured(recipe.kind, str(done.model), progress)
            return Trial(values, done.run["steps"], done.run["seconds"])

        found = self._kept(trial_id, run)
        for left in self.folder.glob(f"*{trial_id}.model*"):  # the model, and what was not finished beside it
            shutil.rmtree(left, ignore_errors=True)
        return found

    def trial_id(self, split: TrainingSplit, recipe: Recipe) -> str:
        """Name the training by a complete recipe and its measuring by all that decides what comes out."""
        models = [model_name(name) for name in (recipe.base_model, recipe.guide) if name]
        settings = {name: value for name, value in recipe.settings().items() if name not in ("base_model", "guide")}
        return content_id("trial", settings, models, _split_id(split), self._test_id())

    def keeps(self, trial_id: str) -> bool:
        """Tell whether it is known what a model reached."""
        return self._file(trial_id).is_file()

    def keep(self, trial_id: str, trial: Trial) -> None:
        """Keep what a model reached that was trained elsewhere."""
        kept(self._file(trial_id), lambda: asdict(trial))

    def table(self, trials: Sequence[Trial], metric: str) -> "npt.NDArray[np.float64]":
        """Return a metric of several trials, shape (queries, trials)."""
        import numpy as np

        return np.array([[trial.values[metric][query] for trial in trials] for query in self.qrels])

    def _test_id(self) -> str:
        return content_id("test", self.queries, self.chunks, self.qrels, self.grades, list(METRICS))

    def _kept(self, trial_id: str, run: Callable[[], Trial]) -> Trial:
        return Trial(**kept(self._file(trial_id), lambda: asdict(run())))

    def _file(self, trial_id: str) -> Path:
        return self.folder / f"{trial_id}.json"

    def _measured(self, kind: Kind, model: str, progress: Progress) -> dict[str, dict[str, float]]:
        with quiet():
            scores = labelled_scores(load(kind, model), kind, self.queries, self.chunks, self.qrels, progress)
        values = per_query(self.qrels, scores, list(self.qrels), self.grades)
        return {metric: dict(zip(self.qrels, values[:, i].tolist(), strict=True)) for i, metric in enumerate(METRICS)}


def laboratory_on_test(test: HeldOut, folder: Path) -> Laboratory:
    """Prepare the test split of a build: its logged queries that have a positive and a negative.

    Args:
        test: what is held out.
        folder: of all experiments; what trials found is kept in a folder of its own below it.

    Raises:
        MissingError: no query can tell one order from another.
    """
    qrels = {query: labels for query, labels in test.qrels.items() if query not in test.synthetic}
    sources = [test.sources[query][chunk] for query, chunk in _contested_pairs(qrels)]
    human = sum(source == "human" for source in sources)
    return _laboratory(
        folder, test.build_id, "test", test.queries, test.pool, qrels, test.groups, test.grades or None, human
    )


def laboratory_on_validation(held: TrainingSplit, folder: Path) -> Laboratory:
    """Prepare queries that are held back from training (`train.validation.hold_back`); else as `laboratory_on_test`."""
    rows = held.labels.to_pylist()
    qrels: dict[str, dict[str, int]] = {}
    grades: dict[str, dict[str, int]] = {}
    for row in rows:
        qrels.setdefault(row["anchor_id"], {})[row["chunk_id"]] = int(row["relevance"])
        if "grade" in row:
            grades.setdefault(row["anchor_id"], {})[row["chunk_id"]] = int(row["grade"])
    contested = set(_contested_pairs(qrels))
    human = sum(row["source"] == "human" for row in rows if (row["anchor_id"], row["chunk_id"]) in contested)
    return _laboratory(
        folder,
        held.build_id,
        "validation",
        {row["anchor_id"]: row["anchor"] for row in rows},
        {row["chunk_id"]: row["chunk"] for row in rows},
        qrels,
        {row["anchor_id"]: row["split_group"] for row in rows},
        grades or None,
        human,
    )


def _contested_pairs(qrels: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Return the labelled pairs of the queries that have a positive and a negative."""
    told = [query for query, labels in qrels.items() if any(labels.values()) and not all(labels.values())]
    return [(query, chunk) for query in told for chunk in qrels[query]]


def _laboratory(
    folder: Path,
    build_id: str,
    part: str,
    queries: Mapping[str, str],
    chunks: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    groups: Mapping[str, str],
    grades: Mapping[str, Mapping[str, int]] | None,
    human_labels: int,
) -> Laboratory:
    pairs = _contested_pairs(qrels)
    if not pairs:
        raise MissingError(
            f"no {part} query of {build_id} has both a positive and a negative, so every order is as good",
            hint="uncited build --policy NAME --test-share 0.3",
        )
    wanted = {query: qrels[query] for query, _ in pairs}
    needed = sorted({chunk for _, chunk in pairs})
    measured_on = MeasuredOn(
        len(wanted), len({groups[query] for query in wanted}), len(pairs), human_labels / len(pairs)
    )
    return Laboratory(
        folder / "trials",
        {query: queries[query] for query in wanted},
        {chunk: chunks[chunk] for chunk in needed},
        wanted,
        {query: groups[query] for query in wanted},
        {query: {chunk: grades[query][chunk] for chunk in labels} for query, labels in wanted.items()}
        if grades
        else None,
        measured_on,
    )


def _split_id(split: TrainingSplit) -> str:
    """Name what is trained on by its content; texts are named by their ids."""
    digest = hashlib.sha256()
    for table in (split.triplets, split.labels):
        told = table.drop_columns([name for name in _TEXTS if name in table.column_names])
        for batch in told.combine_chunks().to_batches(max_chunksize=10_000):  # however it came in pieces
            digest.update(canonical_json(batch.to_pylist()).encode())
    return content_id("split", digest.hexdigest())


def checked(recipe: Recipe, metric: str, seeds: int) -> tuple[Recipe, tuple[int, ...]]:
    """Fill in a recipe and return it with the seeds to train with, which begin at its own.

    Raises:
        UsageError: there is no such metric, no seed, the loss learns from a teacher, or the recipe is wrong.
    """
    checked_metrics([metric])
    if seeds < 1:
        raise UsageError(f"{seeds} seeds train no model: at least 1")
    named = LOSSES.get(recipe.kind, {}).get(recipe.loss)
    if named and named.distills:
        raise UsageError(
            f"the loss {recipe.loss!r} learns from a teacher, and an experiment has none",
            hint=f"uncited train --policy NAME --loss {recipe.loss} --teacher RERANKER  # or leave out --loss",
        )
    recipe = recipe.complete()
    return recipe, tuple(range(recipe.seed, recipe.seed + seeds))


class Counted:
    """A bar over all models of an experiment. What the training of each one reports becomes the note beside it."""

    def __init__(self, outer: Progress, models: int) -> None:
        """Start the bar."""
        self._outer = outer
        self._outer.start("Models", models)
        self._name = self._what = ""
        self._total: int | None = None
        self._done = 0

    @contextmanager
    def model(self, name: str) -> Iterator[None]:
        """Say which model is trained or measured inside, and afterwards that it is done."""
        self._name = name
        yield
        self._outer.advance()

    def start(self, description: str, total: int | None) -> None:
        """Begin a stretch of the training or measuring of one model."""
        self._what, self._total, self._done = description, total, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Show how far it is."""
        self._done += steps
        self._outer.advance(0, f"{self._name}: {self._what} {self._done}/{self._total or '?'} {note}".rstrip())
