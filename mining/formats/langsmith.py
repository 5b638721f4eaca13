"""LangSmith runs, and the feedback on them.

Fields: https://docs.langchain.com/langsmith/run-data-format, of a retriever's output
https://docs.langchain.com/langsmith/log-retriever-trace, of feedback
https://docs.langchain.com/langsmith/feedback-data-format. JSON, JSON Lines, and the Parquet files of the bulk export
(https://docs.langchain.com/langsmith/data-export), where inputs and outputs are JSON in strings.
"""

import json
from collections.abc import Iterator
from typing import Any

from mining.formats.json_entries import entries
from mining.formats.source import Format, Given, Note, Read, Sample, Side
from mining.formats.texts import ANSWER_KEYS, QUERY_KEYS, first_text, list_in, metadata_in, text_in
from mining.formats.traces import Found, Kind, Span, annotation, documents_in, read_traces
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.progress import Progress

_KINDS: dict[str, Kind] = {"retriever": "retriever", "llm": "llm"}
_ANSWERING = {"llm", "chain"}
_DEEPEST = 100  # runs within runs


def _recognises(sample: Sample) -> str | None:
    for run in sample.objects:
        if "run_type" in run and {"inputs", "outputs"} & run.keys():
            return "its objects are runs: run_type, inputs, outputs"
    return None


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    return read_traces(log.name, _by_trace(log, progress.advance), given, progress)


def _by_trace(log: LogFile, read: Read) -> Iterator[Found]:
    for entry in entries(log, read):
        if entry.problem:
            yield None, Line(entry.line, 0, entry.raw, entry.problem)
        else:
            yield from _runs(entry.line, entry.value, None, None, 0)


def _runs(line: int, run: dict[str, Any], trace: str | None, parent: str | None, depth: int) -> Iterator[Found]:
    """Yield a run and the runs within it. A run without trace_id is one of its outermost run."""
    run_id = first_text(run, "id")
    trace_id = first_text(run, "trace_id") or trace or run_id
    if not run_id or not trace_id:
        yield None, Line(line, 0, json.dumps(run).encode(), "a run without an id")
        return
    problems: list[str] = []
    children = list_in(run, "child_runs", problems)
    if problems:
        yield None, Line(line, 0, json.dumps(run).encode(), problems[0])
        return
    kind = str(run.get("run_type") or "").lower()
    outputs = run.get("outputs")
    time = run.get("start_time")
    yield (
        trace_id,
        Span(
            span_id=run_id,
            parent_id=first_text(run, "parent_run_id") or parent,
            kind=_KINDS.get(kind, "other"),
            line=line,
            time=time if time is None or isinstance(time, str) else str(time),
            query=text_in(run.get("inputs"), QUERY_KEYS),
            answer=text_in(outputs, ANSWER_KEYS) if kind in _ANSWERING else None,
            documents=documents_in(outputs) if kind == "retriever" else (),
            source=first_text(run, "session_name"),
        ),
    )
    if children and depth == _DEEPEST:
        problem = f'run "{run_id}" stands {depth} runs deep and has child_runs; those are not read'
        yield None, Line(line, 0, json.dumps(run).encode(), problem)
        return
    for place, child in enumerate(children):
        if isinstance(child, dict):
            yield from _runs(line, child, trace_id, run_id, depth + 1)
        else:
            yield None, Line(line, 0, json.dumps(run).encode(), f"child_runs[{place}] is not a run")


def _is_feedback(sample: Sample) -> str | None:
    for said in sample.objects:
        if {"run_id", "key"} <= said.keys() and {"score", "value"} & said.keys():
            return "its objects are LangSmith feedback: run_id, key, score"
    return None


def _load_feedback(log: LogFile, given: Given) -> None:
    for entry in entries(log):
        run_id, key = first_text(entry.value, "run_id"), first_text(entry.value, "key")
        if entry.problem or not run_id or not key:
            raise InvalidDataError(f"{log.name}:{entry.line}: {entry.problem or 'feedback needs run_id and key'}")
        given_by = metadata_in(entry.value.get("feedback_source"))
        who = first_text(given_by, "user_name", "user_id")
        source = ":".join(filter(None, (first_text(given_by, "type"), who)))
        value = entry.value.get("value")
        signal, amount = annotation(
            key, label=value if isinstance(value, str) else None, score=entry.value.get("score")
        )
        time = first_text(entry.value, "modified_at", "created_at")
        given.notes.setdefault(run_id, []).append(Note(signal, amount, time, source or None, file=log.name))


FORMAT = Format("langsmith", "LangSmith runs", _recognises, _read, ("id", "run_type", "inputs", "outputs"))
FEEDBACK = Side("LangSmith feedback", _is_feedback, _load_feedback)
