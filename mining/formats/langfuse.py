"""Langfuse: observations from the blob storage export, a trace downloaded as JSON, and scores.

Fields: https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields (snake case) and
https://langfuse.com/faq/all/export-single-trace-or-session (camel case, as the API has them). JSON, JSON Lines and
Parquet.
"""

import json
from collections.abc import Iterator
from typing import Any

from mining.formats.json_entries import entries
from mining.formats.source import Format, Given, Note, Read, Sample, Side
from mining.formats.texts import ANSWER_KEYS, QUERY_KEYS, first_text, list_in, text_in
from mining.formats.traces import Found, Kind, Span, annotation, documents_in, read_traces
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.progress import Progress

_KINDS: dict[str, Kind] = {"RETRIEVER": "retriever", "GENERATION": "llm"}
_ANSWERING = {"GENERATION", "SPAN", "CHAIN", "AGENT"}


def _recognises(sample: Sample) -> str | None:
    for found in sample.objects:
        if _is_observation(found):
            return "its objects are observations: id, trace_id, type, start_time"
        if isinstance(found.get("observations"), list):
            return "it is a trace with its observations"
    return None


def _is_observation(found: dict[str, Any]) -> bool:
    names = found.keys()
    return "id" in names and "type" in names and bool({"traceId", "trace_id"} & names) and "input" in names


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    return read_traces(log.name, _by_trace(log, progress.advance), given, progress)


def _by_trace(log: LogFile, read: Read) -> Iterator[Found]:
    for entry in entries(log, read):
        if entry.problem:
            yield None, Line(entry.line, 0, entry.raw, entry.problem)
        elif isinstance(entry.value.get("observations"), list):
            yield from _of_download(entry.line, entry.value)
        else:
            yield _span(entry.line, entry.value, None)


def _of_download(line: int, download: dict[str, Any]) -> Iterator[Found]:
    """Yield the trace itself as the outermost span, then its observations."""
    trace = download["trace"] if isinstance(download.get("trace"), dict) else download
    trace_id = first_text(trace, "id")
    if not trace_id:
        yield None, Line(line, 0, json.dumps(download).encode(), "a trace without an id")
        return
    problems: list[str] = []
    given = list_in(download, "scores", problems) or list_in(trace, "scores", problems)
    if problems:
        yield None, Line(line, 0, json.dumps(download).encode(), problems[0])
        return
    said: dict[str, list[Note]] = {}
    for place, score in enumerate(given):
        if not isinstance(score, dict):
            yield None, _no_object(line, score, f"scores[{place}]")
            continue
        about = first_text(score, "observationId", "observation_id") or trace_id
        said.setdefault(about, []).append(_note(score))
    yield (
        trace_id,
        Span(
            trace_id,
            None,
            "other",
            line,
            _time(trace, "timestamp", "start_time"),
            answer=text_in(trace.get("output"), ANSWER_KEYS),
            notes=tuple(said.get(trace_id, ())),
        ),
    )
    for place, observation in enumerate(download["observations"]):
        if not isinstance(observation, dict):
            yield None, _no_object(line, observation, f"observations[{place}]")
            continue
        named = {"trace_id": trace_id, **observation}
        notes = tuple(said.get(first_text(named, "id") or "", ()))
        yield _span(line, named, trace_id, notes)


def _no_object(line: int, value: object, where: str) -> Line:
    return Line(line, 0, json.dumps(value).encode(), f"{where} is not a JSON object")


def _span(line: int, raw: dict[str, Any], root: str | None, notes: tuple[Note, ...] = ()) -> Found:
    trace_id, span_id = first_text(raw, "traceId", "trace_id"), first_text(raw, "id")
    if not trace_id or not span_id:
        return None, Line(line, 0, json.dumps(raw).encode(), "an observation without id and trace_id")
    kind = str(raw.get("type") or "").upper()
    return trace_id, Span(
        span_id=span_id,
        parent_id=first_text(raw, "parentObservationId", "parent_observation_id") or root,
        kind=_KINDS.get(kind, "other"),
        line=line,
        time=_time(raw, "startTime", "start_time"),
        query=text_in(raw.get("input"), QUERY_KEYS),
        answer=text_in(raw.get("output"), ANSWER_KEYS) if kind in _ANSWERING else None,
        documents=documents_in(raw.get("output")) if kind == "RETRIEVER" else (),
        notes=notes,
        source=first_text(raw, "traceName", "trace_name", "environment"),
    )


def _time(raw: dict[str, Any], *keys: str) -> str | None:
    found = next((raw[key] for key in keys if raw.get(key) is not None), None)
    return found if found is None or isinstance(found, str) else str(found)


def _note(score: dict[str, Any]) -> Note:
    """Read a score. Of the categorical ones the category counts, not its number."""
    kind = str(score.get("dataType") or score.get("data_type") or "").upper()
    value: Any = score.get("value")
    label = first_text(score, "stringValue", "string_value") if kind in ("CATEGORICAL", "TEXT") else None
    if kind == "BOOLEAN" and value in (0, 1):
        value = bool(value)
    who = first_text(score, "authorUserId", "author_user_id")
    source = ":".join(filter(None, (first_text(score, "source"), who)))
    signal, amount = annotation(first_text(score, "name") or "score", label=label, score=value)
    return Note(signal, amount, _time(score, "timestamp", "updatedAt", "updated_at", "created_at"), source or None)


def _is_scores(sample: Sample) -> str | None:
    for found in sample.objects:
        names = found.keys()
        if {"name", "value", "source"} <= names and {"dataType", "data_type"} & names and "input" not in names:
            return "its objects are Langfuse scores: name, value, source, data_type"
    return None


def _load_scores(log: LogFile, given: Given) -> None:
    for entry in entries(log):
        about = first_text(entry.value, "observationId", "observation_id") or first_text(
            entry.value, "traceId", "trace_id"
        )
        if entry.problem or not first_text(entry.value, "name"):
            raise InvalidDataError(f"{log.name}:{entry.line}: {entry.problem or 'a score without a name'}")
        # Scores of sessions and of runs over data sets are about no trace, and match none.
        given.notes.setdefault(about or "", []).append(_note(entry.value)._replace(file=log.name))


FORMAT = Format("langfuse", "Langfuse export", _recognises, _read, ("id", "trace_id", "type", "input", "output"))
SCORES = Side("Langfuse scores", _is_scores, _load_scores)
