"""Several builds in one run: which rows share batches, how often each is seen, and no test that leaks into training."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pyarrow as pa

from store.builds import Build, build_labels
from store.database import Store
from store.errors import MissingError, UsageError
from store.text import normalised
from train.alike import alike_chunks, alike_queries
from train.batches import Meets, Task
from train.recipe import Recipe
from train.rows import Rows, TrainingSplit, read_training_split, rows_for

_NOTHING = Meets(frozenset(), frozenset())


def read_training_splits(store: Store, builds: Sequence[Build]) -> list[TrainingSplit]:
    """Read the train splits of several builds, each without what another of them holds back for its test.

    What is left out is a label whose query equals or nearly repeats a test query of another build, or whose chunk does
    so with one of its test chunks (only with one that a test query is to find, where that build shares chunks).
    `provenance` counts it as left_out_for_other_tests.

    Raises:
        MissingError: nothing is left of a build.
    """
    splits = [read_training_split(store, build) for build in builds]
    if len(splits) == 1:
        return splits
    held_back = [_held_back(store, build) for build in builds]
    found = []
    for i, split in enumerate(splits):
        anchors = {key: text for j, (texts, _) in enumerate(held_back) if j != i for key, text in texts.items()}
        chunks = {key: text for j, (_, texts) in enumerate(held_back) if j != i for key, text in texts.items()}
        kept = without(split, anchors, chunks)
        left_out = split.labels.num_rows - kept.labels.num_rows
        if not kept.triplets.num_rows:
            raise MissingError(
                f"nothing is left to train on of {split.build_id}: what it has is in the tests of the other builds"
                f" ({left_out} labels)",
                hint="uncited build --policy NAME --seed 0",
            )
        told = {**split.provenance, "left_out_for_other_tests": left_out}
        found.append(dataclasses.replace(kept, provenance=told))
    return found


def without(split: TrainingSplit, anchors: Mapping[str, str], chunks: Mapping[str, str]) -> TrainingSplit:
    """Leave out of a split whatever equals or nearly repeats one of some anchors or chunks, given by id.

    A chunk that has the words of one of the anchors is left out too, and an anchor that has those of a chunk.
    """
    if not anchors and not chunks:
        return split
    own = {name: _texts(split, name) for name in ("anchor", "chunk")}
    queries, passages = alike_queries({**own["anchor"], **anchors}), alike_chunks({**own["chunk"], **chunks})
    near = {
        "anchor": {like for anchor in anchors for like in queries.of(anchor)},
        "chunk": {like for chunk in chunks for like in passages.of(chunk)},
    }
    # Where anchors and chunks are of one kind, as products and songs are, a query of a test may be a chunk here.
    said = {"anchor": {*map(normalised, chunks.values())}, "chunk": {*map(normalised, anchors.values())}}
    bad_anchors, bad_chunks = (
        [key for key, text in own[name].items() if like[key] in near[name] or normalised(text) in said[name]]
        for name, like in (("anchor", queries.representative), ("chunk", passages.representative))
    )

    def kept(table: pa.Table, columns: Sequence[str]) -> pa.Table:
        import pyarrow.compute as pc

        for name in columns:
            bad = pa.array(bad_anchors if name == "anchor_id" else bad_chunks, pa.string())
            table = table.filter(pc.invert(pc.is_in(table[name], value_set=bad)))
        return table

    return dataclasses.replace(
        split,
        triplets=kept(split.triplets, ("anchor_id", "positive_id", "negative_id")),
        labels=kept(split.labels, ("anchor_id", "chunk_id")),
    )


def rows_of_all(splits: Sequence[TrainingSplit], recipe: Recipe) -> Rows:
    """Make the rows of several splits; those of each policy are a task, and within it those of each weight.

    Raises:
        UsageError: a weight names nothing that is there, or all are zero.
        MissingError: a split has nothing for the loss.
    """
    parts = [rows_for(split, recipe) for split in splits]
    if len(parts) == 1 and not recipe.weights:
        return parts[0]
    names = [_names(split) for split in splits]
    there = {name for of_pair in names for every in of_pair.values() for name in every}
    if unknown := [name for name, _ in recipe.weights if name not in there]:
        raise UsageError(f"nothing to train on is called {unknown[0]!r}; there are {', '.join(sorted(there))}")
    weights = dict(recipe.weights)
    rows: dict[str, list[int]] = defaultdict(list)
    weight_of: dict[str, float] = {}
    start = 0
    for split, part, of_pair in zip(splits, parts, names, strict=True):
        for place, pair in enumerate(part.pairs, start):
            weighted = [name for name in weights if name in of_pair[pair] and name != _policy(split)]
            task = ", ".join([_policy(split), *weighted])
            rows[task].append(place)
            weight_of[task] = weights.get(_policy(split), 1.0)
            for name in weighted:
                weight_of[task] *= weights[name]
        start += part.count
    tasks = [Task(name, tuple(places), weight_of[name]) for name, places in rows.items() if weight_of[name]]
    if not tasks:
        raise UsageError("every weight is zero: nothing is left to train on")
    return Rows(
        {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns},
        [meets for part in parts for meets in (part.apart or [_NOTHING] * part.count)],
        [pair for part in parts for pair in part.pairs],
        tasks,
    )


def _policy(split: TrainingSplit) -> str:
    """Return the name of the policy behind a split."""
    return str(cast("Mapping[str, Any]", split.provenance)["policy"]["name"])


def _names(split: TrainingSplit) -> dict[tuple[str, str], frozenset[str]]:
    """Map each labelled pair to the names by which a weight may mean it."""
    policy = _policy(split)
    return {
        (row["anchor_id"], row["chunk_id"]): frozenset(
            {policy, row["source"], row["kind"], *(("synthetic",) if row["synthetic"] else ())}
        )
        for row in split.labels.select(["anchor_id", "chunk_id", "source", "kind", "synthetic"]).to_pylist()
    }


def _texts(split: TrainingSplit, name: str) -> dict[str, str]:
    return dict(zip(split.labels[f"{name}_id"].to_pylist(), split.labels[name].to_pylist(), strict=True))


def _held_back(store: Store, build: Build) -> tuple[dict[str, str], dict[str, str]]:
    """Return the test queries of a build, and its test chunks that may not stand in a train split; texts by id."""
    import pyarrow.compute as pc

    labels = build_labels(store, build.build_id)
    rows = labels.filter(pc.equal(labels["split"], "test")).to_pylist()
    shared = bool(build.settings.get("shared_chunks"))
    return (
        {row["anchor_id"]: row["anchor"] for row in rows},
        {row["chunk_id"]: row["chunk"] for row in rows if not shared or row["role"] == "positive"},
    )
