"""Parts of the test labels and queries, each measured apart: what helps on average may hurt some."""

from collections.abc import Iterator, Mapping, Sequence

from store.segments import in_order, largest
from train.compare import compared
from train.evaluation import Slice
from train.held_out import HeldOut
from train.metrics import Run

Kept = Mapping[str, Sequence[str]]  # query -> chunks whose labels count


def slices(
    test: HeldOut, queries: Sequence[str], runs: Mapping[str, Run], *, named: Sequence[str], seed: int
) -> tuple[Slice, ...]:
    """Compare the last of the runs with the others in each part that is not the whole.

    A query counts in a part where it has a positive and a negative among the labels of that part.

    Args:
        test: the labels, and what parts them.
        queries: those that count.
        runs: the labelled chunks in the order of each system.
        named: metrics of which a difference may be claimed.
        seed: of the resampling.
    """
    found = []
    for by, name, kept in _parts(test, queries):
        qrels = {query: {chunk: test.qrels[query][chunk] for chunk in chunks} for query, chunks in kept.items()}
        graded = qrels if test.grades else ()
        grades = {query: {chunk: test.grades[query][chunk] for chunk in qrels[query]} for query in graded}
        wanted = [query for query, labels in qrels.items() if any(labels.values()) and not all(labels.values())]
        if not wanted:
            continue
        part = test._replace(qrels=qrels, grades=grades)
        within = {
            system: {query: {chunk: run[query][chunk] for chunk in qrels[query]} for query in wanted}
            for system, run in runs.items()
        }
        found.append(Slice(by, name, compared(part, wanted, within, named=named, seed=seed)))
    return tuple(found)


def _parts(test: HeldOut, queries: Sequence[str]) -> Iterator[tuple[str, str, Kept]]:
    """Yield what parts them, the name of the part, and the labels in it; a part that is the whole is left out."""
    pairs = [(query, chunk) for query in queries for chunk in test.qrels[query]]
    parted: dict[str, Mapping[tuple[str, str], str]] = {}
    if test.kinds:
        parted["chunk kind"] = {(query, chunk): test.kinds[chunk] for query, chunk in pairs}
    if test.sources:
        parted["label source"] = {(query, chunk): test.sources[query][chunk] for query, chunk in pairs}
    for by, segments in test.segments.items():
        of_query = largest({query: segments[query] for query in queries})
        parted[by] = {(query, chunk): of_query[query] for query, chunk in pairs}
    for by, part_of in parted.items():
        names = in_order(part_of.values())
        if len(names) < 2:
            continue
        for name in names:
            kept: dict[str, list[str]] = {}
            for query, chunk in pairs:
                if part_of[query, chunk] == name:
                    kept.setdefault(query, []).append(chunk)
            yield by, name, kept
