"""What a loss reads, from the labels and triplets of a build."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Literal

import pyarrow as pa

from store.builds import Build, build_triplets
from store.database import Store
from store.errors import MissingError
from store.policies import Policy, get_policy_by_id
from store.training_rows import training_labels
from train.alike import alike_chunks, alike_queries
from train.batches import Meets, Task
from train.exports.grades import grades, label_scores
from train.provenance import provenance
from train.recipe import Recipe

ANCHOR, POSITIVE, NEGATIVE = "anchor", "positive", "negative"


@dataclass(frozen=True, slots=True)
class TrainingSplit:
    """The train split of a build, in memory, so that the database can be closed before the long part begins.

    `triplets` has the columns anchor_id, positive_id, negative_id, anchor, positive, negative; `labels` those of
    `store.training_rows.training_labels` but the last, and where labels stand on a scale grade (0 for the worst) and
    share (the grade as a share of the best one). `provenance` says where it all comes from, as `run.json` keeps it.
    `scores` are those of a teacher by anchor and chunk id, as logits (see `train.teacher`); empty without one.
    """

    build_id: str
    triplets: pa.Table
    labels: pa.Table
    provenance: Mapping[str, object] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def worth(self, of: Literal["grade", "share"]) -> list[float]:
        """Return what each label is worth; without a scale a positive is worth 1 and a negative 0."""
        return self.labels[of if of in self.labels.column_names else "relevance"].to_pylist()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns in the order that the loss expects, and what each row must not meet (empty where nothing meets).

    `pairs` names each row by the ids of its anchor and its (first) positive, of its pair, or of its anchor and the best
    chunk of its list. `tasks` part the rows where there are several (see `train.tasks`).
    """

    columns: Mapping[str, Sequence[object]]
    apart: Sequence[Meets] = ()
    pairs: Sequence[tuple[str, str]] = ()
    tasks: Sequence[Task] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(next(iter(self.columns.values())))

    @property
    def seen(self) -> float:
        """How many rows an epoch shows."""
        return sum(task.weight * len(task.rows) for task in self.tasks) if self.tasks else self.count

    def fingerprint(self) -> str:
        """Hash all that the loss gets to see."""
        digest = hashlib.sha256(json.dumps(list(self.columns)).encode())
        for row in zip(*self.columns.values(), strict=True):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


def read_training_split(store: Store, build: Build) -> TrainingSplit:
    """Read what `train` needs of a build."""
    return TrainingSplit(
        build.build_id,
        build_triplets(store, build.build_id, split="train"),
        _graded(training_labels(store, build), get_policy_by_id(store, build.policy_id)),
        provenance(store, build),
    )


def _graded(labels: pa.Table, policy: Policy) -> pa.Table:
    """Put what each label is worth in the place of its name; nothing where relevance says it all."""
    names = labels["label"].to_pylist()
    labels = labels.drop_columns(["label"])
    if policy.scale == "ordered":
        for column, worth in (("grade", grades(policy)), ("share", label_scores(policy))):
            labels = labels.append_column(column, pa.array([worth[name] for name in names], pa.float64()))
    return labels


def rows_for(split: TrainingSplit, recipe: Recipe) -> Rows:
    """Make the rows that a recipe's loss reads.

    Raises:
        MissingError: there is none.
    """
    made = {"tuples": _tuples, "pairs": _pairs, "lists": _lists}[recipe.reads.shape](split, recipe)
    if not made.count:
        raise MissingError(
            f"the train split of {split.build_id} has nothing for the loss {recipe.loss!r}",
            hint="uncited build --policy NAME --test-share 0.1",
        )
    return made


def _tuples(split: TrainingSplit, recipe: Recipe) -> Rows:
    """One row for every `negatives` negatives of an anchor and positive; the last one is filled up from its first.

    A negative that stands twice in a row counts double there; leaving it out would need rows of different lengths,
    which the losses cannot read.
    """
    negatives: dict[tuple[str, str], list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for row in split.triplets.select(
        ["anchor_id", "positive_id", "negative_id", "anchor", "positive", "negative"]
    ).to_pylist():
        negatives[row["anchor_id"], row["positive_id"]].append(row["negative_id"])
        texts |= {row[f"{name}_id"]: row[name] for name in (ANCHOR, POSITIVE, NEGATIVE)}
    size = recipe.negatives
    names = [NEGATIVE] if size == 1 else [f"{NEGATIVE}_{n}" for n in range(1, size + 1)]
    columns: dict[str, list[object]] = {name: [] for name in (ANCHOR, POSITIVE, *names)}
    ids: list[tuple[str, tuple[str, ...]]] = []
    for (anchor, positive), known in negatives.items():
        for start in range(0, len(known), size):
            row = tuple(islice(cycle(known[start : start + size] + known[:start]), size))
            ids.append((anchor, (positive, *row)))
            for name, text in zip(columns, (anchor, positive, *row), strict=True):
                columns[name].append(texts[text])
    if recipe.reads.distills:
        columns["label"] = [_taught(split, recipe, anchor, chunks) for anchor, chunks in ids]
    pairs = [(anchor, chunks[0]) for anchor, chunks in ids]
    return Rows(columns, _apart(split, ids) if recipe.reads.in_batch else (), pairs)


def _taught(split: TrainingSplit, recipe: Recipe, anchor: str, chunks: Sequence[str]) -> list[float]:
    """Return the teacher's scores of a row on the scale of the model that learns from them.

    Margins of cosines are at most 2, those of logits are not: for a bi-encoder they are those of probabilities.
    """
    logits = [split.scores[anchor, chunk] for chunk in chunks]
    of_cosines = recipe.kind == "bi-encoder" and recipe.loss == "margin-mse"
    return [probability(logit) for logit in logits] if of_cosines else logits


def probability(logit: float) -> float:
    """Return the logistic function of a logit."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _apart(split: TrainingSplit, ids: Sequence[tuple[str, tuple[str, ...]]]) -> list[Meets]:
    """Say for each row (anchor, chunks) what it brings and what it must not meet; every label of the build counts."""
    anchors, chunks, positives = {}, {}, defaultdict(set)
    for row in split.labels.to_pylist():
        anchors[row["anchor_id"]], chunks[row["chunk_id"]] = row["anchor"], row["chunk"]
        if row["relevance"] > 0:
            positives[row["anchor_id"]].add(row["chunk_id"])
    for row in split.triplets.to_pylist():
        anchors[row["anchor_id"]] = row["anchor"]
        chunks |= {row["positive_id"]: row["positive"], row["negative_id"]: row["negative"]}
        positives[row["anchor_id"]].add(row["positive_id"])
    queries, texts = alike_queries(anchors), alike_chunks(chunks)
    like: dict[str, set[str]] = defaultdict(set)  # representative of an anchor -> all that is like a positive of it
    for anchor, known in positives.items():
        for representative in queries.of(anchor):
            like[representative] |= {other for chunk in known for other in texts.of(chunk)}
    met = {anchor: frozenset(like[queries.representative[anchor]]) for anchor in anchors}
    return [Meets(frozenset(texts.representative[chunk] for chunk in held), met[anchor]) for anchor, held in ids]


def _pairs(split: TrainingSplit, recipe: Recipe) -> Rows:
    labels = split.labels
    pairs = list(zip(labels["anchor_id"].to_pylist(), labels["chunk_id"].to_pylist(), strict=True))
    worth = split.worth("share")
    if recipe.teacher:
        worth = [probability(split.scores[pair]) for pair in pairs]
    return Rows(
        {ANCHOR: labels["anchor"].to_pylist(), "chunk": labels["chunk"].to_pylist(), "label": worth}, pairs=pairs
    )


def _lists(split: TrainingSplit, recipe: Recipe) -> Rows:
    """One row an anchor that has labels to tell apart."""
    by_anchor: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, grade in zip(split.labels.to_pylist(), split.worth("grade"), strict=True):
        by_anchor[row["anchor_id"]].append({**row, "grade": grade})
    told = [known for known in by_anchor.values() if len({row["grade"] for row in known}) > 1]
    best = [max(known, key=lambda row: float(row["grade"])) for known in told]
    return Rows(
        {
            ANCHOR: [row["anchor"] for row in best],
            "chunks": [[row["chunk"] for row in known] for known in told],
            "labels": [[row["grade"] for row in known] for known in told],
        },
        pairs=[(row["anchor_id"], row["chunk_id"]) for row in best],
    )
