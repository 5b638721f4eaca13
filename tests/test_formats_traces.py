"""OpenInference, Langfuse and LangSmith: traces written by hand from their documentation."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError, UsageError
from store.ids import chunk_id
from tests.imported import stored, write_lines, write_text

FLEAS, JUMPS, TICKS = "A flea lives 100 days.", "Fleas jump far.", "Ticks wait on grass."
QUERY = "how long does a flea live?"


# ------------------------------------------------------------------------------------------------------- OpenInference


def _span(span_id: str, kind: str, parent: str | None = "root", **attributes: object) -> dict[str, Any]:
    return {
        "name": kind.lower(),
        "context": {"trace_id": "t1", "span_id": span_id},
        "span_kind": "INTERNAL",
        "parent_id": parent,
        "start_time": "2026-03-31T12:00:00.123456+00:00",
        "status_code": "OK",
        "attributes": {"openinference.span.kind": kind, **attributes},
        "events": [],
    }


def _documents(prefix: str, *documents: tuple[str, str | None, float]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for place, (name, text, score) in enumerate(documents):
        flat[f"{prefix}.{place}.document.id"] = name
        flat[f"{prefix}.{place}.document.score"] = score
        flat[f"{prefix}.{place}.document.metadata"] = json.dumps({"source": f"{name}.pdf", "title": name.upper()})
        if text is not None:
            flat[f"{prefix}.{place}.document.content"] = text
    return flat


def _trace() -> list[dict[str, Any]]:
    """A chain that retrieves three chunks, reranks them, and answers; spans arrive as they end, children first."""
    found = _documents("retrieval.documents", ("a", JUMPS, 0.9), ("b", FLEAS, 0.8), ("c", TICKS, 0.7))
    ranked = _documents("reranker.output_documents", ("b", FLEAS, 12.5), ("a", None, 3.25))
    return [
        _span("retrieve", "RETRIEVER", **{"input.value": QUERY, **found}),
        _span("rerank", "RERANKER", **{"reranker.query": QUERY, **ranked}),
        _span("llm", "LLM", **{"llm.output_messages.0.message.content": "a draft"}),
        _span("root", "CHAIN", None, **{"input.value": "a chat", "output.value": "It lives 100 days [1]."}),
    ]


def test_a_trace_becomes_one_interaction_in_the_order_of_its_reranker(store: Store, tmp_path: Path) -> None:
    (imported,) = import_files(store, [write_lines(tmp_path / "spans.jsonl", _trace())]).files
    assert imported.format == "openinference"
    (line,) = stored(store)
    assert line["query"] == QUERY
    assert line["answer"] == "It lives 100 days [1]."
    assert (line["interaction_id"], line["line"]) == ("t1", 1)
    assert line["time"] == datetime(2026, 3, 31, 12, 0, 0, 123456, tzinfo=UTC)
    assert [(c["chunk_id"], c["text"], c["score"]) for c in line["retrieved"]] == [
        ("b", FLEAS, 12.5),
        ("a", JUMPS, 3.25),  # the reranker logged no text of it
        ("c", TICKS, 0.7),  # the reranker dropped it
    ]
    assert line["retrieved"][0]["document"] == "b.pdf"
    assert line["cited"] == ["b"]
    assert imported.citations
    assert "so from 1; say --citations markers:0 if not" in imported.citations


def _nested(span: dict[str, Any]) -> dict[str, Any]:
    """The same span with its attributes as objects and lists, as some exporters unflatten them."""
    attributes: dict[str, Any] = {}
    for key, value in span["attributes"].items():
        here = attributes
        *path, last = key.split(".")
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
    for name in ("retrieval", "reranker"):
        for key, value in attributes.get(name, {}).items():
            if isinstance(value, dict):
                attributes[name][key] = [value[str(place)] for place in range(len(value))]
    return {**span, "attributes": attributes}


def _row(span: dict[str, Any]) -> dict[str, Any]:
    """The same span as a row of get_spans_dataframe."""
    documents: dict[str, Any] = {}
    for name in ("retrieval.documents", "reranker.output_documents"):
        found: dict[int, dict[str, Any]] = {}
        for key, value in span["attributes"].items():
            if key.startswith(f"{name}."):
                place, _, rest = key.removeprefix(f"{name}.").partition(".")
                found.setdefault(int(place), {})[rest] = json.loads(value) if rest.endswith("metadata") else value
        if found:
            documents[f"attributes.{name}"] = [found[place] for place in sorted(found)]
    plain = {f"attributes.{k}": v for k, v in span["attributes"].items() if "documents." not in k}
    return {
        "span_kind": span["attributes"]["openinference.span.kind"],
        "parent_id": span["parent_id"],
        "start_time": span["start_time"],
        "context.trace_id": "t1",
        "context.span_id": span["context"]["span_id"],
        **plain,
        **documents,
    }


def _otlp(spans: list[dict[str, Any]]) -> dict[str, Any]:
    def value(found: object) -> dict[str, Any]:
        return {"doubleValue": found} if isinstance(found, float) else {"stringValue": found}

    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "help desk"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "openinference"},
                        "spans": [
                            {
                                "traceId": "t1",
                                "spanId": span["context"]["span_id"],
                                "parentSpanId": span["parent_id"] or "",
                                "startTimeUnixNano": "1774958400123456000",
                                "attributes": [{"key": k, "value": value(v)} for k, v in span["attributes"].items()],
                            }
                            for span in spans
                        ],
                    }
                ],
            }
        ]
    }


def _parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    for row in rows:
        row["start_time"] = datetime.fromisoformat(row["start_time"])
    parquet.write_table(pa.Table.from_pylist(rows, _schema(rows)), file)
    return file


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    tables = [pa.Table.from_pylist([row]).schema for row in rows]
    return pa.unify_schemas(tables, promote_options="permissive")


def test_the_same_trace_is_the_same_interaction_in_every_envelope(store: Store, tmp_path: Path) -> None:
    spans = _trace()
    rest = {"data": [{"id": "U3BhbjoxNQ==", **span} for span in spans], "next_cursor": None}
    rows = [_row(span) for span in spans]
    files = [
        write_lines(tmp_path / "flat.jsonl", spans),
        write_lines(tmp_path / "nested.jsonl", map(_nested, spans)),
        write_lines(tmp_path / "rest.json", [rest]),
        write_text(tmp_path / "pretty.json", json.dumps(rest, indent=2)),
        write_text(tmp_path / "console.json", "\n".join(json.dumps(span, indent=4) for span in spans)),
        write_text(tmp_path / "array.json", json.dumps(spans)),
        write_lines(tmp_path / "frame.jsonl", rows),
        _parquet(tmp_path / "frame.parquet", [dict(row) for row in rows]),
    ]
    results = [import_files(store, [file]).files[0] for file in files]
    assert [r.format for r in results] == ["openinference"] * len(files)
    assert [(r.interactions, r.known) for r in results] == [(1, 0)] + [(0, 1)] * (len(files) - 1)
    (otlp,) = import_files(store, [write_lines(tmp_path / "otlp.jsonl", [_otlp(spans)])]).files
    assert otlp.interactions == 1  # another one, since it says where it comes from
    assert {line.get("source") for line in stored(store)} == {None, "help desk"}


def test_annotations_are_signals_with_their_source_and_time(store: Store, tmp_path: Path) -> None:
    spans = _trace()
    spans[3]["attributes"] |= {
        "annotations.0.annotation.name": "hallucination",
        "annotations.0.annotation.label": "factual",
        "annotations.0.annotation.annotator_kind": "LLM",
        "annotations.0.annotation.identifier": "judge-v2",
        "evaluations.0.evaluation.name": "quality",
        "evaluations.0.evaluation.score": 0.5,
    }
    spans[2]["events"] = [
        {
            "name": "gen_ai.evaluation.result",
            "timestamp": "2026-03-31T12:00:05Z",
            "attributes": {"gen_ai.evaluation.name": "thumbs", "gen_ai.evaluation.score.value": 0},
        }
    ]
    beside = [
        {
            "span_id": "retrieve",
            "document_position": 1,
            "name": "relevance",
            "annotator_kind": "HUMAN",
            "result": {"label": "relevant", "score": 1},
            "created_at": "2026-04-01T08:00:00Z",
            "user_id": "ana",
        },
        {"span_id": "elsewhere", "name": "relevance", "annotator_kind": "HUMAN", "result": {"score": 1}},
    ]
    notes = write_lines(tmp_path / "annotations.jsonl", beside)
    import_files(store, [write_lines(tmp_path / "spans.jsonl", spans), notes])
    (line,) = stored(store)
    assert line["signals"] == [
        {"signal": "hallucination:factual", "value": 1.0, "source": "LLM:judge-v2"},
        {"signal": "quality", "value": 0.5},
        {
            "signal": "relevance:relevant",
            "chunk_id": "b",
            "value": 1.0,
            "time": datetime(2026, 4, 1, 8, tzinfo=UTC),
            "source": "HUMAN:ana",
        },
        {"signal": "thumbs:0", "value": 1.0, "time": datetime(2026, 3, 31, 12, 0, 5, tzinfo=UTC)},
    ]


def test_documents_come_in_the_order_of_their_numbers_however_large(store: Store, tmp_path: Path) -> None:
    found = _documents("retrieval.documents", ("a", FLEAS, 3.0), ("b", JUMPS, 2.0), ("c", TICKS, 1.0))
    places = {"0": "9" * 5000, "1": "10000", "2": "9"}
    moved = {
        ".".join([*key.split(".")[:2], places[key.split(".")[2]], *key.split(".")[3:]]): v for key, v in found.items()
    }
    import_files(
        store, [write_lines(tmp_path / "s.jsonl", [_span("s", "RETRIEVER", **{"input.value": QUERY, **moved})])]
    )
    assert [chunk["chunk_id"] for chunk in stored(store)[0]["retrieved"]] == ["c", "b", "a"]


def test_a_query_that_several_retrievers_were_asked_is_one_list(store: Store, tmp_path: Path) -> None:
    first = _documents("retrieval.documents", ("a", FLEAS, 3.0), ("b", JUMPS, 2.0))
    second = _documents("retrieval.documents", ("c", TICKS, 0.9), ("a", FLEAS, 0.8))
    other = _documents("retrieval.documents", ("d", "Other.", 1.0))
    spans = [
        _span("bm25", "RETRIEVER", None, **{"input.value": QUERY, **first}),
        _span("dense", "RETRIEVER", None, **{"input.value": json.dumps({"query": QUERY}), **second}),
        _span("more", "RETRIEVER", None, **{"input.value": "another question", **other}),
    ]
    import_files(store, [write_lines(tmp_path / "spans.jsonl", spans)])
    lines = {line["query"]: line for line in stored(store)}
    assert [c["chunk_id"] for c in lines[QUERY]["retrieved"]] == ["a", "c", "b"]
    assert (lines[QUERY]["interaction_id"], lines["another question"]["interaction_id"]) == ("t1", "t1/2")


def test_a_chunk_without_an_id_is_named_by_its_text(store: Store, tmp_path: Path) -> None:
    span = _span("r", "RETRIEVER", None, **{"input.value": QUERY, "retrieval.documents.0.document.content": FLEAS})
    import_files(store, [write_lines(tmp_path / "spans.jsonl", [span])])
    assert stored(store)[0]["retrieved"][0]["chunk_id"] == chunk_id(FLEAS)


def _cycle() -> list[dict[str, Any]]:
    spans = _trace()
    spans[3]["parent_id"] = "retrieve"
    return spans


def _contradicting() -> list[dict[str, Any]]:
    spans = _trace()
    return [*spans, {**spans[0], "parent_id": None}]


def _number_as_string() -> list[dict[str, Any]]:
    spans = _trace()
    spans[0]["attributes"]["retrieval.documents.2.document.score"] = "0.9"
    return spans


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        (_cycle(), "the parents of its spans form a circle: retrieve -> root -> retrieve"),
        (_contradicting(), 'line 5: span "retrieve" says something else in line 1'),
        (_number_as_string(), 'score: "0.9" is not a number'),
        ([{**_trace()[0], "context": {"span_id": "x"}}], "a span without trace_id and span_id"),
        ([{**_trace()[0], "start_time": "2206-01-01T00:00:00Z"}], "is not between 1970 and 2100"),
        ([{**_trace()[0], "start_time": 1774958400}], "is no time; write ISO 8601"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said_and_nothing_imported(
    store: Store, tmp_path: Path, spans: list[dict[str, Any]], message: str
) -> None:
    good = {**_trace()[0], "context": {"trace_id": "t0", "span_id": "good"}, "parent_id": None}
    file = write_lines(tmp_path / "spans.jsonl", [*spans, good])
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert message in refused.value.message
    assert f"{file}:1: " in refused.value.message
    assert not stored(store)
    assert import_files(store, [file], skip_invalid=True).interactions == 1


def test_an_annotation_of_a_document_that_there_is_not_is_named(store: Store, tmp_path: Path) -> None:
    note = {
        "span_id": "retrieve",
        "document_position": 3,
        "name": "n",
        "annotator_kind": "HUMAN",
        "result": {"score": 1},
    }
    files = [write_lines(tmp_path / "s.jsonl", _trace()), write_lines(tmp_path / "n.jsonl", [note])]
    with pytest.raises(InvalidDataError, match='"n" is about document 3 of span "retrieve", which has 3'):
        import_files(store, files)


def test_a_span_that_was_exported_twice_counts_once(store: Store, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "spans.jsonl", [*_trace(), *_trace()])
    assert import_files(store, [file]).interactions == 1


def test_traces_without_a_retriever_say_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="1 traces, and in none of them a retriever"):
        import_files(store, [write_lines(tmp_path / "spans.jsonl", _trace()[2:])])


# ------------------------------------------------------------------------------------------------------------ Langfuse


def _observation(name: str, kind: str, parent: str = "", **fields: object) -> dict[str, Any]:
    return {
        "id": name,
        "trace_id": "t1",
        "project_id": "p",
        "environment": "production",
        "type": kind,
        "parent_observation_id": parent,
        "start_time": "2026-03-31 12:00:00.123000",
        "end_time": None,
        "name": name,
        "input": "",
        "output": "",
        **fields,
    }


def _observations() -> list[dict[str, Any]]:
    documents = [
        {"page_content": JUMPS, "metadata": {"source": "fleas.pdf", "id": "a"}, "type": "Document"},
        {"page_content": FLEAS, "metadata": {"source": "fleas.pdf", "id": "b", "score": 0.5}, "type": "Document"},
    ]
    return [
        _observation("root", "SPAN", input=json.dumps({"q": QUERY}), output='"Days: 100 [1]."', trace_name="chat"),
        _observation("search", "RETRIEVER", "root", input=json.dumps({"query": QUERY}), output=json.dumps(documents)),
        _observation("llm", "GENERATION", "root", output=json.dumps({"content": "draft"})),
    ]


def test_langfuse_observations_and_scores_become_an_interaction(store: Store, tmp_path: Path) -> None:
    scores = [
        _score("helpful", 1, "BOOLEAN", "ANNOTATION", author_user_id="bob"),
        _score("tone", 2, "CATEGORICAL", "EVAL", string_value="friendly", observation_id="llm"),
        _score("stars", 4.5, "NUMERIC", "API"),
        _score("elsewhere", 1, "NUMERIC", "API", trace_id="t9"),
    ]
    observations = write_lines(tmp_path / "observations.jsonl", _observations())
    result = import_files(store, [write_lines(tmp_path / "scores.jsonl", scores), observations])
    assert [file.format for file in result.files] == ["langfuse"]
    (line,) = stored(store)
    assert (line["query"], line["answer"], line["source"]) == (QUERY, "Days: 100 [1].", "production")
    assert [(c["chunk_id"], c["text"], c["document"]) for c in line["retrieved"]] == [
        ("a", JUMPS, "fleas.pdf"),
        ("b", FLEAS, "fleas.pdf"),
    ]
    assert line["retrieved"][1]["score"] == 0.5
    assert line["time"] == datetime(2026, 3, 31, 12, 0, 0, 123000, tzinfo=UTC)
    assert line["cited"] == ["a"]
    when = datetime(2026, 4, 1, tzinfo=UTC)
    assert line["signals"] == [
        {"signal": "helpful:true", "value": 1.0, "time": when, "source": "ANNOTATION:bob"},
        {"signal": "stars", "value": 4.5, "time": when, "source": "API"},
        {"signal": "tone:friendly", "value": 1.0, "time": when, "source": "EVAL"},
    ]


def _score(name: str, value: float, kind: str, source: str, **fields: object) -> dict[str, Any]:
    told = {"id": f"s-{name}", "timestamp": "2026-04-01 00:00:00.000000", "trace_id": "t1", "observation_id": None}
    return {**told, "name": name, "value": value, "source": source, "data_type": kind, "string_value": None, **fields}


def test_a_downloaded_langfuse_trace_answers_by_its_own_output(store: Store, tmp_path: Path) -> None:
    camel = {"trace_id": "traceId", "parent_observation_id": "parentObservationId", "start_time": "startTime"}
    observations = [{camel.get(k, k): v for k, v in o.items()} for o in _observations()[1:]]
    for observation in observations:
        observation["parentObservationId"] = None
        observation["startTime"] = "2026-03-31T12:00:00.123Z"
    score = {"name": "helpful", "value": 0, "dataType": "BOOLEAN", "source": "API", "timestamp": "2026-04-01T00:00:00Z"}
    trace = {"id": "t1", "name": "chat", "timestamp": "2026-03-31T12:00:00Z", "output": {"answer": "It is 100 [2]."}}
    for download in ({**trace, "observations": observations, "scores": [score]},):
        file = write_text(tmp_path / "trace-t1.json", json.dumps(download, indent=2))
        (imported,) = import_files(store, [file]).files
        assert imported.format == "langfuse"
    (line,) = stored(store)
    assert (line["answer"], line["cited"]) == ("It is 100 [2].", ["b"])
    assert [(s["signal"], s["source"]) for s in line["signals"]] == [("helpful:false", "API")]


def test_parts_of_a_downloaded_langfuse_trace_that_are_no_objects_are_rejected_with_the_reason(
    store: Store, tmp_path: Path
) -> None:
    odd = {"observations": ["search", *_observations(), None, [1]], "scores": [7, {"name": "helpful", "value": 1}]}
    file = write_text(tmp_path / "trace-t1.json", json.dumps({"id": "t1", "name": "chat", **odd}))
    (imported,) = import_files(store, [file], skip_invalid=True).files
    assert (imported.interactions, imported.rejected) == (1, 4)
    assert [signal["signal"] for signal in stored(store)[0]["signals"]] == ["helpful"]
    rejected = [json.loads(line) for line in imported.rejects.read_text("utf-8").splitlines()]
    assert {line["errors"][0]: line["raw"] for line in rejected} == {
        "observations[0] is not a JSON object": '"search"',
        "observations[4] is not a JSON object": "null",
        "observations[5] is not a JSON object": "[1]",
        "scores[0] is not a JSON object": "7",
    }


def test_langfuse_observations_come_in_parquet_too(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "observations.parquet"
    parquet.write_table(pa.Table.from_pylist(_observations(), _schema(_observations())), file)
    assert [f.format for f in import_files(store, [file]).files] == ["langfuse"]
    assert len(stored(store)) == 1


# ----------------------------------------------------------------------------------------------------------- LangSmith


def _run(run_id: str, kind: str, parent: str | None = "root", **fields: object) -> dict[str, Any]:
    told = {"id": run_id, "name": run_id, "run_type": kind, "trace_id": "root", "parent_run_id": parent}
    return {**told, "start_time": "2026-03-31T12:00:00.123456", "session_name": "help desk", **fields}


def _runs() -> list[dict[str, Any]]:
    documents = [
        {"page_content": JUMPS, "type": "Document", "metadata": {"chunk_id": "a", "document_id": "fleas"}},
        {"page_content": FLEAS, "type": "Document", "metadata": {"chunk_id": "b", "document_id": "fleas"}},
    ]
    asked = {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a chat"}]}
    return [
        _run("root", "chain", None, inputs=asked, outputs={"answer": "It lives 100 days [2]."}),
        _run("search", "retriever", inputs={"query": QUERY}, outputs={"documents": documents}),
        _run("llm", "llm", inputs=asked, outputs={"messages": [{"role": "assistant", "content": "draft"}]}),
    ]


def test_langsmith_runs_and_feedback_become_an_interaction(store: Store, tmp_path: Path) -> None:
    feedback = [
        {
            "id": "f1",
            "run_id": "root",
            "key": "user_score",
            "score": 0,
            "value": None,
            "created_at": "2026-04-01T00:00:00+00:00",
            "feedback_source": {"type": "app", "user_name": "ana"},
        },
        {"run_id": "llm", "key": "correctness", "score": True, "value": None},
        {"run_id": "search", "key": "coverage", "score": None, "value": "partial"},
    ]
    files = [write_lines(tmp_path / "runs.jsonl", _runs()), write_lines(tmp_path / "feedback.jsonl", feedback)]
    result = import_files(store, files)
    assert [file.format for file in result.files] == ["langsmith"]
    (line,) = stored(store)
    assert (line["query"], line["answer"], line["source"]) == (QUERY, "It lives 100 days [2].", "help desk")
    assert [(c["chunk_id"], c["document"]) for c in line["retrieved"]] == [("a", "fleas"), ("b", "fleas")]
    assert line["cited"] == ["b"]
    assert [(s["signal"], s.get("source")) for s in line["signals"]] == [
        ("correctness:true", None),
        ("coverage:partial", None),
        ("user_score:0", "app:ana"),
    ]


def test_nested_langsmith_runs_and_those_of_a_bulk_export_are_the_same(store: Store, tmp_path: Path) -> None:
    root, *children = _runs()
    nested = {**root, "child_runs": children}
    bulk = tmp_path / "runs.parquet"
    rows = [{**r, "inputs": json.dumps(r["inputs"]), "outputs": json.dumps(r["outputs"])} for r in _runs()]
    parquet.write_table(pa.Table.from_pylist(rows), bulk)
    files = [write_text(tmp_path / "nested.json", json.dumps([nested], indent=2)), bulk]
    results = [import_files(store, [file]).files[0] for file in files]
    assert [(r.format, r.interactions, r.known) for r in results] == [("langsmith", 1, 0), ("langsmith", 0, 1)]


@pytest.mark.parametrize("name", ["annotations", "scores", "feedback"])
def test_what_was_said_of_spans_says_nothing_without_them(store: Store, tmp_path: Path, name: str) -> None:
    said = {
        "annotations": {"span_id": "s", "name": "n", "annotator_kind": "HUMAN", "result": {"score": 1}},
        "scores": _score("helpful", 1, "BOOLEAN", "API"),
        "feedback": {"run_id": "r", "key": "k", "score": 1},
    }
    with pytest.raises(UsageError, match=f"{name}, which say more about another file"):
        import_files(store, [write_lines(tmp_path / "said.jsonl", [said[name]])])


def _retrieving(*documents: dict[str, Any]) -> dict[str, Any]:
    flat = {
        f"retrieval.documents.{place}.document.{key}": value
        for place, document in enumerate(documents)
        for key, value in document.items()
    }
    attributes = {"openinference.span.kind": "RETRIEVER", "input.value": QUERY, **flat}
    return {"context": {"trace_id": "t", "span_id": "s"}, "parent_id": None, "attributes": attributes}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (({"id": "a", "content": "100 days."}, {"id": "a", "content": "Far."}), 'chunk "a" has two texts'),
        (({"content": 7},), "text: 7 is not a string"),
    ],
)
def test_a_document_whose_text_is_lost_or_none_makes_the_line_bad(
    store: Store, tmp_path: Path, documents: tuple[dict[str, Any], ...], message: str
) -> None:
    with pytest.raises(InvalidDataError, match=message):
        import_files(store, [write_lines(tmp_path / "spans.jsonl", [_retrieving(*documents)])])


def test_langfuse_observations_whose_parents_form_a_circle_are_named(store: Store, tmp_path: Path) -> None:
    asked = _observation("search", "RETRIEVER", "chain", input=QUERY, output=[{"page_content": FLEAS}])
    around = _observation("chain", "SPAN", "search", input=QUERY, output="100 days.")
    told = "the parents of its spans form a circle: search -> chain -> search"
    for name, content in (
        ("export.jsonl", "\n".join(map(json.dumps, (asked, around)))),
        ("trace.json", json.dumps({"id": "t1", "observations": [asked, around]})),
    ):
        file = write_text(tmp_path / name, content)
        with pytest.raises(InvalidDataError) as refused:
            import_files(store, [file])
        assert f"{file}:1: {told}" in refused.value.message
    assert not stored(store)


def test_langsmith_runs_whose_parents_form_a_circle_are_named(store: Store, tmp_path: Path) -> None:
    root, search, llm = _runs()
    file = write_lines(tmp_path / "runs.jsonl", [root | {"parent_run_id": "llm"}, search, llm])
    with pytest.raises(InvalidDataError, match="the parents of its spans form a circle: root -> llm -> root"):
        import_files(store, [file])
    itself = write_lines(tmp_path / "itself.jsonl", [search | {"parent_run_id": "search"}])
    with pytest.raises(InvalidDataError, match="the parents of its spans form a circle: search -> search"):
        import_files(store, [itself])
    assert not stored(store)


@pytest.mark.parametrize("depth", [100, 101, 120])
def test_langsmith_runs_within_runs_are_read_up_to_a_depth_that_is_said(
    store: Store, tmp_path: Path, depth: int
) -> None:
    found = _runs()[1] | {"parent_run_id": None, "trace_id": None}
    for n in reversed(range(depth)):
        found = {"id": f"r{n}", "run_type": "chain", "inputs": {}, "outputs": {}, "child_runs": [found]}
    file = write_lines(tmp_path / "runs.jsonl", [found])
    if depth == 100:
        assert import_files(store, [file]).interactions == 1
        return
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f'{file}:1: run "r100" stands 100 runs deep and has child_runs; those are not read' in refused.value.message
    assert not stored(store)


def test_a_langsmith_child_that_is_no_run_is_named(store: Store, tmp_path: Path) -> None:
    root, *children = _runs()
    file = write_lines(tmp_path / "runs.jsonl", [root | {"child_runs": [*children, "llm"]}])
    with pytest.raises(InvalidDataError, match=r"runs\.jsonl:1: child_runs\[2\] is not a run"):
        import_files(store, [file])
