"""The search engine behind the local Argilla, asked through Argilla's own API as the web page asks it."""

from typing import Any

import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Server
from labeling.local_argilla.server.uncited_argilla.query_language import (
    Boolean,
    Node,
    Not,
    Term,
    leaves,
    parse,
    within_edits,
)
from tests.local_argilla_fixtures import ask, make_dataset

_OPTIONS = [{"value": value, "text": value} for value in ("yes", "no", "unsure")]
_PARTS: dict[str, list[dict[str, Any]]] = {
    "fields": [
        {"name": "title", "required": True, "settings": {"type": "text"}},
        {"name": "text", "required": False, "settings": {"type": "text"}},
        {"name": "turns", "required": False, "settings": {"type": "chat"}},
    ],
    "questions": [
        {"name": "label", "required": True, "settings": {"type": "label_selection", "options": _OPTIONS}},
        {"name": "tags", "settings": {"type": "multi_label_selection", "options": _OPTIONS}},
        {"name": "stars", "settings": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]}},
    ],
    "metadata-properties": [
        {"name": "source", "settings": {"type": "terms"}, "visible_for_annotators": True},
        {"name": "größe", "settings": {"type": "terms"}, "visible_for_annotators": True},
        {"name": 'say "hi"', "settings": {"type": "terms"}, "visible_for_annotators": True},
        {"name": "rank", "settings": {"type": "integer"}, "visible_for_annotators": True},
        {"name": "score", "settings": {"type": "float"}, "visible_for_annotators": True},
    ],
    "vectors-settings": [{"name": "meaning", "dimensions": 2}],
}
_RECORDS: list[dict[str, Any]] = [
    {
        "external_id": "a",
        "fields": {"title": "My card payment failed", "text": "exchange rate of the foo-bar bank"},
        "metadata": {"source": "bm25", "rank": 1, "score": 0.5, "größe": "klein", 'say "hi"': "yes"},
        "vectors": {"meaning": [1.0, 0.0]},
        "suggestions": [{"question": "label", "value": "yes", "score": 0.9, "agent": "judge", "type": "model"}],
    },
    {
        "external_id": "b",
        "fields": {"title": "Payment of cash", "text": "機械学習の入門書です"},
        "metadata": {"source": ["dense", "bm25"], "rank": 2, "score": -3.25, "größe": "groß"},
        "vectors": {"meaning": [0.9, 0.1]},
        "suggestions": [
            {"question": "label", "value": "no", "score": 0.4, "agent": "human 1", "type": "human"},
            {"question": "tags", "value": ["yes", "no"], "score": [0.2, 0.7]},
        ],
    },
    {
        "external_id": "c",
        "fields": {"title": "Nothing of the kind", "text": "중국에서 학교에서 배웠다"},
        "metadata": {"source": "dense", "rank": 10, "score": 2.0},
        "vectors": {"meaning": [0.0, 1.0]},
    },
    {
        "external_id": "d",
        "fields": {"title": "Cards on the table", "turns": [{"role": "user", "content": "hello bankers"}]},
        "metadata": {},
        "vectors": {"meaning": [-1.0, 0.0]},
    },
    {"external_id": "e", "fields": {"title": "习近平 went to 中国科学院 and said: null\u0000byte"}},
]
_SCOPES = {
    "source": {"entity": "metadata", "metadata_property": "source"},
    "rank": {"entity": "metadata", "metadata_property": "rank"},
    "score": {"entity": "metadata", "metadata_property": "score"},
    "größe": {"entity": "metadata", "metadata_property": "größe"},
    'say "hi"': {"entity": "metadata", "metadata_property": 'say "hi"'},
    "suggested": {"entity": "suggestion", "question": "label"},
    "suggested tags": {"entity": "suggestion", "question": "tags", "property": "value"},
    "suggestion score": {"entity": "suggestion", "question": "label", "property": "score"},
    "tags score": {"entity": "suggestion", "question": "tags", "property": "score"},
    "suggestion agent": {"entity": "suggestion", "question": "label", "property": "agent"},
    "suggestion type": {"entity": "suggestion", "question": "label", "property": "type"},
    "answer": {"entity": "response", "question": "label"},
    "answered tags": {"entity": "response", "question": "tags"},
    "stars": {"entity": "response", "question": "stars"},
    "status": {"entity": "response", "property": "status"},
    "record status": {"entity": "record", "property": "status"},
    "external_id": {"entity": "record", "property": "external_id"},
    "inserted_at": {"entity": "record", "property": "inserted_at"},
    "updated_at": {"entity": "record", "property": "updated_at"},
}


class Reviewed:
    """A dataset with five records and two reviewers: ann answered a, b (draft) and c (discarded); bob answered a."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ann = local_argilla.add_user(server.home, "ann").api_key
        self.bob = local_argilla.add_user(server.home, "bob").api_key
        self.dataset_id = make_dataset(server, "reviewed", _PARTS, min_submitted=2)
        questions = ask(server, "GET", f"/datasets/{self.dataset_id}/questions")["items"]
        ids = {question["name"]: question["id"] for question in questions}
        for record in _RECORDS:
            suggestions = [{**s, "question_id": ids[s["question"]]} for s in record.get("suggestions", ())]
            item = {**record, "suggestions": suggestions}
            ask(server, "PUT", f"/datasets/{self.dataset_id}/records/bulk", {"items": [item]})
        listed = ask(server, "GET", f"/datasets/{self.dataset_id}/records?limit=100")["items"]
        self.ids = {record["external_id"]: record["id"] for record in listed}
        self.names = {record_id: name for name, record_id in self.ids.items()}
        self.answer("a", self.ann, "submitted", label="yes", stars=2, tags=["yes"])
        self.answer("a", self.bob, "submitted", label="no", stars=5)
        self.answer("b", self.ann, "draft", label="no", stars=3, tags=["no", "unsure"])
        self.answer("c", self.ann, "discarded")

    def answer(self, name: str, key: str, status: str, **values: Any) -> None:  # noqa: ANN401
        body = {"status": status, "values": {question: {"value": value} for question, value in values.items()} or None}
        ask(self.server, "POST", f"/records/{self.ids[name]}/responses", body, key)

    def search(self, key: str | None = None, **body: Any) -> list[str]:  # noqa: ANN401
        """Return the names of the found records in order; as a user with `key`, else as the owner sees all."""
        me = "/me" if key else ""
        url = f"{me}/datasets/{self.dataset_id}/records/search?limit=100"
        answer = ask(self.server, "POST", url, body, key)
        names = [self.names[item["record"]["id"]] for item in answer["items"]]
        assert answer["total"] == len(names)
        return names

    def text(self, query: str, field: str | None = None) -> str:
        return "".join(sorted(self.search(query={"text": {"q": query, "field": field}})))

    def filtered(self, *filters: dict[str, Any], key: str | None = None) -> str:
        return "".join(sorted(self.search(key, filters={"and": list(filters)})))

    def sorted(self, *orders: tuple[str, str], key: str | None = None) -> str:
        return "".join(self.search(key, sort=[{"scope": _SCOPES[scope], "order": order} for scope, order in orders]))

    def similar(self, key: str | None = None, **query: Any) -> str:  # noqa: ANN401
        filters = query.pop("filters", None)
        text = query.pop("text", None)
        asked = {"vector": {"name": "meaning", **query}} | ({"text": {"q": text}} if text else {})
        body: dict[str, Any] = {"query": asked} | ({"filters": {"and": filters}} if filters else {})
        return "".join(self.search(key, **body))


def terms(scope: str, *values: str) -> dict[str, Any]:
    return {"type": "terms", "scope": _SCOPES[scope], "values": list(values)}


def between(scope: str, ge: float | str | None = None, le: float | str | None = None) -> dict[str, Any]:
    return {"type": "range", "scope": _SCOPES[scope], "ge": ge, "le": le}


@pytest.fixture(scope="module")
def reviewed(argilla_server: Server) -> Reviewed:
    return Reviewed(argilla_server)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("card", "a"),
        ("CARD", "a"),
        ("card*", "ad"),
        ("payment", "ab"),
        ("payment card", "a"),
        ("rate payment", "a"),  # one word in each of two fields
        ("cash | card", "ab"),
        ("payment -card", "b"),
        ("-payment", "cde"),
        ("-(card | cash)", "cde"),
        ("card | -payment", "acde"),
        ('"card payment"', "a"),
        ('"payment card"', ""),
        ('"card failed"~1', "a"),
        ("paymnet~2", "ab"),
        ("paymnet~1", ""),
        ("cards~1", "ad"),
        ("foo-bar", "a"),
        ("bank", "a"),
        ("hello", "d"),
        ("機械", "b"),
        ("入門書", "b"),
        ("学機", ""),
        ("학교", "c"),
        ("科学院", "e"),
        ("中国 -科学院", ""),
        ("中", "e"),
        ("null", "e"),
        ("!!!", ""),
        ("( card", "a"),
        ('"card', "a"),
        ("card) + (payment", "a"),
        ("\\-card", "a"),
        ("AND NOT NEAR(card", ""),
        ("title:card", ""),  # not FTS5's column filter, but two words that stand nowhere together
    ],
)
def test_text_query_finds(reviewed: Reviewed, query: str, found: str) -> None:
    assert reviewed.text(query) == found


def test_text_query_in_one_field(reviewed: Reviewed) -> None:
    assert reviewed.text("payment", "title") == "ab"
    assert reviewed.text("payment", "text") == ""
    assert reviewed.text("-payment", "text") == "abcde"
    assert reviewed.text("hello", "turns") == "d"


def test_better_matches_come_first(reviewed: Reviewed) -> None:
    assert reviewed.search(query={"text": {"q": "card | cash | failed | rate"}})[0] == "a"


@pytest.mark.parametrize(
    "query",
    [
        "(" * 3000 + "card",
        "a|b+" * 3000,
        '"' * 999,
        "card " * 3000,
        "~" * 50,
        "*",
        "\\",
        "(a|-(b+" * 60 + "c" + "))" * 60,
    ],
)
def test_no_text_query_is_an_error(reviewed: Reviewed, query: str) -> None:
    reviewed.text(query)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([terms("source", "bm25")], "ab"),
        ([terms("source", "bm25", "dense")], "abc"),
        ([terms("größe", "klein")], "a"),
        ([terms("größe", "groß")], "b"),
        ([terms('say "hi"', "yes")], "a"),
        ([terms("rank", "10")], "c"),
        ([terms("score", "2.0", "0.50")], "ac"),
        ([between("rank", 2, 10)], "bc"),
        ([between("rank", "1", "2")], "ab"),
        ([between("rank", ge=2)], "bc"),
        ([between("score", le=0)], "b"),
        ([terms("suggested", "yes")], "a"),
        ([terms("suggested", "yes", "no")], "ab"),
        ([terms("suggested tags", "no")], "b"),
        ([between("suggestion score", 0.4, 0.5)], "b"),
        ([between("tags score", ge=0.6)], "b"),
        ([terms("suggestion agent", "judge")], "a"),
        ([terms("suggestion type", "human")], "b"),
        ([terms("answer", "no")], "ab"),
        ([terms("answered tags", "unsure")], "b"),
        ([between("stars", ge=4)], "a"),
        ([between("stars", ge=3)], "ab"),
        ([terms("record status", "completed")], "a"),
        ([terms("record status", "pending")], "bcde"),
        ([terms("external_id", "c", "e")], "ce"),
        ([between("inserted_at", "2020-01-01T00:00:00", "2999-01-01T00:00:00+02:00")], "abcde"),
        ([between("inserted_at", ge="2999-01-01")], ""),
        ([terms("status", "pending")], "de"),
        ([terms("status", "submitted")], "a"),
        ([terms("status", "draft", "discarded")], "bc"),
        ([terms("status", "pending", "draft")], "bde"),
        ([terms("source", "bm25"), terms("suggested", "no")], "b"),
        ([terms("source", "bm25"), terms("answer", "yes"), between("rank", le=1)], "a"),
        ([terms("source", "nobody")], ""),
    ],
)
def test_filter_finds(reviewed: Reviewed, filters: list[dict[str, Any]], found: str) -> None:
    assert reviewed.filtered(*filters) == found


@pytest.mark.parametrize(
    ("statuses", "ann", "bob"),
    [
        (["pending"], "de", "bcde"),
        (["submitted"], "a", "a"),
        (["draft"], "b", ""),
        (["discarded"], "c", ""),
        (["pending", "discarded"], "cde", "bcde"),
    ],
)
def test_each_reviewer_has_a_queue_of_their_own(reviewed: Reviewed, statuses: list[str], ann: str, bob: str) -> None:
    assert reviewed.filtered(terms("status", *statuses), key=reviewed.ann) == ann
    assert reviewed.filtered(terms("status", *statuses), key=reviewed.bob) == bob


def test_filter_on_answers_looks_at_the_reviewers_own(reviewed: Reviewed) -> None:
    assert reviewed.filtered(terms("answer", "no"), key=reviewed.ann) == "b"
    assert reviewed.filtered(terms("answer", "no"), key=reviewed.bob) == "a"


@pytest.mark.parametrize(
    ("orders", "found"),
    [
        ([("rank", "asc")], "abcde"),
        ([("rank", "desc")], "cbade"),  # by number, and what has none is last in both directions
        ([("score", "asc")], "bacde"),
        ([("größe", "asc")], "bacde"),
        ([("external_id", "desc")], "edcba"),
        ([("inserted_at", "asc")], "abcde"),
        ([("inserted_at", "desc")], "edcba"),
        ([("record status", "asc"), ("external_id", "desc")], "aedcb"),
        ([("suggestion score", "asc"), ("external_id", "asc")], "bacde"),
        ([("suggested", "desc"), ("external_id", "asc")], "abcde"),
        ([("tags score", "desc"), ("external_id", "asc")], "bacde"),
        ([("stars", "asc"), ("external_id", "asc")], "bacde"),  # b: 3, a: (2 + 5) / 2
        ([("stars", "desc"), ("external_id", "asc")], "abcde"),
        ([("answer", "asc"), ("external_id", "desc")], "baedc"),  # a and b both have a `no`
    ],
)
def test_sort_orders(reviewed: Reviewed, orders: list[tuple[str, str]], found: str) -> None:
    assert reviewed.sorted(*orders) == found


def test_sort_on_answers_looks_at_the_reviewers_own(reviewed: Reviewed) -> None:
    assert reviewed.sorted(("stars", "asc"), ("external_id", "asc"), key=reviewed.ann) == "abcde"


def test_pages_make_up_the_whole(reviewed: Reviewed) -> None:
    url = f"/me/datasets/{reviewed.dataset_id}/records/search?limit=2&offset="
    pages = [ask(reviewed.server, "POST", f"{url}{offset}", {}, reviewed.ann) for offset in (0, 2, 4, 6)]
    assert [page["total"] for page in pages] == [5] * 4
    names = [reviewed.names[item["record"]["id"]] for page in pages for item in page["items"]]
    assert sorted(names) == list("abcde")
    assert names == reviewed.search(reviewed.ann)


def test_queue_order_is_stable_for_a_reviewer_and_differs_between_reviewers(argilla_server: Server) -> None:
    parts = {"fields": _PARTS["fields"][:1], "questions": _PARTS["questions"][:1]}
    dataset_id = make_dataset(argilla_server, "shuffled", parts)
    items = [{"external_id": str(number), "fields": {"title": f"text {number}"}} for number in range(100)]
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items})

    def queue(key: str) -> list[str]:
        answer = ask(argilla_server, "POST", f"/me/datasets/{dataset_id}/records/search?limit=100", {}, key)
        return [item["record"]["external_id"] for item in answer["items"]]

    ann, bob = (local_argilla.add_user(argilla_server.home, name).api_key for name in ("ann", "bob"))
    assert queue(ann) == queue(ann)
    assert queue(ann) != queue(bob)
    assert sorted(queue(ann)) == sorted(queue(bob)) == sorted(str(item["external_id"]) for item in items)


def test_similar_records(reviewed: Reviewed) -> None:
    assert reviewed.similar(value=[1.0, 0.0]) == "abcd"
    assert reviewed.similar(value=[1.0, 0.0], order="least_similar") == "dcba"
    assert reviewed.similar(record_id=reviewed.ids["a"]) == "bcd"
    assert reviewed.similar(record_id=reviewed.ids["a"], order="least_similar") == "dcb"
    assert reviewed.similar(value=[1.0, 0.0], filters=[terms("source", "dense")]) == "bc"
    assert reviewed.similar(value=[1.0, 0.0], text="payment") == "ab"
    assert reviewed.similar(reviewed.ann, value=[1.0, 0.0], filters=[terms("status", "pending")]) == "d"


def test_scores_of_similar_records_are_those_of_elasticsearch(reviewed: Reviewed) -> None:
    body = {"query": {"vector": {"name": "meaning", "value": [2.0, 0.0]}}}
    answer = ask(reviewed.server, "POST", f"/datasets/{reviewed.dataset_id}/records/search", body)
    scores = [item["query_score"] for item in answer["items"]]
    assert scores == pytest.approx([1.0, (1 + 0.9 / 0.82**0.5) / 2, 0.5, 0.0])  # (1 + cosine) / 2


def test_metadata_metrics(reviewed: Reviewed) -> None:
    properties = ask(reviewed.server, "GET", f"/me/datasets/{reviewed.dataset_id}/metadata-properties")["items"]
    metrics = {
        item["name"]: ask(reviewed.server, "GET", f"/metadata-properties/{item['id']}/metrics") for item in properties
    }
    assert metrics["source"] == {
        "type": "terms",
        "total": 4,
        "values": [{"term": "bm25", "count": 2}, {"term": "dense", "count": 2}],
    }
    assert metrics["rank"] == {"type": "integer", "min": 1, "max": 10}
    assert metrics["score"] == {"type": "float", "min": -3.25, "max": 2.0}
    assert metrics["größe"]["total"] == 2


def test_progress_of_dataset_and_of_reviewers(reviewed: Reviewed) -> None:
    progress = ask(reviewed.server, "GET", f"/datasets/{reviewed.dataset_id}/progress")
    assert (progress["total"], progress["completed"], progress["pending"]) == (5, 1, 4)
    path = f"/me/datasets/{reviewed.dataset_id}/metrics"
    expected = {"total": 5, "submitted": 1, "draft": 1, "discarded": 1, "pending": 2}
    assert ask(reviewed.server, "GET", path, key=reviewed.ann)["responses"] == expected
    expected = {"total": 5, "submitted": 1, "draft": 0, "discarded": 0, "pending": 4}
    assert ask(reviewed.server, "GET", path, key=reviewed.bob)["responses"] == expected


def test_updates_and_deletes_are_seen_at_once(argilla_server: Server) -> None:
    changing = make_dataset(argilla_server, "changing", _PARTS)
    records, search = f"/datasets/{changing}/records", f"/datasets/{changing}/records/search"

    def found(**query: Any) -> list[str]:  # noqa: ANN401
        answer = ask(argilla_server, "POST", search, {"query": query})
        return [item["record"]["external_id"] for item in answer["items"]]

    ask(argilla_server, "PUT", f"{records}/bulk", {"items": _RECORDS_BARE})
    near = {"name": "meaning", "value": [1.0, 0.0]}
    assert found(text={"q": "card"}) == ["a"]
    assert found(vector=near) == ["a", "b", "c", "d"]
    changed = {"external_id": "a", "fields": {"title": "something else"}, "vectors": {"meaning": [-0.9, 0.1]}}
    ask(argilla_server, "PUT", f"{records}/bulk", {"items": [changed]})
    assert found(text={"q": "card"}) == []
    assert found(text={"q": "something"}) == ["a"]
    assert found(vector=near) == ["b", "c", "a", "d"]
    listed = ask(argilla_server, "GET", f"{records}?limit=100")["items"]
    ids = {record["external_id"]: record["id"] for record in listed}
    ask(argilla_server, "DELETE", f"{records}?ids={ids['a']},{ids['b']}")
    assert found(text={"q": "something | cash"}) == []
    assert found(vector=near) == ["c", "d"]
    ask(argilla_server, "PATCH", f"/records/{ids['c']}", {"fields": {"title": "renamed"}})
    assert found(text={"q": "renamed"}) == ["c"]
    ask(argilla_server, "DELETE", f"/datasets/{changing}")
    url = f"{argilla_server.url}/api/v1{search}"
    gone = requests.post(url, json={}, headers={"X-Argilla-Api-Key": argilla_server.api_key}, timeout=60)
    assert gone.status_code == 404


_RECORDS_BARE = [{**record, "suggestions": []} for record in _RECORDS]


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("a b", Boolean("AND", (Term("a"), Term("b")))),
        ("a | b c", Boolean("AND", (Boolean("OR", (Term("a"), Term("b"))), Term("c")))),
        ("(a | b) | c", Boolean("OR", (Boolean("OR", (Term("a"), Term("b"))), Term("c")))),
        ("-a", Not(Term("a"))),
        ("--a", Term("a")),
        ("- a", Term("a")),
        ("a-b", Term("a-b")),
        ("+a |", Term("a")),
        ("pre*", Term("pre", prefix=True)),
        ("pre\\*", Term("pre*")),
        ("near~", Term("near", fuzziness=2)),
        ("near~1 x", Boolean("AND", (Term("near", fuzziness=1), Term("x")))),
        ('"a b"~3', Term("a b", slop=3)),
        ("a ! b", Boolean("AND", (Term("a"), Term("b")))),
        ("", None),
        ("+ - | ~ ( ) *", None),
    ],
)
def test_query_is_read_as_elasticsearch_reads_it(query: str, tree: Node | None) -> None:
    assert parse(query) == tree


def test_only_wanted_terms_count_towards_the_score() -> None:
    tree = parse("a -b | -(c -d)")
    assert tree is not None
    assert [term.text for term in leaves(tree)] == ["a", "d"]


@pytest.mark.parametrize(
    ("word", "other", "edits", "near"),
    [("card", "cart", 1, True), ("card", "acrd", 1, False), ("card", "acrd", 2, True), ("a", "abc", 1, False)],
)
def test_edit_distance(word: str, other: str, edits: int, near: bool) -> None:
    assert within_edits(word, other, edits) is near
