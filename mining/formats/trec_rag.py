"""The TREC RAG track: answers whose sentences cite, and retrieval results with the texts of their chunks.

Answers of 2024 (`run_id`, `topic_id`, `topic`, `references`, `answer: [{text, citations}]`, citations counted from 0
into references): https://trec-rag.github.io/annoucements/2024-track-guidelines. Those of 2025 name the topic by
`narrative_id`, in `metadata` or beside it: https://trec-rag.github.io/annoucements/2025-track-guidelines. Retrieval
results (`query: {qid, text}`, `candidates: [{docid, score, doc: {segment}}]`): https://github.com/castorini/ragnarok.
"""

import json
from collections.abc import Iterator
from typing import Any

from mining.formats.json_entries import Entry, entries
from mining.formats.source import Format, Given, Ranked, Run, Sample, Side, line_of
from mining.formats.texts import first_text, list_in, metadata_in
from mining.formats.trec import graded, grades_once, judged
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.ids import chunk_id
from store.progress import Progress


def _is_answers(sample: Sample) -> str | None:
    for found in sample.objects:
        if isinstance(found.get("references"), list) and isinstance(found.get("answer"), list):
            return "its objects are answers of the TREC RAG track: references, and an answer of cited sentences"
    return None


def _is_results(sample: Sample) -> str | None:
    for found in sample.objects:
        if isinstance(found.get("candidates"), list) and isinstance(found.get("query"), dict | str):
            return "its objects are retrieval results of the TREC RAG track: query and candidates"
    return None


def _read_answers(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    told: set[str] = set()
    for entry in entries(log, progress.advance):
        if entry.problem:
            yield Line(entry.line, 0, entry.raw, entry.problem)
        else:
            yield from _answer(entry, given, told)


def _answer(entry: Entry, given: Given, told: set[str]) -> Iterator[Line]:
    said = {**metadata_in(entry.value.get("metadata")), **entry.value}
    query_id = first_text(said, "topic_id", "narrative_id")
    run = first_text(said, "run_id")
    query = given.queries.get(query_id or "") or first_text(said, "topic", "narrative", "title")
    problems: list[str] = []
    references = [str(reference) for reference in list_in(said, "references", problems)]
    sentences = _sentences(said, problems)
    cited = _cited(sentences, references, problems)
    if query is None:
        problems.append(f'topic "{query_id}" has no text here or in a file of topics')
    run_beside = given.runs.get(query_id or "")
    given.matched.runs.update([query_id] if query_id and run_beside else [])
    ranked = _with_references(run_beside.chunks if run_beside else [], references)
    grades = grades_once(query_id, given, told) if not problems else {}
    yield line_of(
        entry.line,
        {
            "interaction_id": f"{run}/{query_id}" if run and query_id else None,
            "query_id": query_id,
            "query": query,
            "source": run,
            "answer": " ".join(str(sentence.get("text", "")).strip() for sentence in sentences),
            "retrieved": [_as_logged(chunk) for chunk in ranked],
            "cited": cited,
            "signals": graded(query_id, ranked, given, grades),
        },
        problems,
    )
    yield from judged(query_id or "", query, entry.line, given, grades, after=ranked)


def _sentences(said: dict[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    """Return the answer's sentences. What says nothing of its citations must not pass for an answer without any."""
    sentences = list_in(said, "answer", problems)
    if said.get("answer") is None:
        problems.append("answer is missing")
    problems += [
        f"answer[{place}] is not an object with text and citations"
        for place, sentence in enumerate(sentences)
        if not isinstance(sentence, dict)
    ]
    return [sentence for sentence in sentences if isinstance(sentence, dict)]


def _cited(sentences: list[dict[str, Any]], references: list[str], problems: list[str]) -> list[str]:
    """Return the ids that the sentences cite, by number from 0 or by name; what is wrong is added to the problems."""
    cited: dict[str, None] = {}
    for place, sentence in enumerate(sentences):
        for citation in list_in(sentence, "citations", problems):
            if isinstance(citation, str) and citation in references:
                cited[citation] = None
            elif isinstance(citation, int) and not isinstance(citation, bool) and 0 <= citation < len(references):
                cited[references[citation]] = None
            else:
                many = len(references)
                problems.append(
                    f"answer[{place}] cites {json.dumps(citation)}, and there are {many} references, from 0"
                )
    return list(cited)


def _with_references(run: list[Ranked], references: list[str]) -> list[Ranked]:
    """Return the run's list with the references that it lacks after it; without a run, the references in order."""
    known = {chunk.chunk_id for chunk in run}
    last = max((chunk.rank for chunk in run), default=0)
    missing = [reference for reference in dict.fromkeys(references) if reference not in known]
    return [*run, *(Ranked(reference, rank, None) for rank, reference in enumerate(missing, start=last + 1))]


def _as_logged(chunk: Ranked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "chunk_id": chunk.chunk_id,
        "rank": chunk.rank,
        "score": chunk.score,
        "text": chunk.text,
        "title": chunk.title,
        "document": chunk.chunk_id.partition("#")[0] if "#" in chunk.chunk_id else None,  # of MS MARCO's segments
    }
    return {key: value for key, value in found.items() if value is not None}


def _read_results(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    for entry in entries(log, progress.advance):
        if entry.problem:
            yield Line(entry.line, 0, entry.raw, entry.problem)
            continue
        query_id, query = _query(entry)
        problems: list[str] = []
        ranked = _candidates(entry, problems)
        yield line_of(
            entry.line,
            {
                "interaction_id": f"retrieved/{query_id}" if query_id else None,
                "query_id": query_id,
                "query": query or given.queries.get(query_id or ""),
                "retrieved": [_as_logged(chunk) for chunk in ranked],
                "signals": graded(query_id, ranked, given, given.grades.get(query_id or "", {})),
            },
            problems,
        )


def _query(entry: Entry) -> tuple[str | None, str | None]:
    query = entry.value.get("query")
    if isinstance(query, str):
        return first_text(entry.value, "qid", "query_id", "topic_id"), query
    found = metadata_in(query)
    return first_text(found, "qid", "id", "query_id"), first_text(found, "text", "query")


def _candidates(entry: Entry, problems: list[str]) -> list[Ranked]:
    """Return the candidates in their order; of one without a docid, the id is made of its text."""
    found = []
    for rank, candidate in enumerate(list_in(entry.value, "candidates", problems), start=1):
        if isinstance(candidate, str):
            found.append(Ranked(chunk_id(candidate), rank, None, candidate))
            continue
        candidate = metadata_in(candidate)
        document = candidate.get("doc")
        inner = metadata_in(document)
        text = document if isinstance(document, str) and not inner else None
        text = text or first_text(inner, "segment", "text", "contents", "passage", "body")
        name = first_text(candidate, "docid", "doc_id", "id") or chunk_id(text or "")
        found.append(Ranked(name, rank, candidate.get("score"), text, first_text(inner, "title")))
    return found


def _load_results(log: LogFile, given: Given) -> None:
    for entry in entries(log):
        query_id, query = _query(entry)
        problems = [entry.problem] if entry.problem else []
        ranked = _candidates(entry, problems)
        if problems or not query_id:
            problem = problems[0] if problems else "retrieval results need a qid to belong to an answer"
            raise InvalidDataError(f"{log.name}:{entry.line}: {problem}")
        given.runs[query_id] = Run(ranked, log.name)
        if query:
            given.queries.setdefault(query_id, query)


ANSWERS = Format(
    "trec-rag", "TREC RAG answers", _is_answers, _read_answers, ("topic_id", "references", "answer"), cites=True
)
RESULTS = Format(
    "trec-rag-retrieval",
    "TREC RAG retrieval results",
    _is_results,
    _read_results,
    ("query", "candidates"),
    cites=True,
)
RESULTS_BESIDE = Side("TREC RAG retrieval results", _is_results, _load_results)
