"""The metrics of a ranking, computed by ir-measures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from store.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEPTH = 10
JUDGED = f"Judged@{DEPTH}"  # the share of the first ten that has a label: no metric, but what to read one by

# What people say -> what ir-measures calls it.
METRICS = {
    "Accuracy@1": "Success@1",
    "Accuracy@3": "Success@3",
    "Precision@5": "P@5",
    "Precision@10": "P@10",
    "Recall@5": "R@5",
    "Recall@10": "R@10",
    "MRR@10": "RR@10",
    "nDCG@10": "nDCG@10",
}

# Named before anybody has seen a result: only of these is a gain or a loss claimed, unless others are named.
NAMED_BEFOREHAND = ("nDCG@10", "MRR@10", "Accuracy@1")

Run = Mapping[str, Mapping[str, float]]  # query -> chunk -> score
Qrels = Mapping[str, Mapping[str, int]]  # query -> chunk -> relevance

_GRADED = "nDCG@10"


def checked_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics named, each once.

    Raises:
        UsageError: one of them does not exist.
    """
    for name in names:
        if name not in METRICS:
            raise UsageError(f"no metric is called {name!r}; there are {', '.join(METRICS)}")
    return tuple(dict.fromkeys(names))


def per_query(qrels: Qrels, run: Run, queries: Sequence[str], grades: Qrels | None = None) -> "npt.NDArray[np.float64]":
    """Return one row a query: the metrics in the order of `METRICS`, then `JUDGED`.

    Where nothing was retrieved, the metrics are 0, and Judged@10 is 1: nothing in the list lacks a label.

    Args:
        qrels: relevance, 1 or 0; a chunk that is not there has no label and is not relevant.
        run: what was retrieved, or put in order.
        queries: those wanted.
        grades: what each label is worth to nDCG (linear gain); without them, its relevance.
    """
    import ir_measures
    import numpy as np

    values = np.zeros((len(queries), len(METRICS) + 1))
    row = {query: i for i, query in enumerate(queries) if run[query]}
    values[[i for i, query in enumerate(queries) if not run[query]], -1] = 1
    if not row:
        return values
    measures = [ir_measures.parse_measure(name) for name in (*METRICS.values(), JUDGED)]
    graded = measures[list(METRICS).index(_GRADED)]
    column = {measure: i for i, measure in enumerate(measures)}
    found = {query: dict(run[query]) for query in row}
    asked = [(measures, qrels)] if grades is None else [(measures, qrels), ([graded], grades)]
    for some, relevance in asked:
        told = {query: dict(relevance[query]) for query in row}
        for one in ir_measures.iter_calc(some, told, found):
            values[row[one.query_id], column[one.measure]] = one.value
    return values


def highest(qrels: Qrels, run: Run, queries: Sequence[str], grades: Qrels | None = None) -> "npt.NDArray[np.float64]":
    """Return what each metric would be at most, whichever of the retrieved chunks that nobody labelled are relevant.

    All of them among the first ten count as relevant, with the best grade there is. Two metrics fall where more is
    relevant than they look at, so that they need care: recall takes only those among its own first chunks, and for nDCG
    the ideal stays that of the known labels, with the quotient cut at 1.

    Returns:
        One row a query, one column a metric.
    """
    import numpy as np

    values = np.zeros((len(queries), len(METRICS)))
    depths = [int(name.partition("@")[2]) if name.startswith("Recall") else DEPTH for name in METRICS]
    for depth in set(depths):
        of_depth = [column for column, own in enumerate(depths) if own == depth]
        values[:, of_depth] = _filled(qrels, run, queries, grades or qrels, depth)[:, of_depth]
    return values


def _filled(qrels: Qrels, run: Run, queries: Sequence[str], worth: Qrels, depth: int) -> "npt.NDArray[np.float64]":
    """Return the metrics with what has no label among the first `depth` as relevant, and nDCG by the known ideal."""
    import numpy as np

    best = max((grade for labels in worth.values() for grade in labels.values()), default=1)
    relevance: dict[str, dict[str, int]] = {}
    grades: dict[str, dict[str, int]] = {}
    longer = np.ones(len(queries))  # the ideal with them, as a multiple of the known one
    for i, query in enumerate(queries):
        first = sorted(run[query], key=lambda chunk: (run[query][chunk], chunk), reverse=True)[:depth]  # as trec_eval
        unlabelled = [chunk for chunk in first if chunk not in qrels[query]]
        relevance[query] = {**qrels[query], **dict.fromkeys(unlabelled, 1)}
        grades[query] = {**worth[query], **dict.fromkeys(unlabelled, best)}
        known = _ideal(worth[query].values())
        longer[i] = _ideal(grades[query].values()) / known if known else 1.0
    values = per_query(relevance, run, queries, grades)
    column = list(METRICS).index(_GRADED)
    values[:, column] = np.minimum(1.0, values[:, column] * longer)
    return values


def _ideal(grades: Iterable[int]) -> float:
    """Return the discounted gain of the best order there is."""
    import numpy as np

    first = np.array(sorted(grades, reverse=True)[:DEPTH], np.float64)
    return float((first / np.log2(np.arange(2, len(first) + 2))).sum())
