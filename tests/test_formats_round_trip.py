"""Interactions written in a format and read back are the interactions that were written, as far as it carries them."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mining.citations import marks
from mining.corpus import opened_corpus
from mining.formats.reading import opened_reading
from mining.formats.recognise import given_of, planned
from mining.read_interaction import read_interaction
from store.interactions import Interaction
from tests.imported import write_lines, write_text


@dataclass(frozen=True)
class Logged:
    """An interaction that any format could have logged: chunks as (id, score), best first."""

    number: int
    query: str
    answer: str
    time: datetime
    chunks: tuple[tuple[str, float], ...]
    cited: tuple[str, ...]


@dataclass(frozen=True)
class Log:
    texts: dict[str, str]  # chunk id -> text
    interactions: tuple[Logged, ...]


def _is_name(text: str) -> bool:
    return text.split() == [text] and "\x00" not in text


_texts = st.text(min_size=1, max_size=15).filter(lambda text: text.strip() and "\x00" not in text)
_names = st.text(min_size=1, max_size=6).filter(_is_name)
_scores = st.floats(allow_nan=False, allow_infinity=False).map(lambda score: score + 0.0)
_moments = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))


@st.composite
def _logs(draw: st.DrawFn) -> Log:
    texts = dict(draw(st.lists(st.tuples(_names, _texts), max_size=5, unique_by=(lambda p: p[0], lambda p: p[1]))))
    interactions = []
    for number in range(draw(st.integers(1, 3))):
        listed = draw(st.lists(st.sampled_from(sorted(texts)), unique=True)) if texts else []
        chunks = tuple((name, draw(_scores)) for name in listed)
        cited = tuple(draw(st.lists(st.sampled_from(listed), unique=True))) if listed else ()
        answer = draw(_texts.filter(lambda text: not marks(text)))
        interactions.append(Logged(number, draw(_texts), answer, draw(_moments), chunks, cited))
    return Log(texts, tuple(interactions))


# --------------------------------------------------------------------------------------- the writers, one for a format


def _uncited(folder: Path, log: Log) -> list[Path]:
    lines = [
        {
            "query_id": f"q{i.number}",
            "query": i.query,
            "answer": i.answer,
            "time": i.time.isoformat(),
            "retrieved": [
                {"chunk_id": name, "rank": rank, "score": score, "text": log.texts[name]}
                for rank, (name, score) in enumerate(i.chunks, 1)
            ],
            "cited": list(i.cited),
        }
        for i in log.interactions
    ]
    return [write_lines(folder / "log.jsonl", lines)]


def _openinference(folder: Path, log: Log) -> list[Path]:
    spans = []
    for i in log.interactions:
        context = {"trace_id": f"t{i.number}"}
        found: dict[str, object] = {"openinference.span.kind": "RETRIEVER"}
        found |= {"input.value": i.query, "input.mime_type": "text/plain"}
        for place, (name, score) in enumerate(i.chunks):
            document = {"id": name, "score": score, "content": log.texts[name]}
            found |= {f"retrieval.documents.{place}.document.{key}": value for key, value in document.items()}
        root = {"openinference.span.kind": "CHAIN", "output.value": i.answer, "output.mime_type": "text/plain"}
        time = i.time.isoformat()
        spans += [
            {"context": {**context, "span_id": "r"}, "parent_id": "root", "start_time": time, "attributes": found},
            {"context": {**context, "span_id": "root"}, "parent_id": None, "start_time": time, "attributes": root},
        ]
    return [write_lines(folder / "spans.jsonl", spans)]


def _documents(log: Log, i: Logged) -> list[dict[str, Any]]:
    return [
        {"page_content": log.texts[name], "metadata": {"id": name, "score": score}, "type": "Document"}
        for name, score in i.chunks
    ]


def _langfuse(folder: Path, log: Log) -> list[Path]:
    rows = []
    for i in log.interactions:
        common = {"trace_id": f"t{i.number}", "start_time": i.time.strftime("%Y-%m-%d %H:%M:%S.%f")}
        found = {"input": json.dumps({"query": i.query}), "output": json.dumps(_documents(log, i))}
        rows.append(
            {"id": f"r{i.number}", "type": "RETRIEVER", "parent_observation_id": f"s{i.number}", **common, **found}
        )
        told = {"input": "", "output": json.dumps(i.answer), "parent_observation_id": ""}
        rows.append({"id": f"s{i.number}", "type": "SPAN", **common, **told})
    return [write_lines(folder / "observations.jsonl", rows)]


def _langsmith(folder: Path, log: Log) -> list[Path]:
    runs = []
    for i in log.interactions:
        time = i.time.isoformat()
        found = {"inputs": {"query": i.query}, "outputs": {"documents": _documents(log, i)}}
        child = {"id": f"r{i.number}", "run_type": "retriever", "start_time": time, **found}
        told = {"inputs": {}, "outputs": {"answer": i.answer}, "start_time": time}
        runs.append({"id": f"t{i.number}", "run_type": "chain", "child_runs": [child], **told})
    return [write_text(folder / "runs.json", json.dumps(runs, indent=2))]


def _answers(folder: Path, log: Log) -> list[Path]:
    lines = []
    for i in log.interactions:
        references = [name for name, _ in i.chunks]
        cited = [references.index(name) for name in i.cited]
        sentences = [{"text": i.answer, "citations": cited}]
        told = {"run_id": "r", "topic_id": f"q{i.number}", "topic": i.query}
        lines.append({**told, "references": references, "answer": sentences})
    return [write_lines(folder / "answers.jsonl", lines)]


def _results(folder: Path, log: Log) -> list[Path]:
    lines = [
        {
            "query": {"qid": f"q{i.number}", "text": i.query},
            "candidates": [{"docid": n, "score": score, "doc": {"segment": log.texts[n]}} for n, score in i.chunks],
        }
        for i in log.interactions
    ]
    return [write_lines(folder / "results.jsonl", lines)]


def _trec(folder: Path, log: Log) -> list[Path]:
    rows = [
        f"q{i.number} Q0 {name} {rank} {score!r} tag\n"
        for i in log.interactions
        for rank, (name, score) in enumerate(i.chunks, 1)
    ]
    queries = [{"_id": f"q{i.number}", "text": i.query} for i in log.interactions]
    return [write_text(folder / "run.txt", "".join(rows)), write_lines(folder / "queries.jsonl", queries)]


def _beir(folder: Path, log: Log) -> list[Path]:
    queries = [{"_id": f"q{i.number}", "text": i.query} for i in log.interactions] + [{"_id": "other", "text": "?"}]
    grades = "".join(f"q{i.number}\t{name}\t1\n" for i in log.interactions for name, _ in i.chunks)
    write_lines(folder / "beir" / "corpus.jsonl", [{"_id": name, "text": text} for name, text in log.texts.items()])
    write_lines(folder / "beir" / "queries.jsonl", queries)
    write_text(folder / "beir" / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\n{grades}")
    return [folder / "beir"]


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
            "chunk_id": [name for name, _ in i.chunks],
            "text": [log.texts[name] for name, _ in i.chunks],
            "score": [score for _, score in i.chunks],
            "cited": list(i.cited),
        }
        for i in log.interactions
    ]


def _json_table(folder: Path, log: Log) -> list[Path]:
    return [write_lines(folder / "log.jsonl", _lists(log))]


def _table(log: Log) -> pa.Table:
    names = pa.list_(pa.string())
    schema = [("query_id", pa.string()), ("query", pa.string()), ("answer", pa.string()), ("time", pa.timestamp("us"))]
    lists = [("chunk_id", names), ("text", names), ("score", pa.list_(pa.float64())), ("cited", names)]
    rows = [{**row, "time": i.time} for row, i in zip(_lists(log), log.interactions, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema([*schema, *lists]))


def _parquet(folder: Path, log: Log) -> list[Path]:
    file = folder / "log.parquet"
    parquet.write_table(_table(log), file)
    return [file]


def _hf_dataset(folder: Path, log: Log) -> list[Path]:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset(_table(log)).save_to_disk(str(folder / "log"))
    return [folder / "log"]


def _csv(folder: Path, log: Log) -> list[Path]:
    file = folder / "log.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["query_id", "query", "answer", "time", "chunk_id", "text", "rank", "score", "cited"])
        for i in log.interactions:
            told = [f"q{i.number}", i.query, i.answer, i.time.isoformat()]
            for rank, (name, score) in enumerate(i.chunks, 1):
                writer.writerow([*told, name, log.texts[name], rank, repr(score), "yes" if name in i.cited else "no"])
            if not i.chunks:
                writer.writerow([*told, "", "", "", "", ""])
    return [file]


_ALL = {"query_id", "query", "answer", "time", "cited", "score"}
FORMATS: dict[str, tuple[Callable[[Path, Log], list[Path]], str, set[str]]] = {
    "uncited": (_uncited, "uncited", _ALL),
    "openinference": (_openinference, "openinference", {"query", "answer", "time", "score"}),
    "langfuse": (_langfuse, "langfuse", {"query", "answer", "time", "score"}),
    "langsmith": (_langsmith, "langsmith", {"query", "answer", "time", "score"}),
    "trec-rag": (_answers, "trec-rag", {"query_id", "query", "answer", "cited"}),
    "trec-rag-retrieval": (_results, "trec-rag-retrieval", {"query_id", "query", "score"}),
    "trec": (_trec, "trec", {"query_id", "query", "score"}),
    "beir": (_beir, "beir", {"query_id", "query"}),
    "ragas": (_ragas, "ragas", {"query", "answer"}),
    "llamaindex": (_llamaindex, "llamaindex", {"query_id", "query"}),
    "json table": (_json_table, "table", _ALL),
    "parquet": (_parquet, "table", _ALL),
    "hf-dataset": (_hf_dataset, "hf-dataset", _ALL),
    "csv": (_csv, "table", _ALL),
}


# -------------------------------------------------------------------------------------------- reading, and what is said


def _read(files: list[Path], corpus: Path) -> Iterator[tuple[str, Interaction]]:
    with planned(files, "auto", {}, None) as plan, opened_corpus(corpus) as texts:
        told, beside = given_of(plan, {})
        for found in plan.mains:
            assert not found.refusal
            with opened_reading(found, told, beside, texts) as reading:
                for line in reading.lines(lambda size: None):
                    assert line.problem is None
                    value = json.loads(line.content)
                    value.setdefault("cited", [])
                    read = read_interaction(json.dumps(value).encode(), line.number, texts)
                    assert isinstance(read, Interaction), read
                    yield reading.format_name, read


def _said(i: Interaction, carried: set[str]) -> tuple[object, ...]:
    cited = sorted(signal.chunk or "" for signal in i.signals if signal.name == "cited")
    listed = sorted(i.retrieved, key=lambda chunk: chunk.rank)
    told = {"query_id": i.query_id, "query": i.query, "answer": (i.answer or "").strip(), "time": i.happened_at}
    told |= {"cited": cited, "score": [chunk.score for chunk in listed]}
    return (*(told[name] for name in sorted(carried)), [(chunk.external_id, chunk.text) for chunk in listed])


def _logged(i: Logged, texts: dict[str, str], carried: set[str]) -> tuple[object, ...]:
    told = {"query_id": f"q{i.number}", "query": i.query, "answer": i.answer.strip(), "time": i.time}
    told |= {"cited": sorted(i.cited), "score": [score for _, score in i.chunks]}
    return (*(told[name] for name in sorted(carried)), [(name, texts[name]) for name, _ in i.chunks])


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=40)
@given(log=_logs())
def test_what_is_read_is_what_was_written(name: str, log: Log) -> None:
    write, format_name, carried = FORMATS[name]
    interactions = log.interactions
    if name in ("trec", "beir"):  # they have no line for a topic for which nothing was found
        interactions = tuple(i for i in interactions if i.chunks)
    if name == "csv":  # a cell that is a JSON list is one
        log = Log({n: f"-{text}" for n, text in log.texts.items() if n[0] != "["}, log.interactions)
        interactions = tuple(i for i in interactions if all(n in log.texts for n, _ in i.chunks))
    log = Log(log.texts, interactions)
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_lines(Path(folder) / "corpus.jsonl", [{"_id": n, "text": t} for n, t in log.texts.items()])
        found = list(_read(write(Path(folder), log), corpus))
    if interactions:
        assert {kind for kind, _ in found} == {format_name}
    expected = sorted((_logged(i, log.texts, carried) for i in interactions), key=repr)
    assert sorted((_said(read, carried) for _, read in found), key=repr) == expected
