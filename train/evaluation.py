"""What an evaluation found: plain values that a file can hold and a report can draw."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What a system costs in use: time for one query at a time (milliseconds, encoding and search) and its index.

    `search_ms` is the median of the search alone, for embeddings that can be cut. None where nothing was timed, or
    nothing is kept (a reranker reads texts; its index is that of what it reorders).
    """

    device: str
    queries_timed: int
    median_ms: float | None
    p95_ms: float | None
    index_bytes: int | None
    search_ms: float | None = None


@dataclass(frozen=True, slots=True)
class System:
    """One way to rank.

    `model` is the folder or hub name ("bm25" for BM25) and `model_id` names it with its revision or a hash of its
    files. `kind` is that of a model, or "bm25". `reorders` names the system whose first chunks a reranker puts in
    order. `dimensions` is the length of the vectors of a bi-encoder.
    """

    name: str
    model: str
    model_id: str
    kind: str
    reorders: str | None
    dimensions: int | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Compared:
    """The evaluated model against another system: the mean difference over queries, positive where it is better.

    `low` and `high` are the 95 % interval, None where there are too few queries for one. `p` is the chance of a
    difference as large were there none; `corrected_p` is it after Holm's correction, None for a metric that was not
    named beforehand. `changed` of the `groups` of queries differ at all. `verdict` is "gain", "loss", or "no claim"
    with the reason in brackets.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    corrected_p: float | None
    groups: int
    changed: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its mean for each system, and how the evaluated model differs from each other system, by name.

    `highest` is what each system would reach at most, were the chunks that nobody labelled relevant.
    """

    name: str
    named_beforehand: bool
    values: Mapping[str, float | None]
    highest: Mapping[str, float | None]
    differences: Mapping[str, Compared]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The metrics of one ranking. `judged` is the share of each system's first ten chunks that has a label."""

    queries: int
    groups: int
    metrics: tuple[Metric, ...]
    judged: Mapping[str, float | None]

    def metric(self, name: str) -> Metric:
        """Return a metric by its name.

        Raises:
            KeyError: it was not measured.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the labels or queries, ranked as `Evaluation.labelled` is.

    `by` says what parts them: "chunk kind", "label source", or "query length" (or another property of queries); `name`
    is the value that these have.
    """

    by: str
    name: str
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class AtSize:
    """The evaluated model and its base with embeddings cut to their first `dimensions` values, by system.

    `search_ms` is the median time of one search with the evaluated model; encoding takes the same at any length.
    """

    dimensions: int
    index_bytes: int
    labelled: Ranking
    collection: Ranking
    search_ms: float | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The metrics of one test query and its Judged@10: by system, then by name.

    `labelled` is empty where its labels are all alike.
    """

    anchor_id: str
    query: str
    group: str
    synthetic: bool
    labelled: Mapping[str, Mapping[str, float]]
    collection: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Move:
    """Where a relevant chunk stood for its query before and after, from 1 on; None where it was not retrieved."""

    anchor_id: str
    chunk_id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class ShownMove:
    """A move with its texts."""

    query: str
    chunk: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Within:
    """How many relevant chunks stood among the first `first`, before and after, and how many came in and went out."""

    first: int
    before: int
    after: int
    came_in: int
    went_out: int


@dataclass(frozen=True, slots=True)
class RankShift:
    """Where the relevant chunks of logged queries stand in the pool: by the system `before` and by `after`.

    A median is None where half of them were not retrieved. `gains` and `losses` are the ten largest, by the factor.
    """

    before: str
    after: str
    moves: tuple[Move, ...]
    median_before: float | None
    median_after: float | None
    within: tuple[Within, ...]
    gains: tuple[ShownMove, ...]
    losses: tuple[ShownMove, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The gains of runs that differ in nothing but their seed: each, their mean, standard deviation and ends."""

    gains: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """What chance in training does: by metric of `Evaluation.labelled`, the gains over the system `against`.

    `runs` are ids of models, in the order of the gains; the evaluated model is the first.
    """

    runs: tuple[str, ...]
    against: str
    metrics: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model against other systems, on the test split of a build.

    `subject` is the system that is evaluated: the last of `systems`. It is compared with each other one.

    `labelled` is the headline: for each query, the order in which a system puts the chunks that have a label. Labels
    exist for what some earlier system retrieved, so in a ranking of everything a better model is marked down for each
    relevant chunk that nobody has seen yet; with the unlabelled ones taken out of the list, no metric rests on a guess
    (condensed lists: Sakai, SIGIR 2007). It takes queries with both a positive and a negative: without either, every
    order is as good. Where a query has ten labels or fewer, its Recall@10 is 1 whatever the model does.

    `collection` is the ranking in use: the whole pool, unlabelled chunks counting as not relevant, and so a lower
    bound; each metric has the upper one beside it. The judged share says how far it can be trusted, and whether one
    system's is much lower than the other's. It takes all queries with a positive.

    Both are about logged queries. `synthetic` is what `collection` is, for the queries that a model wrote; None where
    there are none. They were kept because retrieval finds their chunk, so they flatter it.

    `left_out` counts the test queries without a positive. `human_share` is the share of the test labels that people
    gave; the rest are a judge's or propagated. The pool is `pool` of the collection's chunks. `warnings` say in words
    what makes the numbers less than they seem. `settings` are those of the evaluation itself.
    """

    build_id: str
    policy: str
    subject: str
    systems: tuple[System, ...]
    labelled: Ranking
    collection: Ranking
    synthetic: Ranking | None
    sizes: tuple[AtSize, ...]
    slices: tuple[Slice, ...]
    per_query: tuple[QueryResult, ...]
    rank_shift: RankShift | None
    seeds: SeedSpread | None
    labels: int
    human_share: float
    left_out: int
    pool: int
    warnings: tuple[str, ...]
    settings: Mapping[str, object]

    def system(self, name: str) -> System:
        """Return a system by its name.

        Raises:
            KeyError: there is none.
        """
        for system in self.systems:
            if system.name == name:
                return system
        raise KeyError(name)
