"""Interactions written in a format and read back are the interactions that were written, as far as it carries them."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mining.citations import marks
from mining.corpus import opened_corpus
from mining.formats.reading import opened_reading
from mining.formats.recognise import Plan, given_of, planned
from mining.import_log import import_frame
from mining.read_interaction import CITED, read_interaction
from store.database import Store
from store.interactions import Interaction, Signal
from store.progress import silent
from tests.imported import write_lines, write_text


@dataclass(frozen=True)
class Logged:
    """An interaction that any format could have logged: chunks as (id, score), best first."""

    number: int
    query: str
    answer: str
    time: datetime
    source: str
    chunks: tuple[tuple[str, float], ...]
    cited: tuple[str, ...]
    signals: tuple[Signal, ...]  # beside `cited`


@dataclass(frozen=True)
class Log:
    """`more` maps a chunk to those of its document, title and kind that it has."""

    texts: dict[str, str]  # chunk id -> text
    more: dict[str, dict[str, str]]
    interactions: tuple[Logged, ...]

    def of_documents(self, name: str) -> dict[str, str]:
        """The document and the title of a chunk."""
        return {key: value for key, value in self.more[name].items() if key != "kind"}


def _is_name(text: str) -> bool:
    return text.split() == [text] and "\x00" not in text


def _is_no_list(text: str) -> bool:
    return not text.startswith("[")  # which a cell of CSV may be


_texts = st.text(min_size=1, max_size=15).filter(lambda text: text.strip() and "\x00" not in text)
_names = st.text(min_size=1, max_size=6).filter(_is_name)
_scores = st.floats(allow_nan=False, allow_infinity=False).map(lambda score: score + 0.0)
_amounts = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
_moments = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))
_more = st.fixed_dictionaries(
    {},
    optional={
        "document": _names.filter(_is_no_list),
        "title": _texts.filter(_is_no_list),
        "kind": st.sampled_from(["table", "image summary"]),
    },
)


@st.composite
def _logs(draw: st.DrawFn) -> Log:
    texts = dict(draw(st.lists(st.tuples(_names, _texts), max_size=5, unique_by=(lambda p: p[0], lambda p: p[1]))))
    interactions = []
    for number in range(draw(st.integers(1, 3))):
        listed = draw(st.lists(st.sampled_from(sorted(texts)), unique=True)) if texts else []
        chunks = tuple((name, draw(_scores)) for name in listed)
        cited = tuple(draw(st.lists(st.sampled_from(listed), unique=True))) if listed else ()
        answer = draw(_texts.filter(lambda text: not marks(text)))
        source = draw(_names.filter(_is_no_list))
        about = st.none() | st.sampled_from(listed) if listed else st.none()
        said = st.builds(
            Signal, _names.filter(lambda name: name != CITED), about, _amounts, st.none() | _moments, st.none() | _names
        )
        signals = tuple(draw(st.lists(said, max_size=2)))
        interactions.append(Logged(number, draw(_texts), answer, draw(_moments), source, chunks, cited, signals))
    return Log(texts, {name: draw(_more) for name in texts}, tuple(interactions))


def _as_told(signal: Signal) -> dict[str, Any]:
    time = signal.happened_at.isoformat() if signal.happened_at else None
    told = {"signal": signal.name, "chunk_id": signal.chunk, "value": signal.value}
    return {**told, "time": time, "source": signal.source}


def _beside(file: Path, notes: list[dict[str, Any]]) -> list[Path]:
    """Write what was said of spans or runs; where nothing was said, there is no file."""
    return [write_lines(file, notes)] if notes else []


# --------------------------------------------------------------------------------------- the writers, one for a format


def _uncited(folder: Path, log: Log) -> list[Path]:
    lines = [
        {
            "query_id": f"q{i.number}",
            "query": i.query,
            "answer": i.answer,
            "time": i.time.isoformat(),
            "source": i.source,
            "retrieved": [
                {"chunk_id": name, "rank": rank, "score": score, "text": log.texts[name], **log.more[name]}
                for rank, (name, score) in enumerate(i.chunks, 1)
            ],
            "cited": list(i.cited),
            "signals": [_as_told(signal) for signal in i.signals],
        }
        for i in log.interactions
    ]
    return [write_lines(folder / "log.jsonl", lines)]


def _openinference(folder: Path, log: Log) -> list[Path]:
    spans, notes = [], []
    for i in log.interactions:
        context = {"trace_id": f"t{i.number}"}
        common = {"start_time": i.time.isoformat(), "resource": {"attributes": {"service.name": i.source}}}
        found: dict[str, object] = {"openinference.span.kind": "RETRIEVER"}
        found |= {"input.value": i.query, "input.mime_type": "text/plain"}
        for place, (name, score) in enumerate(i.chunks):
            document = {"id": name, "score": score, "content": log.texts[name]}
            document["metadata"] = json.dumps(log.of_documents(name))
            found |= {f"retrieval.documents.{place}.document.{key}": value for key, value in document.items()}
        root = {"openinference.span.kind": "CHAIN", "output.value": i.answer, "output.mime_type": "text/plain"}
        outer, inner = f"root{i.number}", f"r{i.number}"
        spans += [
            {"context": {**context, "span_id": inner}, "parent_id": outer, **common, "attributes": found},
            {"context": {**context, "span_id": outer}, "parent_id": None, **common, "attributes": root},
        ]
        places = {name: place for place, (name, _) in enumerate(i.chunks)}
        for told in map(_as_told, i.signals):
            about = {"span_id": inner, "document_position": places[told["chunk_id"]]} if told["chunk_id"] else {}
            said = {"name": told["signal"], "annotator_kind": told["source"], "result": {"score": told["value"]}}
            notes.append({"span_id": outer, **about, **said, "updated_at": told["time"]})
    return [write_lines(folder / "spans.jsonl", spans), *_beside(folder / "annotations.jsonl", notes)]


def _documents(log: Log, i: Logged) -> list[dict[str, Any]]:
    return [
        {
            "page_content": log.texts[name],
            "metadata": {"id": name, "score": score, **log.of_documents(name)},
            "type": "Document",
        }
        for name, score in i.chunks
    ]


def _langfuse(folder: Path, log: Log) -> list[Path]:
    rows, scores = [], []
    for i in log.interactions:
        common = {"trace_id": f"t{i.number}", "start_time": i.time.strftime("%Y-%m-%d %H:%M:%S.%f")}
        found = {"input": json.dumps({"query": i.query}), "output": json.dumps(_documents(log, i))}
        named = {"id": f"r{i.number}", "type": "RETRIEVER", "trace_name": i.source}
        rows.append({**named, "parent_observation_id": f"s{i.number}", **common, **found})
        told = {"input": "", "output": json.dumps(i.answer), "parent_observation_id": ""}
        rows.append({"id": f"s{i.number}", "type": "SPAN", **common, **told})
        for said in (_as_told(signal) for signal in i.signals if signal.chunk is None):
            about = {"trace_id": f"t{i.number}", "data_type": "NUMERIC", "timestamp": said["time"]}
            scores.append({**about, "name": said["signal"], "value": said["value"], "source": said["source"]})
    return [write_lines(folder / "observations.jsonl", rows), *_beside(folder / "scores.jsonl", scores)]


def _langsmith(folder: Path, log: Log) -> list[Path]:
    runs, feedback = [], []
    for i in log.interactions:
        common = {"start_time": i.time.isoformat(), "session_name": i.source}
        found = {"inputs": {"query": i.query}, "outputs": {"documents": _documents(log, i)}}
        child = {"id": f"r{i.number}", "run_type": "retriever", **common, **found}
        told = {"inputs": {}, "outputs": {"answer": i.answer}, **common}
        runs.append({"id": f"t{i.number}", "run_type": "chain", "child_runs": [child], **told})
        for said in (_as_told(signal) for signal in i.signals if signal.chunk is None):
            about = {"run_id": f"t{i.number}", "modified_at": said["time"], "feedback_source": {"type": said["source"]}}
            feedback.append({**about, "key": said["signal"], "score": said["value"]})
    written = write_text(folder / "runs.json", json.dumps(runs, indent=2))
    return [written, *_beside(folder / "feedback.jsonl", feedback)]


def _answers(folder: Path, log: Log) -> list[Path]:
    lines = []
    for i in log.interactions:
        references = [name for name, _ in i.chunks]
        cited = [references.index(name) for name in i.cited]
        sentences = [{"text": i.answer, "citations": cited}]
        told = {"run_id": i.source, "topic_id": f"q{i.number}", "topic": i.query}
        lines.append({**told, "references": references, "answer": sentences})
    return [write_lines(folder / "answers.jsonl", lines)]


def _results(folder: Path, log: Log) -> list[Path]:
    lines = [
        {
            "query": {"qid": f"q{i.number}", "text": i.query},
            "candidates": [
                {"docid": name, "score": score, "doc": {"segment": log.texts[name], **log.of_documents(name)}}
                for name, score in i.chunks
            ],
        }
        for i in log.interactions
    ]
    return [write_lines(folder / "results.jsonl", lines)]


def _trec(folder: Path, log: Log) -> list[Path]:
    rows = [
        f"q{i.number} Q0 {name} {rank} {score!r} {i.source}\n"
        for i in log.interactions
        for rank, (name, score) in enumerate(i.chunks, 1)
    ]
    queries = [{"_id": f"q{i.number}", "text": i.query} for i in log.interactions]
    return [write_text(folder / "run.txt", "".join(rows)), write_lines(folder / "queries.jsonl", queries)]


def _beir(folder: Path, log: Log) -> list[Path]:
    queries = [{"_id": f"q{i.number}", "text": i.query} for i in log.interactions] + [{"_id": "other", "text": "?"}]
    grades = "".join(f"q{i.number}\t{name}\t1\n" for i in log.interactions for name, _ in i.chunks)
    write_lines(folder / "beir" / "corpus.jsonl", _corpus(log))
    write_lines(folder / "beir" / "queries.jsonl", queries)
    write_text(folder / "beir" / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\n{grades}")
    return [folder / "beir"]


def _beir_with_a_run(folder: Path, log: Log) -> list[Path]:
    run, _ = _trec(folder, log)
    return [*_beir(folder, log), run]


def _ragas(folder: Path, log: Log) -> list[Path]:
    samples = [
        {
            "user_input": i.query,
            "response": i.answer,
            "retrieved_contexts": [log.texts[name] for name, _ in i.chunks],
            "retrieved_context_ids": [name for name, _ in i.chunks],
        }
        for i in log.interactions
    ]
    return [write_lines(folder / "samples.jsonl", samples)]


def _llamaindex(folder: Path, log: Log) -> list[Path]:
    data = {
        "queries": {f"q{i.number}": i.query for i in log.interactions},
        "corpus": log.texts,
        "relevant_docs": {f"q{i.number}": [name for name, _ in i.chunks] for i in log.interactions},
    }
    return [write_text(folder / "data.json", json.dumps(data, indent=4))]


def _lists(log: Log) -> list[dict[str, Any]]:
    return [
        {
            "query_id": f"q{i.number}",
            "query": i.query,
            "answer": i.answer,
            "time": i.time.isoformat(),
            "source": i.source,
            "chunk_id": [name for name, _ in i.chunks],
            "text": [log.texts[name] for name, _ in i.chunks],
            "score": [score for _, score in i.chunks],
            **{key: [log.more[name].get(key) for name, _ in i.chunks] for key in ("document", "title", "kind")},
            "cited": list(i.cited),
            "signals": [_as_told(signal) for signal in i.signals],
        }
        for i in log.interactions
    ]


def _json_table(folder: Path, log: Log) -> list[Path]:
    return [write_lines(folder / "log.jsonl", _lists(log))]


def _table(log: Log) -> pa.Table:
    names = pa.list_(pa.string())
    told = [(key, pa.string()) for key in ("signal", "chunk_id", "time", "source")]
    schema = [(key, pa.string()) for key in ("query_id", "query", "answer", "source")]
    schema += [(key, names) for key in ("chunk_id", "text", "document", "title", "kind", "cited")]
    schema += [("time", pa.timestamp("us")), ("score", pa.list_(pa.float64()))]
    schema += [("signals", pa.list_(pa.struct([*told, ("value", pa.float64())])))]
    rows = [{**row, "time": i.time} for row, i in zip(_lists(log), log.interactions, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def _parquet(folder: Path, log: Log) -> list[Path]:
    file = folder / "log.parquet"
    parquet.write_table(_table(log), file)
    return [file]


def _hf_dataset(folder: Path, log: Log) -> list[Path]:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset(_table(log)).save_to_disk(str(folder / "log"))
    return [folder / "log"]


def _csv(folder: Path, log: Log) -> list[Path]:
    file = folder / "log.csv"
    chunk = ("document", "title", "kind")
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        of_interaction = ["query_id", "query", "answer", "time", "source", "signals"]
        writer.writerow([*of_interaction, "chunk_id", "text", "rank", "score", "cited", *chunk])
        for i in log.interactions:
            said = json.dumps([_as_told(signal) for signal in i.signals])
            told = [f"q{i.number}", i.query, i.answer, i.time.isoformat(), i.source, said]
            for rank, (name, score) in enumerate(i.chunks, 1):
                cited = "yes" if name in i.cited else "no"
                more = [log.more[name].get(key, "") for key in chunk]
                writer.writerow([*told, name, log.texts[name], rank, repr(score), cited, *more])
            if not i.chunks:
                writer.writerow([*told, *[""] * 8])
    return [file]


def _csv_of_lists(folder: Path, log: Log) -> list[Path]:
    rows = _lists(log)
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: json.dumps(cell) if isinstance(cell, list) else cell for key, cell in row.items()})
    return [folder / "log.csv"]


_OF_DOCUMENTS = {"document", "title"}
_ALL = {"query_id", "query", "answer", "time", "source", "cited", "score", "kind", "signals", *_OF_DOCUMENTS}
_OF_TRACES = {"query", "answer", "time", "source", "score", *_OF_DOCUMENTS}  # and what was said of the interaction
FORMATS: dict[str, tuple[Callable[[Path, Log], list[Path]], str, set[str]]] = {
    "uncited": (_uncited, "uncited", _ALL),
    "openinference": (_openinference, "openinference", {*_OF_TRACES, "signals"}),
    "langfuse": (_langfuse, "langfuse", {*_OF_TRACES, "about the whole"}),
    "langsmith": (_langsmith, "langsmith", {*_OF_TRACES, "about the whole"}),
    "trec-rag": (_answers, "trec-rag", {"query_id", "query", "answer", "source", "cited", "title", "kind"}),
    "trec-rag-retrieval": (_results, "trec-rag-retrieval", {"query_id", "query", "score", "title"}),
    "trec": (_trec, "trec", {"query_id", "query", "source", "score", "kind", *_OF_DOCUMENTS}),
    "beir": (_beir, "beir", {"query_id", "query", "title"}),
    "beir with a run": (_beir_with_a_run, "trec", {"query_id", "query", "source", "score", "title"}),
    "ragas": (_ragas, "ragas", {"query", "answer"}),
    "llamaindex": (_llamaindex, "llamaindex", {"query_id", "query"}),
    "json table": (_json_table, "table", _ALL),
    "parquet": (_parquet, "table", _ALL),
    "hf-dataset": (_hf_dataset, "hf-dataset", _ALL),
    "csv": (_csv, "table", _ALL),
    "csv of lists": (_csv_of_lists, "table", _ALL),
}


# -------------------------------------------------------------------------------------------- reading, and what is said


def _read(files: list[Path], corpus: Path) -> Iterator[tuple[str, Interaction]]:
    with planned(files, "auto", {}, None) as plan:
        yield from _read_plan(plan, corpus)


def _read_plan(plan: Plan, corpus: Path) -> Iterator[tuple[str, Interaction]]:
    with opened_corpus(plan.corpus or corpus) as texts:
        told, beside = given_of(plan, {})
        for found in plan.mains:
            assert not found.refusal
            with opened_reading(found, told, beside, texts) as reading:
                for line in reading.lines(silent):
                    assert line.problem is None
                    value = json.loads(line.content)
                    value.setdefault("cited", [])
                    read = read_interaction(json.dumps(value).encode(), line.number, texts)
                    assert isinstance(read, Interaction), read
                    yield reading.format_name, read


def _said(i: Interaction, carried: set[str]) -> tuple[object, ...]:
    listed = sorted(i.retrieved, key=lambda chunk: chunk.rank)
    told = {"query_id": i.query_id, "query": i.query, "answer": (i.answer or "").strip(), "time": i.happened_at}
    told |= {"source": i.source, "cited": sorted(signal.chunk or "" for signal in i.signals if signal.name == CITED)}
    told |= _of_signals([signal for signal in i.signals if signal.name != CITED])
    told |= {key: [getattr(chunk, key) for chunk in listed] for key in ("score", "document", "title", "kind")}
    return (*(told[name] for name in sorted(carried)), [(chunk.external_id, chunk.text) for chunk in listed])


def _logged(i: Logged, log: Log, carried: set[str]) -> tuple[object, ...]:
    told = {"query_id": f"q{i.number}", "query": i.query, "answer": i.answer.strip(), "time": i.time}
    told |= {"source": i.source, "cited": sorted(i.cited), "score": [score for _, score in i.chunks]}
    told |= _of_signals(i.signals)
    told |= {key: [log.more[name].get(key) for name, _ in i.chunks] for key in _OF_DOCUMENTS}
    told |= {"kind": [log.more[name].get("kind", "text") for name, _ in i.chunks]}
    return (*(told[name] for name in sorted(carried)), [(name, log.texts[name]) for name, _ in i.chunks])


def _of_signals(signals: Iterable[Signal]) -> dict[str, list[Signal]]:
    in_order = sorted(signals, key=repr)
    return {"signals": in_order, "about the whole": [signal for signal in in_order if signal.chunk is None]}


def _corpus(log: Log) -> list[dict[str, str]]:
    return [{"_id": name, "text": text, **log.more[name]} for name, text in log.texts.items()]


def _without_lists(log: Log) -> Log:
    """Leave out what a cell of CSV would take for a JSON list: ids that begin like one."""
    texts = {name: f"-{text}" for name, text in log.texts.items() if name[0] != "["}
    interactions = tuple(i for i in log.interactions if all(name in texts for name, _ in i.chunks))
    return Log(texts, log.more, interactions)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=40)
@given(log=_logs())
def test_what_is_read_is_what_was_written(name: str, log: Log) -> None:
    write, format_name, carried = FORMATS[name]
    if name in ("trec", "beir", "beir with a run"):  # they have no line for a topic for which nothing was found
        log = replace(log, interactions=tuple(i for i in log.interactions if i.chunks))
    if name == "csv":
        log = _without_lists(log)
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_lines(Path(folder) / "corpus.jsonl", _corpus(log))
        found = list(_read(write(Path(folder), log), corpus))
    if log.interactions:
        assert {kind for kind, _ in found} == {format_name}
    expected = sorted((_logged(i, log, carried) for i in log.interactions), key=repr)
    assert sorted((_said(read, carried) for _, read in found), key=repr) == expected


def test_what_is_read_of_a_data_frame_is_what_stood_in_it(store: Store) -> None:
    @settings(deadline=None, max_examples=40)
    @given(log=_logs())
    def check(log: Log) -> None:
        rows = [{**row, "time": i.time} for row, i in zip(_lists(log), log.interactions, strict=True)]
        found: list[tuple[str, Interaction]] = []
        with tempfile.TemporaryDirectory() as folder:
            corpus = write_lines(Path(folder) / "corpus.jsonl", _corpus(log))
            with mock.patch(
                "mining.import_log._import_all", lambda _, plan, *__: found.extend(_read_plan(plan, corpus))
            ):
                import_frame(store, pd.DataFrame(rows))
        expected = sorted((_logged(i, log, _ALL) for i in log.interactions), key=repr)
        assert sorted((_said(read, _ALL) for _, read in found), key=repr) == expected

    check()
