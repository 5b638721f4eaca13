"""Whether a tuned model finds better what the policy calls relevant, and how sure one can be of that."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

from store.builds import Build
from store.database import Store
from store.encoders import model_name
from store.errors import UsageError
from store.progress import Progress, silent
from train.compare import compared
from train.evaluation import AtSize, Evaluation, QueryResult, System
from train.held_out import POOL_SIZE, HeldOut, labels_id, read_held_out
from train.metrics import JUDGED, METRICS, NAMED_BEFOREHAND, checked_metrics, per_query
from train.rank_shift import rank_shift
from train.ranking import BM25, Ranked, rank_with_all
from train.seeds import seed_spread
from train.slices import slices
from train.warnings import warnings


def identified(model: str) -> str:
    """Name a model (folder, hub name or `BM25`) by what it is; see `store.encoders.model_name`."""
    return model if model == BM25 else model_name(model)


def versions() -> dict[str, str]:
    """Return the versions of what computes an evaluation."""
    return {name: version(name) for name in ("uncited", "sentence-transformers", "transformers", "torch")}


def evaluate(
    store: Store,
    build: Build,
    models: Mapping[str, str],
    *,
    pool_size: int = POOL_SIZE,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Rank for every test query with every model, and compare the last model with each other one.

    Args:
        store: holds the build.
        build: its test split is used.
        models: folder or hub name (or `BM25`) by the name to print, e.g. `{"base": ..., "tuned": ...}`; the first is
            the baseline of slices and rank shift, the last the one that is evaluated.
        pool_size: how many chunks to search at most, unless more have labels; the others are drawn at random, once.
        seed: of the bootstrap.
        progress: told of every batch of texts encoded.

    Raises:
        MissingError: the build has no test query with a positive, or there is no such model.
        InvalidDataError: a model cannot be read.
    """
    return compare(read_held_out(store, build, pool_size=pool_size), models, seed=seed, progress=progress)


def compare(
    test: HeldOut,
    models: Mapping[str, str],
    *,
    named_beforehand: Sequence[str] = NAMED_BEFOREHAND,
    sizes: Sequence[int] = (),
    runs: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Do what `evaluate` does, on a test set that has been read. See there.

    Args:
        test: the test set.
        models: as for `evaluate`.
        named_beforehand: the metrics of which a gain or a loss may be claimed.
        sizes: lengths to which the embeddings of the first and the last model are cut besides.
        runs: folders of models that differ from the last one in their seed only.
        seed: of the bootstrap.
        progress: told of every batch of texts encoded.

    Raises:
        UsageError: there is no model, or no such metric.
        MissingError: there is no such model.
        InvalidDataError: a model cannot be read.
    """
    if not models:
        raise UsageError("no model to evaluate")
    named = checked_metrics(named_beforehand)
    wanted, logged, written, contested = _queries(test)
    first, subject = next(iter(models)), list(models)[-1]
    cut = {models[name]: sizes for name in (first, subject)}
    ranked = rank_with_all(test, wanted, list(dict.fromkeys([*models.values(), *runs])), progress, sizes=cut)
    systems = {name: ranked[model] for name, model in models.items()}
    labelled = {name: found.labelled for name, found in systems.items()}
    collection = {name: found.collection for name, found in systems.items()}
    ranking = compared(test, contested, labelled, named=named, seed=seed)
    of_runs = {model_name(model): ranked[model].labelled for model in (models[subject], *runs)} if runs else {}
    labels = sum(len(labels) for labels in test.qrels.values())
    return Evaluation(
        build_id=test.build_id,
        policy=test.policy,
        subject=subject,
        systems=tuple(_system(name, model, ranked[model], models) for name, model in models.items()),
        labelled=ranking,
        collection=compared(test, logged, collection, named=named, seed=seed, bounds=True),
        synthetic=compared(test, written, collection, named=named, seed=seed, bounds=True) if written else None,
        sizes=_at_sizes(test, contested, logged, {name: systems[name] for name in (first, subject)}, named, seed),
        slices=slices(test, contested, labelled, named=named, seed=seed),
        per_query=_query_results(test, wanted, set(contested), systems),
        rank_shift=rank_shift(test, logged, first, subject, systems) if first != subject else None,
        seeds=seed_spread(test, contested, first, labelled, of_runs) if of_runs else None,
        labels=labels,
        human_share=test.human_labels / labels,
        left_out=len(test.queries) - len(wanted),
        pool=len(test.pool),
        warnings=warnings(test, ranking, models),
        settings={
            "seed": seed,
            "named_beforehand": list(named),
            "sizes": list(sizes),
            "runs": list(runs),
            "labels_id": labels_id(test),
            "versions": versions(),
        },
    )


class _Queries(NamedTuple):
    wanted: list[str]  # with a positive
    logged: list[str]  # of those, not written by a model
    written: list[str]  # the others
    contested: list[str]  # of the logged ones, with a negative too


def _queries(test: HeldOut) -> _Queries:
    wanted = [query for query, labels in test.qrels.items() if any(labels.values())]
    logged = [query for query in wanted if query not in test.synthetic]
    written = [query for query in wanted if query in test.synthetic]
    return _Queries(wanted, logged, written, [query for query in logged if not all(test.qrels[query].values())])


def _system(name: str, model: str, found: Ranked, models: Mapping[str, str]) -> System:
    reorders = next((other for other, source in models.items() if source == found.reorders), found.reorders)
    return System(name, model, identified(model), found.kind, reorders, found.dimensions, found.cost)


def _at_sizes(
    test: HeldOut,
    contested: Sequence[str],
    logged: Sequence[str],
    systems: Mapping[str, Ranked],
    named: Sequence[str],
    seed: int,
) -> tuple[AtSize, ...]:
    """Compare the evaluated model with its base at each length that both can be cut to, longest first."""
    shorter = {name: found.shorter or {} for name, found in systems.items()}
    both = set.intersection(*(set(found) for found in shorter.values()))
    found = []
    for size in sorted(both, reverse=True):
        at_size = {name: ranked[size] for name, ranked in shorter.items()}
        cost = list(at_size.values())[-1].cost  # of the evaluated model; the base has vectors of the same length
        found.append(
            AtSize(
                size,
                cost.index_bytes or 0,
                compared(test, contested, {n: r.labelled for n, r in at_size.items()}, named=named, seed=seed),
                compared(test, logged, {n: r.collection for n, r in at_size.items()}, named=named, seed=seed),
                cost.search_ms,
            )
        )
    return tuple(found)


def _query_results(
    test: HeldOut, wanted: Sequence[str], contested: set[str], systems: Mapping[str, Ranked]
) -> tuple[QueryResult, ...]:
    """Return the metrics of each query by each system."""
    grades = test.grades or None
    columns = (*METRICS, JUDGED)
    of_labelled = {
        name: per_query(test.qrels, found.labelled, wanted, grades).tolist() for name, found in systems.items()
    }
    of_all = {name: per_query(test.qrels, found.collection, wanted, grades).tolist() for name, found in systems.items()}
    return tuple(
        QueryResult(
            query,
            test.queries[query],
            test.groups[query],
            query in test.synthetic,
            {name: dict(zip(columns, rows[i], strict=True)) for name, rows in of_labelled.items()}
            if query in contested
            else {},
            {name: dict(zip(columns, rows[i], strict=True)) for name, rows in of_all.items()},
        )
        for i, query in enumerate(wanted)
    )
