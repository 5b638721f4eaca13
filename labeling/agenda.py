"""The agenda of a review of retrieval: queries that found little, and documents that are found in vain."""

from collections.abc import Sequence
from statistics import quantiles
from typing import NamedTuple

from store.monitor import Monitored
from store.policies import Role

_POOR = 0.5  # of the average: a precision below that is poor
_LOWEST = 10  # per cent of the best scores: those are low
_ENOUGH_SCORES = 20  # interactions, before it can be said what is low
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
    """A document (or, where the log names none, a chunk) that is retrieved and seldom relevant."""

    document: str
    why: str
    queries: int  # for which it was retrieved, and judged
    relevant: int  # of those
    example: str  # a query for which it was not


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
    low = _low_scores(settled)
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


def _low_scores(settled: Sequence[Looked]) -> dict[str | None, float]:
    """Map each source that has enough scores to the one below which they are low; each may have its own scale."""
    scores: dict[str | None, list[float]] = {}
    for one in settled:
        if one.score is not None:
            scores.setdefault(one.drawn.source, []).append(one.score)
    return {
        source: quantiles(found, n=100 // _LOWEST)[0]
        for source, found in scores.items()
        if len(found) >= _ENOUGH_SCORES
    }


def _documents(settled: Sequence[Looked]) -> list[PoorDocument]:
    relevant: dict[str, dict[str, bool]] = {}  # by document and query
    for one in settled:
        for shown, role in zip(one.drawn.shown, one.roles, strict=True):
            if role in ("positive", "negative"):
                of_query = relevant.setdefault(shown.document or shown.chunk_id, {})
                of_query[one.drawn.query] = of_query.get(one.drawn.query, False) or role == "positive"
    answers = [answer for of_query in relevant.values() for answer in of_query.values()]
    poor = _POOR * sum(answers) / len(answers) if answers else 0.0
    found = []
    for document, of_query in relevant.items():
        hits = sum(of_query.values())
        if len(of_query) >= _ENOUGH_QUERIES and (not hits or hits / len(of_query) < poor):
            example = next(query for query, answer in of_query.items() if not answer)
            why = "seldom relevant" if hits else "never relevant"
            found.append(PoorDocument(document, why, len(of_query), hits, example))
    return sorted(found, key=lambda one: (one.relevant - one.queries, one.document))
