"""Any combination of filters and sort orders, over HTTP, against a plain reading of the same records in Python."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import local_argilla
from labeling.local_argilla import Server
from tests.local_argilla_fixtures import ask, make_dataset

_LABELS = ("yes", "no", "unsure")
_SOURCES = ("bm25", "dense", "uncited", "7")
_OPTIONS = [{"value": value, "text": value} for value in _LABELS]
_PARTS: dict[str, list[dict[str, Any]]] = {
    "fields": [{"name": "text", "required": True, "settings": {"type": "text"}}],
    "questions": [
        {"name": "label", "required": True, "settings": {"type": "label_selection", "options": _OPTIONS}},
        {"name": "tags", "settings": {"type": "multi_label_selection", "options": _OPTIONS}},
        {"name": "stars", "settings": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]}},
        {"name": "note", "settings": {"type": "text"}},
    ],
    "metadata-properties": [
        {"name": "source", "settings": {"type": "terms"}, "visible_for_annotators": True},
        {"name": "rank", "settings": {"type": "integer"}, "visible_for_annotators": True},
        {"name": "score", "settings": {"type": "float"}, "visible_for_annotators": True},
    ],
}
_COUNT = 40


@dataclass(frozen=True, slots=True)
class Answered:
    """A record as the test made it; answers are by reviewer: (status, values)."""

    text: str
    metadata: dict[str, Any]
    suggestions: dict[str, dict[str, Any]]
    answers: dict[str, tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class Asked:
    """The dataset on the server, and what is in it."""

    server: Server
    dataset_id: str
    keys: dict[str, str]
    records: list[Answered] = field(default_factory=list)

    def search(self, who: str | None, filters: list[dict[str, Any]], sort: list[dict[str, str]]) -> list[int]:
        body: dict[str, Any] = {"sort": sort}
        if filters:
            body["filters"] = {"and": filters}
        path = f"{'/me' if who else ''}/datasets/{self.dataset_id}/records/search?limit={_COUNT}"
        answer = ask(self.server, "POST", path, body, self.keys[who] if who else None)
        found = [int(item["record"]["external_id"]) for item in answer["items"]]
        assert answer["total"] == len(found)
        return found


def made_up(rng: random.Random, number: int) -> Answered:
    metadata: dict[str, Any] = {}
    if rng.random() < 0.8:
        metadata["source"] = rng.choice([*_SOURCES, ["bm25", "dense"], ["uncited", "7"]])
    if rng.random() < 0.8:
        metadata["rank"] = rng.randint(1, 12)
    if rng.random() < 0.8:
        metadata["score"] = rng.choice([-1.5, 0.0, 0.25, 0.5, 3.0])
    suggestions: dict[str, dict[str, Any]] = {}
    if rng.random() < 0.7:
        score = rng.choice([None, 0.1, 0.5, 0.9])
        agent, kind = rng.choice([("judge", "model"), ("a colleague", "human"), (None, None)])
        suggestions["label"] = {"value": rng.choice(_LABELS), "score": score, "agent": agent, "type": kind}
    if rng.random() < 0.5:
        tags = rng.sample(_LABELS, 2)
        suggestions["tags"] = {"value": tags, "score": [0.3, 0.8]}
    if rng.random() < 0.5:
        suggestions["stars"] = {"value": rng.randint(1, 5), "score": 0.5}
    answers = {}
    for who in ("ann", "bob"):
        status = rng.choice(["submitted", "submitted", "draft", "discarded", None])
        if status is not None:
            values = {"label": rng.choice(_LABELS), "stars": rng.randint(1, 5), "tags": rng.sample(_LABELS, 2)}
            answers[who] = (status, {} if status == "discarded" else values)
    return Answered(f"text {number}", metadata, suggestions, answers)


@pytest.fixture(scope="module")
def asked(argilla_server: Server) -> Asked:
    rng = random.Random(20)
    keys = {who: local_argilla.add_user(argilla_server.home, who).api_key for who in ("ann", "bob")}
    made = Asked(argilla_server, make_dataset(argilla_server, "combined", _PARTS, min_submitted=2), keys)
    questions = ask(argilla_server, "GET", f"/datasets/{made.dataset_id}/questions")["items"]
    ids = {question["name"]: question["id"] for question in questions}
    for number in range(_COUNT):
        record = made_up(rng, number)
        made.records.append(record)
        suggestions = [{"question_id": ids[name], **suggestion} for name, suggestion in record.suggestions.items()]
        item = {
            "external_id": str(number),
            "fields": {"text": record.text},
            "metadata": record.metadata,
            "suggestions": suggestions,
        }
        ask(argilla_server, "PUT", f"/datasets/{made.dataset_id}/records/bulk", {"items": [item]})
    listed = ask(argilla_server, "GET", f"/datasets/{made.dataset_id}/records?limit={_COUNT}")["items"]
    for item in listed:
        for who, (status, values) in made.records[int(item["external_id"])].answers.items():
            wrapped = {name: {"value": value} for name, value in values.items()} or None
            ask(
                argilla_server,
                "POST",
                f"/records/{item['id']}/responses",
                {"status": status, "values": wrapped},
                keys[who],
            )
    return made


@dataclass(frozen=True, slots=True)
class Scope:
    """Something to filter or sort by: as the API names it, and as it is read from a record."""

    body: tuple[tuple[str, str], ...]
    read: Callable[[Answered, str | None], list[Any]]
    terms: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    averaged: bool = False

    def values(self, record: Answered, who: str | None) -> list[Any]:
        return [value for value in self.read(record, who) if value is not None]


def listed(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def metadata(name: str, **choices: Any) -> Scope:  # noqa: ANN401
    body = (("entity", "metadata"), ("metadata_property", name))
    return Scope(body, lambda record, _: listed(record.metadata.get(name)), **choices)


def suggestion(question: str, prop: str, **choices: Any) -> Scope:  # noqa: ANN401
    body = (("entity", "suggestion"), ("question", question), ("property", prop))
    return Scope(body, lambda record, _: listed(record.suggestions.get(question, {}).get(prop)), **choices)


def answers(record: Answered, who: str | None) -> Iterable[tuple[str, dict[str, Any]]]:
    return [answer for reviewer, answer in record.answers.items() if who in (None, reviewer)]


def response(question: str, **choices: Any) -> Scope:  # noqa: ANN401
    def read(record: Answered, who: str | None) -> list[Any]:
        return [value for _, values in answers(record, who) for value in listed(values.get(question))]

    return Scope((("entity", "response"), ("question", question)), read, **choices)


def status_of(record: Answered, who: str | None) -> list[str]:
    return [status for status, _ in answers(record, who)] or ["pending"]


def record_status(record: Answered, _who: str | None) -> list[str]:
    submitted = [status for status, _ in record.answers.values() if status == "submitted"]
    return ["completed" if len(submitted) >= 2 else "pending"]


_STATUSES = ("pending", "draft", "submitted", "discarded")
_RESPONSE_STATUS = Scope((("entity", "response"), ("property", "status")), status_of, terms=_STATUSES)
_SCOPES = (
    metadata("source", terms=_SOURCES),
    metadata("rank", terms=("1", "5", "12"), bounds=(0, 3, 6, 12)),
    metadata("score", terms=("0.5", "-1.5", "3"), bounds=(-2, 0, 0.25, 3)),
    suggestion("label", "value", terms=_LABELS),
    suggestion("label", "score", bounds=(0, 0.1, 0.5, 0.9)),
    suggestion("label", "agent", terms=("judge", "a colleague")),
    suggestion("label", "type", terms=("model", "human")),
    suggestion("tags", "value", terms=_LABELS),
    suggestion("tags", "score", bounds=(0, 0.5, 0.9)),
    suggestion("stars", "value", terms=("1", "3", "5"), bounds=(1, 3, 5)),
    response("label", terms=_LABELS),
    response("tags", terms=_LABELS),
    response("stars", terms=("2", "4"), bounds=(1, 2, 4), averaged=True),
    Scope((("entity", "record"), ("property", "status")), record_status, terms=("pending", "completed")),
)
_FILTERS = (*_SCOPES, _RESPONSE_STATUS)


@dataclass(frozen=True, slots=True)
class Condition:
    scope: Scope
    terms: tuple[str, ...] = ()
    ge: float | None = None
    le: float | None = None

    def body(self) -> dict[str, Any]:
        scope = dict(self.scope.body)
        if self.terms:
            return {"type": "terms", "scope": scope, "values": list(self.terms)}
        return {"type": "range", "scope": scope, "ge": self.ge, "le": self.le}

    def holds(self, record: Answered, who: str | None) -> bool:
        return any(self._fits(value) for value in self.scope.values(record, who))

    def _fits(self, value: Any) -> bool:  # noqa: ANN401
        if self.terms:
            return any(term == value or (not isinstance(value, str) and float(term) == value) for term in self.terms)
        return (self.ge is None or value >= self.ge) and (self.le is None or value <= self.le)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    scope = draw(st.sampled_from(_FILTERS))
    if scope.bounds and (not scope.terms or draw(st.booleans())):
        ge = draw(st.sampled_from([None, *scope.bounds]))
        le = draw(st.sampled_from(scope.bounds)) if ge is None else draw(st.sampled_from([None, *scope.bounds]))
        if ge is not None and le is not None and ge > le:
            ge, le = le, ge
        return Condition(scope, ge=ge, le=le)
    return Condition(scope, terms=tuple(draw(st.lists(st.sampled_from(scope.terms), min_size=1, unique=True))))


def in_order(records: list[Answered], found: list[int], orders: list[tuple[Scope, bool]], who: str | None) -> list[int]:
    """Sort as Argilla does: a list counts by its extreme, numbers in answers by their mean, what has none is last."""
    for scope, descending in reversed(orders):

        def key(number: int, scope: Scope = scope, descending: bool = descending) -> Any:  # noqa: ANN401
            values = scope.values(records[number], who)
            return fmean(values) if scope.averaged else (max(values) if descending else min(values))

        having = [number for number in found if scope.values(records[number], who)]
        having.sort(key=key, reverse=descending)  # equals stay in order either way
        found = having + [number for number in found if number not in set(having)]
    return found


@given(
    who=st.sampled_from([None, "ann", "bob"]),
    filters=st.lists(conditions(), max_size=3),
    orders=st.lists(st.tuples(st.sampled_from(_SCOPES), st.booleans()), max_size=2, unique_by=lambda order: order[0]),
)
@settings(max_examples=150, deadline=None)
def test_any_filters_and_sorts_find_what_a_plain_reading_finds(
    asked: Asked, who: str | None, filters: list[Condition], orders: list[tuple[Scope, bool]]
) -> None:
    sort = [{"scope": dict(scope.body), "order": "desc" if down else "asc"} for scope, down in orders]
    by_number = {"scope": {"entity": "record", "property": "inserted_at"}, "order": "asc"}
    found = asked.search(who, [condition.body() for condition in filters], [*sort, by_number])
    expected = [n for n, record in enumerate(asked.records) if all(c.holds(record, who) for c in filters)]
    assert sorted(found) == expected
    assert found == in_order(asked.records, expected, orders, who)
