"""Whether a tuned model finds better what the policy calls relevant, and how sure one can be of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from store.builds import Build, build_labels, build_pool
from store.database import Store
from store.errors import MissingError, UsageError
from store.progress import Progress, silent
from store.synthetic import synthetic_purposes
from train.models import load_model, quiet
from train.statistics import Difference, paired_bootstrap

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What people say -> what ir-measures calls it.
METRICS = {
    "Accuracy@1": "Success@1",
    "Accuracy@3": "Success@3",
    "MRR@10": "RR@10",
    "nDCG@10": "nDCG@10",
    "Recall@10": "R@10",
}
DEPTH = 10
POOL_SIZE = 10_000

_TEXTS_AT_ONCE = 512
_QUERIES_AT_ONCE = 256

Run = dict[str, dict[str, float]]  # query -> chunk -> score


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its mean for each model, and how each model but the first differs from the first."""

    name: str
    values: Mapping[str, float]
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The metrics of one way to rank.

    `judged` is the share of each model's first ten that has a label; what has none counts as not relevant.
    """

    queries: int
    groups: int
    metrics: tuple[Metric, ...]
    judged: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The first model against the others, on the test split of a build.

    `labelled` is the headline: for each query, the order in which a model puts the chunks that have a label. Labels
    exist for what some earlier system retrieved, so in a ranking of everything a better model is marked down for each
    relevant chunk that nobody has seen yet; with the unlabelled ones taken out of the list, no metric rests on a guess
    (condensed lists: Sakai, SIGIR 2007). It takes queries with both a positive and a negative: without either, every
    order is as good. Where a query has ten labels or fewer, its Recall@10 is 1 whatever the model does.

    `collection` is the ranking in use: the whole pool, unlabelled chunks counting as not relevant, and so a lower
    bound. The judged share says how far it can be trusted, and whether one model's is much lower than the other's. It
    takes all queries with a positive.

    Both are about logged queries. `synthetic` is what `collection` is, for the queries that a model wrote; None where
    there are none. They were kept because retrieval finds their chunk, so they flatter it.

    `left_out` counts the test queries without a positive. `human_share` is the share of the test labels that people
    gave; the rest are a judge's or propagated. The pool is `pool` of the collection's chunks.
    """

    build_id: str
    models: Mapping[str, str]
    labelled: Ranking
    collection: Ranking
    labels: int
    human_share: float
    left_out: int
    pool: int
    synthetic: Ranking | None = None


class HeldOut(NamedTuple):
    """What is ranked for whom: texts by id, the group of each query, and `qrels`, relevance 1 or 0 by query and chunk.

    A pair that is absent from `qrels` has no label; it is never a 0. `synthetic` are the queries that a model wrote.
    """

    build_id: str
    queries: Mapping[str, str]
    groups: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    pool: Mapping[str, str]
    human_labels: int
    synthetic: frozenset[str] = frozenset()


def evaluate(
    store: Store,
    build: Build,
    models: Mapping[str, str],
    *,
    pool_size: int = POOL_SIZE,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Rank for every test query with every model, and compare each model with the first.

    Args:
        store: holds the build.
        build: its test split is used.
        models: folder or hub name by the name to print, e.g. `{"base": ..., "tuned": ...}`; the first is the baseline.
        pool_size: how many chunks to search at most, unless more have labels; the others are drawn at random, once.
        seed: of the bootstrap.
        progress: told of every batch of texts encoded.

    Raises:
        MissingError: the build has no test query with a positive, or there is no such model.
        InvalidDataError: a model cannot be read.
    """
    return compare(read_held_out(store, build, pool_size=pool_size), models, seed=seed, progress=progress)


def read_held_out(store: Store, build: Build, *, pool_size: int = POOL_SIZE) -> HeldOut:
    """Read what `compare` needs, so that the database can be closed before the long part begins.

    Raises:
        MissingError: the build has no test query with a positive.
    """
    import pyarrow.compute as pc

    labels = build_labels(store, build.build_id)
    rows = labels.filter(pc.equal(labels["split"], "test")).to_pylist()
    if not any(row["role"] == "positive" for row in rows):
        raise MissingError(
            f"{build.build_id} holds back no query with a positive for testing",
            hint="uncited build --test-share 0.3",
        )
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        qrels.setdefault(row["anchor_id"], {})[row["chunk_id"]] = int(row["role"] == "positive")
    pool = build_pool(store, build.build_id, pool_size)
    return HeldOut(
        build.build_id,
        {row["anchor_id"]: row["anchor"] for row in rows},
        {row["anchor_id"]: row["split_group"] for row in rows},
        qrels,
        dict(zip(pool["chunk_id"].to_pylist(), pool["text"].to_pylist(), strict=True)),
        sum(row["source"] == "human" for row in rows),
        frozenset(qrels.keys() & synthetic_purposes(store).keys()),
    )


def compare(test: HeldOut, models: Mapping[str, str], *, seed: int = 0, progress: Progress = silent) -> Evaluation:
    """Do what `evaluate` does, on a test set that has been read. See there."""
    if not models:
        raise UsageError("no model to evaluate")
    wanted = [query for query, labels in test.qrels.items() if any(labels.values())]
    logged = [query for query in wanted if query not in test.synthetic]
    written = [query for query in wanted if query in test.synthetic]
    contested = [query for query in logged if not all(test.qrels[query].values())]
    runs = {path: _rank(test, wanted, path, progress) for path in dict.fromkeys(models.values())}
    labels = sum(len(labels) for labels in test.qrels.values())
    collection = {name: runs[path].collection for name, path in models.items()}
    return Evaluation(
        test.build_id,
        dict(models),
        _ranking(test, contested, {name: runs[path].labelled for name, path in models.items()}, seed),
        _ranking(test, logged, collection, seed),
        labels,
        test.human_labels / labels,
        len(test.queries) - len(wanted),
        len(test.pool),
        _ranking(test, written, collection, seed) if written else None,
    )


class _Ranked(NamedTuple):
    labelled: Run  # all chunks that have a label for the query
    collection: Run  # the first ten of the pool


def _rank(test: HeldOut, wanted: Sequence[str], path: str, progress: Progress) -> _Ranked:
    """Score the pool for each query by cosine similarity."""
    import numpy as np

    chunk_ids = list(test.pool)
    place = {chunk_id: i for i, chunk_id in enumerate(chunk_ids)}
    queries, chunks = _encode(path, [test.queries[query] for query in wanted], list(test.pool.values()), progress)
    depth = min(DEPTH, len(chunk_ids))
    ranked = _Ranked({}, {})
    for start in range(0, len(wanted), _QUERIES_AT_ONCE):
        scores = queries[start : start + _QUERIES_AT_ONCE] @ chunks.T
        first = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        for query, row, best in zip(wanted[start:], scores, first, strict=False):
            ranked.collection[query] = {chunk_ids[i]: float(row[i]) for i in best}
            ranked.labelled[query] = {chunk_id: float(row[place[chunk_id]]) for chunk_id in test.qrels[query]}
    return ranked


def _encode(
    path: str, queries: Sequence[str], chunks: Sequence[str], progress: Progress
) -> tuple["npt.NDArray[np.float32]", "npt.NDArray[np.float32]"]:
    """Return unit vectors, one row a text, with the model's own prompts for queries and documents."""
    import numpy as np

    model = load_model(path)
    progress.start(f"Encoding with {path}", len(queries) + len(chunks))
    with quiet():
        encoded = []
        for texts, encode in ((queries, model.encode_query), (chunks, model.encode_document)):
            parts = []
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                some = list(texts[start : start + _TEXTS_AT_ONCE])
                parts.append(encode(some, normalize_embeddings=True, show_progress_bar=False))
                progress.advance(len(some))
            encoded.append(np.concatenate(parts))
    return encoded[0], encoded[1]


def _ranking(test: HeldOut, queries: Sequence[str], runs: Mapping[str, Run], seed: int) -> Ranking:
    """Measure the runs on `queries` and compare each with the first."""
    import numpy as np

    qrels = {query: test.qrels[query] for query in queries}
    groups = [test.groups[query] for query in queries]
    measured = {name: _per_query(qrels, run, queries) for name, run in runs.items()}
    baseline, *others = runs
    compared = {
        name: paired_bootstrap(
            measured[name][:, :-1] - measured[baseline][:, :-1], groups, rng=np.random.default_rng(seed)
        )
        for name in others
    }
    nothing = np.full(len(METRICS) + 1, math.nan)
    means = {name: values.mean(axis=0) if queries else nothing for name, values in measured.items()}
    metrics = tuple(
        Metric(
            metric,
            {name: float(means[name][i]) for name in runs},
            {name: compared[name][i] for name in others},
        )
        for i, metric in enumerate(METRICS)
    )
    return Ranking(len(queries), len(set(groups)), metrics, {name: float(means[name][-1]) for name in runs})


def _per_query(qrels: Mapping[str, Mapping[str, int]], run: Run, queries: Sequence[str]) -> "npt.NDArray[np.float64]":
    """Return one row a query: the metrics in their order, then Judged@10."""
    import ir_measures
    import numpy as np

    measures = [ir_measures.parse_measure(name) for name in (*METRICS.values(), f"Judged@{DEPTH}")]
    values = np.zeros((len(queries), len(measures)))
    if not queries:
        return values
    row = {query: i for i, query in enumerate(queries)}
    column = {measure: i for i, measure in enumerate(measures)}
    for found in ir_measures.iter_calc(measures, qrels, {query: run[query] for query in queries}):
        values[row[found.query_id], column[found.measure]] = found.value
    return values
