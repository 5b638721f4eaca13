"""From the spans of one trace to interactions: what OpenInference, Langfuse and LangSmith have in common.

A trace is a tree of spans. Each query that a retriever was asked becomes one interaction:

- several retrievers that were asked the same query are one list: each chunk at its best place;
- a reranker that was asked the same query, or none, and that puts out chunks of that list, orders it: its output comes
  first, what it dropped follows in the retriever's order;
- the answer is that of the outermost span around the retriever that has one, else that of the last LLM span;
- what was said of a document of a retriever or reranker is a signal of that chunk; what was said of any other span, a
  signal of the interaction as a whole.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mining.formats.grouping import grouped
from mining.formats.source import Given, Note, line_of
from mining.formats.texts import document_in, first_text, metadata_in
from mining.log_lines import Line
from store.errors import InvalidDataError
from store.ids import chunk_id
from store.progress import Progress

Kind = Literal["retriever", "reranker", "llm", "other"]

_LISTS = ("documents", "output", "results", "context")  # where a retriever's output may hold its list
_SHOWN = 6  # spans of a circle


@dataclass(frozen=True, slots=True)
class Document:
    """One chunk that a span put out. Where the trace has no id for it, its text names it."""

    text: Any  # a string, or whatever stood in the place of one, which is then named as wrong
    chunk_id: str | None = None
    score: Any = None
    document: str | None = None
    title: str | None = None

    @property
    def name(self) -> str:
        """The id, else one made of the text."""
        return self.chunk_id or chunk_id(self.text if isinstance(self.text, str) else json.dumps(self.text))


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a trace. `line` is where it stands in the file; `query` and `answer` are texts or None."""

    span_id: str
    parent_id: str | None
    kind: Kind
    line: int
    time: str | None
    query: str | None = None
    answer: str | None = None
    documents: tuple[Document, ...] = ()
    notes: tuple[Note, ...] = ()
    source: str | None = None


Found = tuple[str | None, Span | Line]  # a trace's id with a span of it, or None with a line that holds no span


def read_traces(name: str, found: Iterable[Found], given: Given, progress: Progress) -> Iterator[Line]:
    """Yield the interactions of all traces among `found`; a trace that asked no retriever has none.

    Raises:
        InvalidDataError: no trace asked a retriever.
    """
    retrieving = bad = traces = 0
    for trace_id, items in grouped(found, name, progress):
        spans = [item for item in items if isinstance(item, Span)]
        if trace_id is None:
            bad += len(items)
            yield from (item for item in items if isinstance(item, Line))
            continue
        traces += 1
        if any(span.kind == "retriever" for span in spans):
            retrieving += 1
            given.matched.notes.update((trace_id, *(span.span_id for span in spans)))
            yield from interactions(trace_id, spans, given.notes)
    if traces and not retrieving and not bad:
        raise InvalidDataError(
            f"{name}: {traces:,} traces, and in none of them a retriever: nothing says what was retrieved",
            hint=f"uncited import {name} --dry-run --format auto",
        )


def documents_in(value: Any) -> tuple[Document, ...]:  # noqa: ANN401 (whatever was logged)
    """Return the chunks in what a retriever put out: documents as LangChain has them, objects with a text, or texts.

    They may stand in a list, under `documents`, `output`, `results` or `context`, and in a JSON string.
    """
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, dict):
        lists = [value[key] for key in _LISTS if isinstance(value.get(key), list | str)]
        return documents_in(lists[0]) if lists else ()
    return tuple(_document(item) for item in value) if isinstance(value, list) else ()


def _document(item: Any) -> Document:  # noqa: ANN401 (whatever was logged)
    if isinstance(item, list) and len(item) == 2:  # LangChain's (document, score)
        found = _document(item[0])
        return replace(found, score=item[1])
    if not isinstance(item, dict):
        return Document(item if isinstance(item, str) else None)
    inner = item.get("node") if isinstance(item.get("node"), dict) else item.get("document")
    if isinstance(inner, dict):  # LlamaIndex's node with a score
        return replace(_document(inner), score=item.get("score"))
    metadata = metadata_in(item.get("metadata"))
    return Document(
        text=first_text(item, "page_content", "pageContent", "text", "content", "chunk"),
        chunk_id=first_text(item, "chunk_id", "id", "id_") or first_text(metadata, "chunk_id", "id", "_id"),
        score=item.get("score", metadata.get("score", metadata.get("relevance_score"))),
        document=document_in(metadata) or first_text(item, "document_id", "doc_id"),
        title=first_text(metadata, "title") or first_text(item, "title"),
    )


def annotation(name: str, *, label: object = None, score: object = None) -> tuple[str, float]:
    """Return the signal and its value for an annotation.

    A label, or a yes or no, is a part of the name: `relevance:relevant`, `helpful:false`. A number above zero is the
    value; one of zero or less, which would say that nothing happened, is a part of the name: `thumbs:0`. One that is
    no number (NaN, as tables write what is missing) counts as none; one too large for a float is infinite.
    """
    if isinstance(score, bool):
        label, score = label or str(score).lower(), None
    if isinstance(label, str) and label.strip():
        return f"{name}:{label.strip()}", 1.0
    if isinstance(score, int) or (isinstance(score, float) and not math.isnan(score)):
        number = _as_float(score)
        return (name, number) if number > 0 else (f"{name}:{number:g}", 1.0)
    return name, 1.0


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # JSON's whole numbers know no end
        return math.inf if number > 0 else -math.inf


def interactions(trace_id: str, spans: Sequence[Span], notes: Mapping[str, list[Note]]) -> Iterator[Line]:
    """Yield the interactions of one trace as lines of the native format.

    Args:
        trace_id: names them, with a number from the second one on.
        spans: in the order of the file.
        notes: what other files say of spans and of the trace, by id.
    """
    by_id, problems = _by_id(spans)
    problems += _circles(by_id)
    problems += _beyond_the_list(by_id.values(), notes)
    retrieving = [span for span in by_id.values() if span.kind == "retriever"]
    if problems:
        yield line_of((retrieving or list(spans))[0].line, {"interaction_id": trace_id, "retrieved": []}, problems)
        return
    by_query: dict[str | None, list[Span]] = {}
    for span in retrieving:
        by_query.setdefault(span.query, []).append(span)
    rerankers = [span for span in by_id.values() if span.kind == "reranker" and span.documents]
    whole = _about_the_whole(trace_id, by_id, notes)
    for number, (query, retrievers) in enumerate(by_query.items(), start=1):
        reordering = [r for r in rerankers if _reorders(r, query, retrievers, alone=len(by_query) == 1)]
        documents = _listed(reordering, retrievers)
        two_texts = _with_two_texts([*reordering, *retrievers])
        first = retrievers[0]
        yield line_of(
            first.line,
            {
                "interaction_id": trace_id if number == 1 else f"{trace_id}/{number}",
                "query": query,
                "time": first.time,
                "source": first.source,
                "answer": _answer(first, by_id),
                "retrieved": [_as_logged(rank, document) for rank, document in enumerate(documents, start=1)],
                "signals": [*_about_documents([*retrievers, *reordering], notes), *whole] or None,
            },
            two_texts,
        )


def _by_id(spans: Iterable[Span]) -> tuple[dict[str, Span], list[str]]:
    """Index the spans; one that stands there twice, and says the same, counts once."""
    found: dict[str, Span] = {}
    problems = []
    for span in spans:
        earlier = found.setdefault(span.span_id, span)
        if earlier is not span and _content(earlier) != _content(span):
            problems.append(f'line {span.line}: span "{span.span_id}" says something else in line {earlier.line}')
    return found, problems


def _content(span: Span) -> tuple[object, ...]:
    return (span.parent_id, span.kind, span.time, span.query, span.answer, span.documents, span.notes)


def _circles(spans: Mapping[str, Span]) -> list[str]:
    """Say which spans are their own ancestors."""
    sound: set[str] = set()
    for start in spans:
        path: dict[str, None] = {}  # a set that keeps its order
        here: str | None = start
        while here is not None and here in spans and here not in sound:
            if here in path:
                walked = list(path)
                circle = [*walked[walked.index(here) :], here]
                shown = circle if len(circle) <= _SHOWN else [*circle[:_SHOWN], "..."]
                return [f"the parents of its spans form a circle: {' -> '.join(shown)}"]
            path[here] = None
            here = spans[here].parent_id
        sound.update(path)
    return []


def _beyond_the_list(spans: Iterable[Span], notes: Mapping[str, list[Note]]) -> Iterator[str]:
    for span in spans:
        for note in (*span.notes, *notes.get(span.span_id, ())):
            if note.position is not None and not 0 <= note.position < len(span.documents):
                yield f'"{note.signal}" is about document {note.position} of span "{span.span_id}", which has ' + str(
                    len(span.documents)
                )


def _answer(span: Span, spans: Mapping[str, Span]) -> str | None:
    found = None
    here = spans.get(span.parent_id or "")
    while here:
        found = here.answer or found
        here = spans.get(here.parent_id or "")
    if found:
        return found
    answers = [other.answer for other in spans.values() if other.kind == "llm" and other.answer]
    return answers[-1] if answers else None


def _reorders(reranker: Span, query: str | None, retrievers: Sequence[Span], *, alone: bool) -> bool:
    asked = reranker.query == query or (alone and reranker.query is None)
    listed = {document.name for span in retrievers for document in span.documents}
    return asked and any(document.name in listed for document in reranker.documents)


def _listed(rerankers: Sequence[Span], retrievers: Sequence[Span]) -> list[Document]:
    """Put the lists together: the last reranker's first, then the retrievers' by the best place of each chunk."""
    listed: dict[str, Document] = {}
    for span in reversed(rerankers):
        for document in span.documents:
            listed.setdefault(document.name, document)
    places = [(place, document) for span in retrievers for place, document in enumerate(span.documents)]
    for _, document in sorted(places, key=lambda pair: pair[0]):
        known = listed.get(document.name)
        if known is None or (known.text is None and document.text is not None):
            listed[document.name] = document if known is None else _with_text_of(document, known)
    return list(listed.values())


def _with_two_texts(spans: Sequence[Span]) -> list[str]:
    """Name the chunks of one list whose id stands for several texts: one of them would be lost."""
    texts: dict[str, Any] = {}
    twice: dict[str, None] = {}
    for document in (document for span in spans for document in span.documents if document.text is not None):
        if texts.setdefault(document.name, document.text) != document.text:
            twice[document.name] = None
    return [f'chunk "{name}" has two texts' for name in twice]


def _with_text_of(document: Document, known: Document) -> Document:
    """A reranker may log ids and scores only."""
    return Document(document.text, known.chunk_id, known.score, known.document or document.document, document.title)


def _as_logged(rank: int, document: Document) -> dict[str, Any]:
    chunk = {
        "chunk_id": document.name,
        "rank": rank,
        "score": document.score,
        "text": document.text,
        "document": document.document,
        "title": document.title,
    }
    return {key: value for key, value in chunk.items() if value is not None}


def _about_documents(spans: Sequence[Span], notes: Mapping[str, list[Note]]) -> Iterator[dict[str, Any]]:
    for span in spans:
        for note in (*span.notes, *notes.get(span.span_id, ())):
            if note.position is not None:
                yield _signal(note, span.documents[note.position].name)


def _about_the_whole(trace_id: str, spans: Mapping[str, Span], notes: Mapping[str, list[Note]]) -> list[dict[str, Any]]:
    said = [note for span in spans.values() for note in (*span.notes, *notes.get(span.span_id, ()))]
    if trace_id not in spans:
        said += notes.get(trace_id, ())
    return [_signal(note, None) for note in said if note.position is None]


def _signal(note: Note, chunk: str | None) -> dict[str, Any]:
    signal = {"signal": note.signal, "chunk_id": chunk, "value": note.value, "time": note.time, "source": note.source}
    return {key: value for key, value in signal.items() if value is not None}
