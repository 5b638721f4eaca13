"""Whether a tuned model finds better what the policy calls relevant, and how sure one can be of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.builds import Build
from store.database import Store
from store.errors import UsageError
from store.progress import Progress, silent
from train.held_out import POOL_SIZE, HeldOut, read_held_out
from train.ranking import DEPTH, Run, rank_with_all
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
    takes all queries with a positive. A reranker orders what the first model retrieves.

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


def compare(test: HeldOut, models: Mapping[str, str], *, seed: int = 0, progress: Progress = silent) -> Evaluation:
    """Do what `evaluate` does, on a test set that has been read. See there."""
    if not models:
        raise UsageError("no model to evaluate")
    wanted = [query for query, labels in test.qrels.items() if any(labels.values())]
    logged = [query for query in wanted if query not in test.synthetic]
    written = [query for query in wanted if query in test.synthetic]
    contested = [query for query in logged if not all(test.qrels[query].values())]
    runs = rank_with_all(test, wanted, list(dict.fromkeys(models.values())), progress)
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
