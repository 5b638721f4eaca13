"""The agenda of a review of retrieval: queries that found little, and documents that are found in vain."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, quantiles
from typing import NamedTuple

from store.monitor import Monitored, Shown
from store.policies import Role

_POOR = 0.5  # of the average: a precision below that is poor
_LOWEST = 10  # per cent of the best scores: those are low
_ENOUGH_SCORES = 20  # interactions (or documents), before it can be said what is low
_ENOUGH_QUERIES = 3  # that a document was retrieved for, before anything is said of it


class PoorQuery(NamedTuple):
    """A query that found little. `precision` is the mean of its drawn interactions, `score` the best of the newest."""

    query: str
    why: str
    asked: int  # drawn interactions
    precision: float | None
    relevant: int  # in the newest list
    score: float | None
    interaction_id: str  # the newest


class PoorDocument(NamedTuple):
    """A document (or, where the log names none, a chunk) that is retrieved and seldom relevant, or with low scores.

    `score` is the mean over queries of its best score, in the source where that is low, else where it was retrieved
    most.
    """

    document: str
    why: str
    queries: int  # for which it was retrieved, and judged
    relevant: int  # of those
    score: float | None
    example: str  # a query for which it was not relevant, else the one with its lowest score


class Agenda(NamedTuple):
    """What is worth a look, the worst first."""

    queries: tuple[PoorQuery, ...]
    documents: tuple[PoorDocument, ...]


class Looked(NamedTuple):
    """A drawn interaction and the roles of the labels that its chunks got.

    `precision` is the share of relevant ones among its chunks with a positive or negative label; None where a chunk
    still waits for its label, or none has such a label.
    """

    drawn: Monitored
    roles: tuple[Role | None, ...]  # None: no label, and none to come
    waiting: bool
    precision: float | None

    @property
    def relevant(self) -> int:
        """How many of the chunks are relevant."""
        return self.roles.count("positive")

    @property
    def score(self) -> float | None:
        """The retriever's best score; None where the log has none."""
        return max((shown.score for shown in self.drawn.shown if shown.score is not None), default=None)


def agenda_of(looked: Sequence[Looked], *, limit: int) -> Agenda:
    """Choose what to look at among the interactions whose chunks are all judged, oldest first; at most `limit` each."""
    settled = [one for one in looked if not one.waiting]
    return Agenda(tuple(_queries(settled)[:limit]), tuple(_documents(settled)[:limit]))


def _queries(settled: Sequence[Looked]) -> list[PoorQuery]:
    measured = [one.precision for one in settled if one.precision is not None]
    poor = _POOR * sum(measured) / len(measured) if measured else 0.0
    low = _low_scores((one.drawn.source, one.score) for one in settled if one.score is not None)
    by_anchor: dict[str, list[Looked]] = {}
    for one in settled:
        by_anchor.setdefault(one.drawn.anchor_id, []).append(one)
    found = []
    for asked in by_anchor.values():
        newest = asked[-1]
        known = [one.precision for one in asked if one.precision is not None]
        precision = sum(known) / len(known) if known else None
        why = []
        if not newest.drawn.shown:
            why.append("nothing retrieved")
        elif not newest.relevant:
            why.append("no relevant chunk")
        elif precision is not None and precision < poor:
            why.append("poor precision")
        if newest.score is not None and newest.score < low.get(newest.drawn.source, newest.score):
            why.append("low scores")
        if why:
            found.append(
                PoorQuery(
                    newest.drawn.query,
                    ", ".join(why),
                    len(asked),
                    precision,
                    newest.relevant,
                    newest.score,
                    newest.drawn.interaction_id,
                )
            )
    return sorted(found, key=lambda one: (one.relevant > 0, one.precision or 0.0, -one.asked, one.query))


def _low_scores(scored: Iterable[tuple[str | None, float]]) -> dict[str | None, float]:
    """Map each source that has enough scores to the one below which they are low; each may have its own scale."""
    scores: dict[str | None, list[float]] = {}
    for source, score in scored:
        scores.setdefault(source, []).append(score)
    return {
        source: quantiles(found, n=100 // _LOWEST)[0]
        for source, found in scores.items()
        if len(found) >= _ENOUGH_SCORES
    }


def _documents(settled: Sequence[Looked]) -> list[PoorDocument]:
    relevant: dict[str, dict[str, bool]] = {}  # by document and query
    for one, shown, role in _answered(settled):
        of_query = relevant.setdefault(_name(shown), {})
        of_query[one.drawn.query] = of_query.get(one.drawn.query, False) or role == "positive"
    answers = [answer for of_query in relevant.values() for answer in of_query.values()]
    poor = _POOR * sum(answers) / len(answers) if answers else 0.0
    scores = _scores_of_documents(settled)
    low = _low_scores((scored.source, scored.mean) for of in scores.values() for scored in of)
    found = []
    for document, of_query in relevant.items():
        if len(of_query) < _ENOUGH_QUERIES:
            continue
        hits = sum(of_query.values())
        why = []
        if not hits or hits / len(of_query) < poor:
            why.append("seldom relevant" if hits else "never relevant")
        by_source = scores.get(document, [])
        lows = [scored for scored in by_source if scored.mean < low.get(scored.source, scored.mean)]
        if lows:
            why.append("low scores")
        if why:
            score = next((scored.mean for scored in lows or by_source), None)
            vain = [query for query, answer in of_query.items() if not answer]
            example = vain[0] if vain else lows[0].lowest
            found.append(PoorDocument(document, ", ".join(why), len(of_query), hits, score, example))
    return sorted(found, key=lambda one: (one.relevant - one.queries, one.document))


class _Scored(NamedTuple):
    """How a document scored in one source: the mean over queries of its best score, and the query of the lowest."""

    source: str | None
    mean: float
    lowest: str
    queries: int


def _scores_of_documents(settled: Sequence[Looked]) -> dict[str, list[_Scored]]:
    """Map documents to their scores in each source that retrieved them for enough queries, the most queries first."""
    best: dict[str, dict[str | None, dict[str, float]]] = {}  # by document, source and query
    for one, shown, _ in _answered(settled):
        if shown.score is not None:
            of_query = best.setdefault(_name(shown), {}).setdefault(one.drawn.source, {})
            of_query[one.drawn.query] = max(shown.score, of_query.get(one.drawn.query, shown.score))
    found = {
        document: [
            _Scored(source, fmean(of_query.values()), min(of_query, key=of_query.__getitem__), len(of_query))
            for source, of_query in by_source.items()
            if len(of_query) >= _ENOUGH_QUERIES
        ]
        for document, by_source in best.items()
    }
    return {document: sorted(scored, key=lambda one: -one.queries) for document, scored in found.items()}


def _answered(settled: Sequence[Looked]) -> Iterator[tuple[Looked, Shown, Role]]:
    """Yield the chunks that are labelled positive or negative."""
    for one in settled:
        for shown, role in zip(one.drawn.shown, one.roles, strict=True):
            if role in ("positive", "negative"):
                yield one, shown, role


def _name(shown: Shown) -> str:
    return shown.document or shown.chunk_id
