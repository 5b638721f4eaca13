"""OpenInference spans, as Phoenix and OpenTelemetry collectors write them.

The attributes are those of the specification (https://github.com/Arize-ai/openinference, spec/semantic_conventions.md
and spec/annotations.md), flattened or nested. The envelopes: Phoenix's REST answer and its annotations
(https://arize.com/docs/phoenix/sdk-api-reference/spans), the rows of `get_spans_dataframe` in JSON Lines or Parquet,
the OpenTelemetry SDK's `ReadableSpan.to_json`, and OTLP/JSON (`resourceSpans`).
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mining.formats.json_entries import Entry, entries
from mining.formats.source import Format, Given, Note, Read, Sample, Side
from mining.formats.texts import ANSWER_KEYS, QUERY_KEYS, document_in, first_text, list_in, metadata_in, text_in
from mining.formats.traces import Document, Found, Kind, Span, annotation, read_traces
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.progress import Progress

_KINDS: dict[str, Kind] = {"RETRIEVER": "retriever", "RERANKER": "reranker", "LLM": "llm"}
_WHOLE = re.compile(r"-?[0-9]{1,19}")  # of 64 bits
_ANSWERING = {"LLM", "CHAIN", "AGENT", ""}  # what a tool or an embedding puts out is no answer


def _recognises(sample: Sample) -> str | None:
    for span in sample.objects:
        if "resourceSpans" in span:
            return "its objects hold resourceSpans (OTLP)"
        if "context.span_id" in span or "span_id" in metadata_in(span.get("context")):
            return "its objects are spans: they hold a context with trace_id and span_id"
    return None


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    return read_traces(log.name, _by_trace(log, progress.advance), given, progress)


def _by_trace(log: LogFile, read: Read) -> Iterator[Found]:
    for entry in entries(log, read):
        if entry.problem:
            yield None, Line(entry.line, 0, entry.raw, entry.problem)
            continue
        problems: list[str] = []
        for raw, resource in _spans(entry, problems):
            yield _span(entry.line, raw, resource)
        for problem in problems:
            yield None, Line(entry.line, 0, entry.raw, problem)


def _spans(entry: Entry, problems: list[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each span of an object with the attributes of its resource; what is wrong is added to the problems."""
    if "resourceSpans" not in entry.value:
        resource = metadata_in(entry.value.get("resource"))  # OpenTelemetry's own JSON has one in each span
        yield entry.value, metadata_in(resource.get("attributes"))
        return
    for resource_spans in _parts(entry.value, "resourceSpans", problems):
        resource = _otlp_attributes(metadata_in(resource_spans.get("resource")).get("attributes"))
        for scope in _parts(resource_spans, "scopeSpans", problems):
            for span in _parts(scope, "spans", problems):
                yield span, resource


def _parts(values: dict[str, Any], key: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    for place, part in enumerate(list_in(values, key, problems)):
        if isinstance(part, dict):
            yield part
        else:
            problems.append(f"{key}[{place}] is not a JSON object")


def _objects(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (whatever JSON holds)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _span(line: int, raw: dict[str, Any], resource: dict[str, Any]) -> Found:
    context = metadata_in(raw.get("context"))
    trace_id = first_text(raw, "context.trace_id", "traceId") or first_text(context, "trace_id")
    span_id = first_text(raw, "context.span_id", "spanId") or first_text(context, "span_id")
    if not trace_id or not span_id:
        return None, Line(line, 0, json.dumps(raw).encode(), "a span without trace_id and span_id")
    if isinstance(raw.get("attributes"), list):
        attributes = _flat(_otlp_attributes(raw["attributes"]))
    else:
        attributes = _flat(raw.get("attributes") or {})
        attributes |= _flat({key[11:]: value for key, value in raw.items() if key.startswith("attributes.")})
    kind = str(attributes.get("openinference.span.kind") or raw.get("span_kind") or "").upper()
    documents = _documents(attributes, "reranker.output_documents" if kind == "RERANKER" else "retrieval.documents")
    asked = attributes.get("reranker.query") if kind == "RERANKER" else attributes.get("input.value")
    return trace_id, Span(
        span_id=span_id,
        parent_id=first_text(raw, "parent_id", "parentSpanId"),
        kind=_KINDS.get(kind, "other"),
        line=line,
        time=_time(raw),
        query=_text(attributes, asked, "input.mime_type", QUERY_KEYS),
        answer=_answer(attributes) if kind in _ANSWERING else None,
        documents=documents,
        notes=tuple(_notes(attributes, raw.get("events"))),
        source=first_text(resource, "openinference.project.name", "service.name"),
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 (whatever JSON holds)
    """Flatten objects, and lists of objects, as the specification does; metadata stays what it is."""
    if isinstance(value, dict) and prefix.rpartition(".")[2] != "metadata":
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        items = {str(place): item for place, item in enumerate(value)}.items()
    else:  # a table has a column for what any of its spans has
        return {prefix: value} if prefix and value is not None else {}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def _otlp_attributes(values: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever JSON holds)
    return {str(item.get("key")): _otlp_value(item.get("value")) for item in _objects(values)}


def _otlp_value(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Unwrap an OTLP AnyValue; whole numbers are strings there, as protobuf writes 64 bits in JSON."""
    if not isinstance(value, dict):
        return value
    if "arrayValue" in value:
        items = metadata_in(value["arrayValue"]).get("values")
        return [_otlp_value(item) for item in items] if isinstance(items, list) else None
    if "intValue" in value:
        return int(value["intValue"]) if _WHOLE.fullmatch(str(value["intValue"])) else value["intValue"]
    return next(iter(value.values()), None)


def _documents(attributes: dict[str, Any], prefix: str) -> tuple[Document, ...]:
    by_place: dict[str, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(f"{prefix}."):
            place, _, rest = key[len(prefix) + 1 :].partition(".")
            if place.isascii() and place.isdigit() and rest.startswith("document."):
                by_place.setdefault(place.lstrip("0"), {})[rest.removeprefix("document.")] = value
    in_order = sorted(by_place, key=lambda digits: (len(digits), digits))  # as numbers, however long
    return tuple(_document(by_place[place]) for place in in_order)


def _document(values: dict[str, Any]) -> Document:
    metadata = metadata_in(values.get("metadata"))
    return Document(
        text=values.get("content"),
        chunk_id=first_text(values, "id") or first_text(metadata, "chunk_id", "id"),
        score=values.get("score"),
        document=document_in(metadata),
        title=first_text(metadata, "title"),
    )


def _answer(attributes: dict[str, Any]) -> str | None:
    written = [
        value
        for key, value in attributes.items()
        if key.startswith("llm.output_messages.") and key.endswith(".message.content")
    ]
    if written:
        return text_in(written, ANSWER_KEYS)
    return _text(attributes, attributes.get("output.value"), "output.mime_type", ANSWER_KEYS)


def _text(attributes: dict[str, Any], value: object, mime_type: str, keys: tuple[str, ...]) -> str | None:
    """Return the text of a value; what is said to be plain text is not taken for JSON."""
    if isinstance(value, str) and attributes.get(mime_type) == "text/plain":
        return value if value.strip() else None
    return text_in(value, keys)


def _notes(attributes: dict[str, Any], events: Any) -> Iterator[Note]:  # noqa: ANN401 (whatever JSON holds)
    for many, one in (("annotations", "annotation"), ("evaluations", "evaluation")):
        found: dict[str, dict[str, Any]] = {}
        for key, value in attributes.items():
            if key.startswith(f"{many}."):
                place, _, rest = key[len(many) + 1 :].partition(f".{one}.")
                found.setdefault(place, {})[rest] = value
        yield from (note for values in found.values() if (note := _note(values, None)))
    for event in _objects(events):
        if event.get("name") == "gen_ai.evaluation.result":
            said = _flat(event.get("attributes") or {})
            values = {key.removeprefix("gen_ai.evaluation."): value for key, value in said.items()}
            named = {"name": values.get("name"), "label": values.get("score.label"), "score": values.get("score.value")}
            if note := _note(named, first_text(event, "timestamp")):
                yield note


def _note(values: dict[str, Any], time: str | None) -> Note | None:
    name = first_text(values, "name", "annotation_name")
    if not name:
        return None
    source = ":".join(filter(None, (first_text(values, "annotator_kind"), first_text(values, "user_id", "identifier"))))
    signal, value = annotation(name, label=values.get("label"), score=values.get("score"))
    return Note(signal, value, time, source or None)


def _time(raw: dict[str, Any]) -> str | None:
    nanoseconds = raw.get("startTimeUnixNano")
    if nanoseconds is not None and str(nanoseconds).isdigit():
        try:
            return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            return str(nanoseconds)
    found = raw.get("start_time")
    return found if found is None or isinstance(found, str) else str(found)


def _is_annotations(sample: Sample) -> str | None:
    for said in sample.objects:
        if "span_id" in said and {"name", "annotation_name"} & said.keys() and "annotator_kind" in said:
            return "its objects are Phoenix annotations: span_id, name, annotator_kind"
    return None


def _load_annotations(log: LogFile, given: Given) -> None:
    for entry in entries(log):
        span_id = first_text(entry.value, "span_id")
        result = metadata_in(entry.value.get("result"))
        flat = {key.removeprefix("result."): value for key, value in entry.value.items()}
        note = _note({**flat, **result}, first_text(entry.value, "updated_at", "created_at"))
        position = entry.value.get("document_position")
        if entry.problem or not span_id or not note or not isinstance(position, int | None):
            problem = entry.problem or "an annotation needs span_id, name, and a whole document_position if it has one"
            raise InvalidDataError(f"{log.name}:{entry.line}: {problem}")
        given.notes.setdefault(span_id, []).append(note._replace(position=position, file=log.name))


FORMAT = Format("openinference", "OpenInference spans (Phoenix, OTLP)", _recognises, _read, ("context", "attributes"))
ANNOTATIONS = Side("Phoenix annotations", _is_annotations, _load_annotations)
