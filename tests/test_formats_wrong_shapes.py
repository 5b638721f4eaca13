"""Values of another shape than a format gives them, at any place: a message that names the line, never a traceback."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError, UserError
from tests.imported import write_lines, write_text
from tests.test_formats_bad_input import QUERY, _answer, _observation, _results, _run, _span

DOWNLOAD = {"id": "t1", "input": QUERY, "output": "100 days.", "observations": [_observation("t1")], "scores": []}
SAMPLE = {
    "user_input": [{"type": "human", "content": QUERY}],
    "retrieved_contexts": ["100 days.", "They jump."],
    "retrieved_context_ids": ["d1", "d2"],
    "reference_contexts": ["100 days."],
}
ROW = {"query": QUERY, "text": "100 days.", "rank": 1, "cited": True, "signals": [{"signal": "clicked"}]}
LISTS = {"query": QUERY, "text": ["100 days."], "score": [0.5], "cited": [True]}
OTLP_SPAN = {
    "traceId": "t1",
    "spanId": "s1",
    "startTimeUnixNano": "1700000000000000000",
    "attributes": [
        {"key": "openinference.span.kind", "value": {"stringValue": "RETRIEVER"}},
        {"key": "input.value", "value": {"stringValue": QUERY}},
        {"key": "retrieval.documents.0.document.content", "value": {"stringValue": "100 days."}},
        {"key": "annotations.0.annotation.name", "value": {"stringValue": "helpful"}},
        {"key": "annotations.0.annotation.score", "value": {"intValue": "1"}},
        {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
    ],
}
OTLP = {"resourceSpans": [{"scopeSpans": [{"spans": [OTLP_SPAN]}]}]}
ANNOTATION: dict[str, Any] = {"span_id": "t1", "name": "relevance", "annotator_kind": "HUMAN", "result": {"score": 1}}
SCORE: dict[str, Any] = {"trace_id": "t1", "name": "helpful", "value": 1, "data_type": "NUMERIC", "source": "API"}
FEEDBACK: dict[str, Any] = {"run_id": "t1", "key": "helpful", "score": 1, "feedback_source": {"type": "app"}}

OBJECTS: dict[str, list[dict[str, Any]]] = {
    "openinference": [_span("t1"), OTLP],
    "langfuse": [_observation("t1"), DOWNLOAD],
    "langsmith": [_run("t1") | {"child_runs": [_run("t2")]}],
    "ragas": [SAMPLE],
    "trec-rag": [_answer("a")],
    "trec-rag-retrieval": [_results("q1")],
    "llamaindex": [{"queries": {"q1": QUERY}, "corpus": {"d1": "100 days."}, "relevant_docs": {"q1": ["d1"]}}],
    "table": [ROW, LISTS],
}
BESIDE: dict[str, dict[str, Any]] = {"openinference": ANNOTATION, "langfuse": SCORE, "langsmith": FEEDBACK}
ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", " ", "\ud800", "\x00", "9" * 5000, "²"),
    *([], {}, [[]], [None], {"a": None}, [{}], ["a", 1], [[{"page_content": "a"}, 1]], {"documents": 3}),
    *({"arrayValue": {"values": 3}}, {"intValue": "²"}, {"intValue": "9" * 5000}, '{"a": ', '{"messages": [1]}'),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    with Store(Path(":memory:")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("langsmith", _run("t1") | {"child_runs": 7}, "child_runs is not a list"),
        ("langfuse", DOWNLOAD | {"scores": 7}, "scores is not a list"),
        ("openinference", {"resourceSpans": 7}, "resourceSpans is not a list"),
        ("openinference", {"resourceSpans": [OTLP["resourceSpans"][0], 7]}, "resourceSpans[1] is not a JSON object"),
        ("openinference", {"resourceSpans": [{"scopeSpans": "s"}]}, "scopeSpans is not a list"),
        ("openinference", {"resourceSpans": [{"scopeSpans": [{"spans": ["s"]}]}]}, "spans[0] is not a JSON object"),
        ("trec-rag", _answer("a") | {"references": "d1"}, "references is not a list"),
        ("trec-rag", _answer("a") | {"answer": "100 days."}, "answer is not a list"),
        ("trec-rag", _answer("a") | {"answer": None}, "answer is missing"),
        ("trec-rag", _answer("a") | {"answer": ["100 days."]}, "answer[0] is not an object with text and citations"),
        ("trec-rag", _answer("a") | {"answer": [{"text": "a", "citations": 0}]}, "citations is not a list"),
        ("trec-rag-retrieval", _results("q1") | {"candidates": True}, "candidates is not a list"),
        ("ragas", SAMPLE | {"retrieved_contexts": [["a"], "b"]}, "retrieved[0].text: a list is not a string"),
        ("ragas", SAMPLE | {"reference_contexts": [["a"]]}, ".text: "),
        ("table", ROW | {"signals": 1.5}, "signals is not a list"),
        ("table", LISTS | {"signals": "clicked"}, "signals is not a list"),
    ],
)
def test_what_should_be_a_list_and_is_none_makes_the_line_bad(
    shared: Store, tmp_path: Path, name: str, line: dict[str, Any], message: str
) -> None:
    file = write_lines(tmp_path / "log.jsonl", [line])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    with pytest.raises(InvalidDataError) as refused:
        import_files(shared, [file], format=name, corpus=corpus)
    assert f"{file}:1: " in refused.value.message
    assert message in refused.value.message


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python handles what its reader of JSON takes")
def test_a_value_nested_too_deeply_to_be_handled_is_refused_by_file(shared: Store, tmp_path: Path) -> None:
    deep = '{"a": ' * 800 + "1" + "}" * 800
    file = write_text(tmp_path / "log.jsonl", json.dumps(ROW | {"note": "@"}).replace('"@"', deep) + "\n")
    with pytest.raises(InvalidDataError, match="nested too deeply") as refused:
        import_files(shared, [file], format="table")
    assert str(file) in refused.value.message


def test_a_score_that_is_no_number_counts_as_none_and_one_without_end_is_refused(store: Store, tmp_path: Path) -> None:
    spans = write_lines(tmp_path / "spans.jsonl", [_span("t1")])
    said = [ANNOTATION | {"result": {"score": score}} for score in (float("nan"), -(10**400))]
    import_files(store, [spans, write_lines(tmp_path / "said.jsonl", said)])
    kept = store.rows("SELECT signal, value FROM signals ORDER BY signal")
    assert [(row["signal"], row["value"]) for row in kept] == [("relevance", 1.0), ("relevance:-inf", 1.0)]
    endless = write_lines(tmp_path / "endless.jsonl", [ANNOTATION | {"result": {"score": 10**400}}])
    with pytest.raises(InvalidDataError, match=r"spans\.jsonl:1: signals\[0\]\.value"):
        import_files(store, [spans, endless])


def _places(value: Any, so_far: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401 (JSON)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*so_far, key)
        yield from _places(item, (*so_far, key))


def _spoilt(value: dict[str, Any], rng: Random) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(value))
    *way, last = rng.choice(list(_places(copied)))
    inner: Any = copied
    for key in way:
        inner = inner[key]
    inner[last] = rng.choice(ODD)
    return copied


@pytest.mark.parametrize("name", OBJECTS)
def test_odd_values_at_any_place_end_in_a_message_or_are_taken(shared: Store, tmp_path: Path, name: str) -> None:
    rng = Random(name)
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "100 days."}])
    taken = 0
    for _ in range(12):
        files = [write_lines(tmp_path / "log.jsonl", [_spoilt(rng.choice(OBJECTS[name]), rng)])]
        if name in BESIDE:
            files.append(write_lines(tmp_path / "beside.jsonl", [_spoilt(BESIDE[name], rng)]))
        with contextlib.suppress(UserError):
            import_files(shared, files, format=name, corpus=corpus)
            taken += 1
    assert taken < 12
