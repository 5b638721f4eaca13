"""What the local server's search engine finds in marked-up texts, in large vectors, and after changes of every kind."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from labeling import local_argilla
from labeling.local_argilla import Server
from labeling.local_argilla.server.uncited_argilla.visible_text import visible_text
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, make_dataset, push, record_ids, submit

_SHOWN: dict[str, list[dict[str, Any]]] = {
    "fields": [
        {"name": "chunk", "required": False, "settings": {"type": "text", "use_markdown": True}},
        {"name": "plain", "required": False, "settings": {"type": "text", "use_markdown": False}},
        {
            "name": "card",
            "required": False,
            "settings": {"type": "custom", "template": "<p>{{record.fields.card.title}}</p>"},
        },
        {"name": "turns", "required": False, "settings": {"type": "chat", "use_markdown": True}},
    ],
    "questions": TEXT_AND_LABEL["questions"],
}
_SHOWN_RECORDS: list[dict[str, Any]] = [
    {
        "external_id": "a",
        "fields": {
            "chunk": '<div dir="auto" style="white-space:pre-wrap">Pay by <mark><b>card</b></mark> &amp; re<b>fund</b>'
            "ed<br>fees</div><details><summary>Why</summary><div>a reason</div></details>"
        },
    },
    {
        "external_id": "b",
        "fields": {"chunk": "<div>&lt;table class=&quot;grid&quot;&gt; caf&eacute; &#26234;&#24935;</div>"},
    },
    {"external_id": "c", "fields": {"plain": "List<String> names; if (a < b && c > d) return mark;"}},
    {
        "external_id": "d",
        "fields": {"card": {"title": "<b>Blue</b> kettle", "price": 49, "tags": ["enamel", {"origin": "機械"}]}},
    },
    {"external_id": "e", "fields": {"turns": [{"role": "user", "content": "how do <i>I</i> boil&nbsp;water"}]}},
]


def found(server: Server, dataset_id: str, key: str | None = None, **body: Any) -> str:  # noqa: ANN401
    """Return the external ids of what a search finds, in order."""
    path = f"{'/me' if key else ''}/datasets/{dataset_id}/records/search?limit=1000"
    items = ask(server, "POST", path, body, key)["items"]
    return "".join(item["record"]["external_id"] for item in items)


def text(query: str, field: str | None = None) -> dict[str, Any]:
    return {"text": {"q": query, "field": field}}


@pytest.fixture(scope="module")
def shown(argilla_server: Server) -> str:
    dataset_id = make_dataset(argilla_server, "shown", _SHOWN)
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": _SHOWN_RECORDS})
    return dataset_id


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("card", "a"),
        ("refunded", "a"),  # marked in part, and still one word
        ("refundedfees", ""),  # a line break ends a word
        ('"card refunded fees"', "a"),
        ('"why a reason"', "a"),
        ("div | auto | style | pre", ""),
        ("mark", "c"),  # the word, and not the tag around another
        ("summary | details", ""),
        ("amp | quot | lt", ""),
        ("table", "b"),  # it was escaped, so the reviewer reads it
        ("grid class", "b"),
        ("café", "b"),
        ("智慧", "b"),
        ("String", "c"),
        ('"a b c d"', "c"),
        ("blue", "d"),
        ('"blue kettle"', "d"),
        ("enamel", "d"),
        ("械", "d"),
        ("49", "d"),
        ("title | origin", ""),  # names of a custom field's parts are no text
        ("water", "e"),
        ('"I boil"', "e"),
        ("i", "e"),
        ("nbsp", ""),
    ],
)
def test_text_search_finds_the_words_that_are_shown(
    argilla_server: Server, shown: str, query: str, expected: str
) -> None:
    assert found(argilla_server, shown, query=text(query)) == expected


def test_custom_and_marked_up_fields_are_searched_by_name(argilla_server: Server, shown: str) -> None:
    assert found(argilla_server, shown, query=text("kettle", "card")) == "d"
    assert found(argilla_server, shown, query=text("kettle", "chunk")) == ""
    assert found(argilla_server, shown, query=text("card", "chunk")) == "a"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, ""),
        ("a < b", "a < b"),
        ('<p title="x > y">one</p><p>two</p>', "one two"),
        ("<DIV\nclass='q'>one</DIV >two", "one two"),
        ("one<!-- two -- three -->four", "one four"),
        ("one<script>two</script>three", "one three"),
        ("one<style>two", "one"),
        ("<b", "<b"),
        ("&lt;b&gt;", "<b>"),
        ("vector<int>", "vector<int>"),
        ([{"role": "user", "content": "<b>hi</b>"}], "user hi"),
        ({"a": [1, 2.5, True, None], "b": {"c": "d"}}, "1 2.5 d"),
    ],
)
def test_visible_text(value: Any, seen: str) -> None:  # noqa: ANN401
    assert " ".join(visible_text(value).split()) == seen


@pytest.mark.parametrize("piece", ["<", "<a ", '<a "', "<a '\"", "<!--", "<script>", "&", "<a x=y ", "</", "<a <!-- '"])
def test_hostile_markup_costs_no_more_than_its_length(piece: str) -> None:
    begun = time.perf_counter()
    visible_text(piece * (500_000 // len(piece)))
    assert time.perf_counter() - begun < 2


def test_suggestions_responses_and_metadata_are_found_as_they_change(argilla_server: Server) -> None:
    parts = TEXT_AND_LABEL | {"metadata-properties": [{"name": "rank", "settings": {"type": "integer"}}]}
    dataset_id = make_dataset(argilla_server, "moving", parts)
    push(argilla_server, dataset_id, 3)
    first, second, _ = record_ids(argilla_server, dataset_id)
    (question,) = ask(argilla_server, "GET", f"/datasets/{dataset_id}/questions")["items"]

    def having(entity: str, values: list[str], key: str | None = None, **scope: str) -> str:
        terms = {"type": "terms", "scope": {"entity": entity, **scope}, "values": values}
        return "".join(sorted(found(argilla_server, dataset_id, key, filters={"and": [terms]})))

    def suggested(value: str) -> str:
        return having("suggestion", [value], question="label")

    def ranked(value: int) -> str:
        return having("metadata", [str(value)], metadata_property="rank")

    def answered(*status: str) -> str:
        return having("response", list(status), argilla_server.api_key, property="status")

    suggestion = {"question_id": question["id"], "value": "yes", "score": 0.5, "agent": "judge"}
    made = ask(argilla_server, "PUT", f"/records/{first}/suggestions", suggestion)
    assert (suggested("yes"), suggested("no")) == ("0", "")
    ask(argilla_server, "PUT", f"/records/{first}/suggestions", suggestion | {"value": "no"})
    assert (suggested("yes"), suggested("no")) == ("", "0")
    ask(argilla_server, "DELETE", f"/records/{first}/suggestions?ids={made['id']}")
    assert suggested("no") == ""

    ask(argilla_server, "PATCH", f"/records/{second}", {"metadata": {"rank": 4}})
    assert ranked(4) == "1"
    ask(argilla_server, "PATCH", f"/records/{second}", {"metadata": {"rank": 5}})
    assert (ranked(4), ranked(5)) == ("", "1")
    (rank,) = ask(argilla_server, "GET", f"/me/datasets/{dataset_id}/metadata-properties")["items"]
    assert ask(argilla_server, "GET", f"/metadata-properties/{rank['id']}/metrics")["max"] == 5

    answer = ask(argilla_server, "POST", f"/records/{first}/responses", {"status": "draft", "values": None})
    assert (answered("draft"), answered("pending")) == ("0", "12")
    values = {"label": {"value": "no"}}
    ask(argilla_server, "PUT", f"/responses/{answer['id']}", {"status": "submitted", "values": values})
    assert (answered("draft"), answered("submitted")) == ("", "0")
    assert having("response", ["no"], question="label") == "0"
    assert having("record", ["completed"], property="status") == "0"
    ask(argilla_server, "PUT", f"/responses/{answer['id']}", {"status": "discarded", "values": values})
    assert (answered("submitted"), answered("discarded")) == ("", "0")
    assert having("record", ["completed"], property="status") == ""
    ask(argilla_server, "DELETE", f"/responses/{answer['id']}")
    assert answered("pending") == "012"
    assert having("response", ["no"], question="label") == ""


def test_what_a_deleted_user_answered_is_no_longer_found(argilla_server: Server) -> None:
    dataset_id = make_dataset(argilla_server, "left", TEXT_AND_LABEL)
    push(argilla_server, dataset_id, 2)
    account = {"username": "leaver", "first_name": "L", "role": "annotator", "password": "long enough"}
    leaver = ask(argilla_server, "POST", "/users", account)
    (workspace,) = (w for w in ask(argilla_server, "GET", "/me/workspaces")["items"] if w["name"] == "uncited")
    ask(argilla_server, "POST", f"/workspaces/{workspace['id']}/users", {"user_id": leaver["id"]})
    submit(argilla_server, record_ids(argilla_server, dataset_id)[0], leaver["api_key"])
    scope = {"entity": "response", "property": "status"}
    submitted = {"and": [{"type": "terms", "scope": scope, "values": ["submitted"]}]}
    assert found(argilla_server, dataset_id, filters=submitted) == "0"
    ask(argilla_server, "DELETE", f"/users/{leaver['id']}")
    assert found(argilla_server, dataset_id, filters=submitted) == ""


def test_large_vectors_of_two_kinds_are_compared_each_with_its_own(argilla_server: Server) -> None:
    parts = TEXT_AND_LABEL | {
        "vectors-settings": [{"name": "large", "dimensions": 768}, {"name": "small", "dimensions": 3}]
    }
    dataset_id = make_dataset(argilla_server, "large", parts)
    rng = np.random.default_rng(7)
    large = rng.normal(size=(300, 768))
    small = rng.normal(size=(300, 3))
    items = [
        {
            "external_id": f"{n};",
            "fields": {"text": f"{'even' if n % 2 == 0 else 'odd'} {n}"},
            "vectors": {"large": list(large[n])} | ({"small": list(small[n])} if n < 200 else {}),
        }
        for n in range(300)
    ]
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items[:150]})
    target = rng.normal(size=768)

    def nearest(name: str, value: Any, **query: Any) -> list[int]:  # noqa: ANN401
        vector = {"name": name, "value": list(value), **query.pop("vector", {})}
        return [int(n) for n in found(argilla_server, dataset_id, query={"vector": vector, **query}).split(";")[:-1]]

    def by_cosine(vectors: Any, value: Any) -> list[int]:  # noqa: ANN401
        cosines = vectors @ value / np.linalg.norm(vectors, axis=1)
        return [int(n) for n in np.argsort(-cosines)]

    assert nearest("large", target) == by_cosine(large[:150], target)
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items[150:]})
    assert nearest("large", target) == by_cosine(large, target)
    assert nearest("large", target, vector={"order": "least_similar"}) == by_cosine(large, -target)
    assert nearest("small", small[0]) == by_cosine(small[:200], small[0])
    even = [n for n in by_cosine(large, target) if n % 2 == 0]
    assert nearest("large", target, text={"q": "even"}) == even
    large[5] = target  # a record that changes is found where it now is
    changed = {"external_id": "5;", "fields": {"text": "odd 5"}, "vectors": {"large": list(target)}}
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": [changed]})
    assert nearest("large", target)[0] == 5
    assert nearest("large", target) == by_cosine(large, target)


def test_similar_records_beyond_a_page_of_a_reviewers_queue(argilla_server: Server) -> None:
    parts = TEXT_AND_LABEL | {"vectors-settings": [{"name": "meaning", "dimensions": 2}]}
    dataset_id = make_dataset(argilla_server, "queue of similar", parts)
    items = [
        {"external_id": f"{n};", "fields": {"text": str(n)}, "vectors": {"meaning": [1.0, n / 10]}} for n in range(60)
    ]
    ask(argilla_server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items})
    ann = local_argilla.add_user(argilla_server.home, "ann").api_key
    ids = record_ids(argilla_server, dataset_id)
    for record_id in ids[:10]:
        submit(argilla_server, record_id, ann)
    pending = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
    query = {"vector": {"name": "meaning", "record_id": ids[30], "max_results": 50}}
    numbers = found(argilla_server, dataset_id, ann, query=query, filters={"and": [pending]}).split(";")[:-1]
    assert sorted(map(int, numbers)) == [n for n in range(10, 60) if n != 30]
    distances = [abs(np.arctan(int(n) / 10) - np.arctan(3.0)) for n in numbers]
    assert all(near <= far for near, far in pairwise(distances))
