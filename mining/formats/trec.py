"""TREC runs and qrels, and data sets in the form of BEIR.

A run has six columns (topic, Q0, document, rank, score, tag), qrels four (topic, iteration, document, relevance):
https://trec.nist.gov/data/qrels_eng and https://github.com/usnistgov/trec_eval (README). A BEIR folder holds
corpus.jsonl and queries.jsonl (`_id`, `title`, `text`) and qrels/*.tsv with a header (query-id, corpus-id, score):
https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset. Topics may also be two columns parted by a tab, or
JSON Lines with an id and a text.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mining.formats.grouping import grouped
from mining.formats.json_entries import entries, holds_objects
from mining.formats.source import Format, Given, Grade, Ranked, Read, Run, Sample, Side, line_of
from mining.formats.texts import first_text
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError, MissingError
from store.progress import Progress, silent

_RUN_COLUMNS, _QRELS_COLUMNS = 6, 4
_QUERY_IDS = ("_id", "query_id", "qid", "id", "topic_id", "narrative_id")
_QUERY_TEXTS = ("text", "query", "title", "narrative", "topic", "question")


class _Row(NamedTuple):
    """One line of a run."""

    line: int
    chunk_id: str
    rank: int
    score: float


def _is_run(sample: Sample) -> str | None:
    """Recognise a run by most of its first lines: a bad one is named when the file is read."""
    rows = [line.split() for line in sample.lines]
    fitting = sum(len(row) == _RUN_COLUMNS and _whole(row[3]) and _number(row[4]) is not None for row in rows)
    if fitting and 2 * fitting >= len(rows) and "query" not in rows[0]:  # that is the header of a table
        return "its lines have the six columns of a TREC run"
    return None


def _is_qrels(sample: Sample) -> str | None:
    rows = [line.split() for line in sample.lines]
    if rows and rows[0] == ["query-id", "corpus-id", "score"]:
        return "its header is that of BEIR qrels"
    if rows and all(len(row) == _QRELS_COLUMNS and _whole(row[3]) for row in rows):
        return "its lines have the four columns of TREC qrels"
    return None


def _is_queries(sample: Sample) -> str | None:
    for found in sample.objects:
        is_row = "query" in found and "text" in found  # of a table
        is_more = is_row or "answer" in found or any(isinstance(value, list) for value in found.values())
        if first_text(found, *_QUERY_IDS) and first_text(found, *_QUERY_TEXTS) and not is_more:
            return "its objects are queries: an id and a text"
    header = set(sample.lines[0].split("\t")) if sample.lines else set()
    pairs = all(line.count("\t") == 1 and not line.lstrip().startswith("{") for line in sample.lines)
    if sample.lines and pairs and not {"query", "text"} <= header:  # that is a table
        return "its lines are queries: an id, a tab, a text"
    return None


def read_run(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    """Yield one interaction for each topic of a run, and one for the graded chunks that the run lacks.

    Ranks are the run's where no rank comes twice for a topic (counted from 1); else the order of the scores, as
    trec_eval has it. Where a file holds several runs, each is a list of its own.
    """
    _need_texts(log.name, given)
    told: set[str] = set()
    for key, rows in grouped(_run_rows(log, progress.advance), log.name, progress):
        if key is None:
            yield from rows
            continue
        query_id, tag = key
        ranked, problem = _ranked(rows)
        query = given.queries.get(query_id)
        problems = [problem] if problem else []
        if query is None:
            problems.append(f'query "{query_id}" has no text in the files of queries')
        grades = grades_once(query_id, given, told) if not problems else {}
        yield line_of(
            rows[0].line,
            {
                "interaction_id": f"{tag}/{query_id}",
                "query_id": query_id,
                "query": query,
                "source": tag,
                "retrieved": [{"chunk_id": c.chunk_id, "rank": c.rank, "score": c.score} for c in ranked],
                "signals": graded(query_id, ranked, given, grades),
            },
            problems,
        )
        yield from judged(query_id, query, rows[0].line, given, grades, after=ranked)


def read_queries(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    """Yield one interaction for the graded chunks of each query: a data set without a run."""
    _need_texts(log.name, given)
    for line, query_id, query in _queries(log, progress.advance):
        yield from judged(query_id, query, line, given, given.grades.get(query_id, {}))


def grades_once(query_id: str | None, given: Given, told: set[str]) -> dict[str, Grade]:
    """Return the grades of a query the first time: said with every answer to it, they would count as often."""
    if query_id is None or query_id in told:
        return {}
    told.add(query_id)
    return given.grades.get(query_id, {})


def graded(
    query_id: str | None, chunks: Iterable[Ranked], given: Given, grades: dict[str, Grade]
) -> list[dict[str, Any]] | None:
    """Return the grades of these chunks as signals: `grade:2`, with the name of their file as the source."""
    found = [(chunk.chunk_id, grades[chunk.chunk_id]) for chunk in chunks if chunk.chunk_id in grades]
    given.matched.grades.update((query_id or "", chunk) for chunk, _ in found)
    return [
        {"signal": f"grade:{grade.grade}", "chunk_id": chunk, "source": grade.source} for chunk, grade in found
    ] or None


def judged(
    query_id: str, query: str | None, line: int, given: Given, grades: dict[str, Grade], after: Sequence[Ranked] = ()
) -> Iterator[Line]:
    """Yield an interaction of the graded chunks that a list lacks and whose texts the corpus has.

    Their ranks go on where the list ends, in the order of the file of grades.
    """
    listed = {chunk.chunk_id for chunk in after}
    last = max((chunk.rank for chunk in after), default=0)
    names = [name for name in grades if name not in listed and given.corpus and given.corpus.find(name)]
    if query is None or not names:
        return
    chunks = [Ranked(name, rank, None) for rank, name in enumerate(names, start=last + 1)]
    yield line_of(
        line,
        {
            "interaction_id": f"grades/{query_id}",
            "query_id": query_id,
            "query": query,
            "source": "grades",
            "retrieved": [{"chunk_id": chunk.chunk_id, "rank": chunk.rank} for chunk in chunks],
            "signals": graded(query_id, chunks, given, grades),
        },
    )


def _need_texts(name: str, given: Given) -> None:
    if not given.queries:
        raise MissingError(
            f"{name} names queries by id only; give a file with their texts too",
            hint=f"uncited import {name} queries.jsonl --corpus corpus.jsonl",
        )
    if not given.corpus:
        raise MissingError(
            f"{name} names chunks by id only; give a corpus with their texts too",
            hint=f"uncited import {name} queries.jsonl --corpus corpus.jsonl",
        )


def _run_rows(log: LogFile, read: Read) -> Iterator[tuple[tuple[str, str] | None, Any]]:
    for line in log.lines(read):
        if line.problem:
            yield None, line
            continue
        columns = line.content.decode().split()
        if len(columns) != _RUN_COLUMNS:
            yield None, line._replace(problem=f"{len(columns)} columns; a run has {_RUN_COLUMNS}")
            continue
        query_id, _, chunk, rank, score, tag = columns
        value = _number(score)
        if not _whole(rank) or value is None:
            wrong = f'rank "{rank}" is not a whole number' if not _whole(rank) else f'score "{score}" is not a number'
            yield None, line._replace(problem=wrong)
            continue
        yield (query_id, tag), _Row(line.number, chunk, int(rank), value)


def _ranked(rows: list[_Row]) -> tuple[list[Ranked], str | None]:
    first: dict[str, int] = {}
    problem = None
    for row in rows:
        if (earlier := first.setdefault(row.chunk_id, row.line)) != row.line:
            problem = problem or f'line {row.line}: document "{row.chunk_id}" stands in line {earlier} already'
    ranks = {row.rank for row in rows}
    if len(ranks) == len(rows) and min(ranks) >= 0:
        shift = 1 if 0 in ranks else 0
        return [Ranked(r.chunk_id, r.rank + shift, r.score) for r in sorted(rows, key=lambda r: r.rank)], problem
    by_score = sorted(rows, key=lambda row: (-row.score, row.rank))
    return [Ranked(row.chunk_id, rank, row.score) for rank, row in enumerate(by_score, start=1)], problem


def load_run(log: LogFile, given: Given) -> None:
    """Hold a run in memory, for answers that belong to its lists."""
    for key, rows in grouped(_run_rows(log, silent.advance), log.name, silent):
        if key is None:
            raise InvalidDataError(f"{log.name}:{rows[0].number}: {rows[0].problem}")
        query_id, tag = key
        ranked, problem = _ranked(rows)
        if query_id in given.runs:
            problem = problem or f'run "{tag}" ranks topic "{query_id}" too; give one run'
        if problem:
            raise InvalidDataError(f"{log.name}: {problem}")
        given.runs[query_id] = Run(ranked, log.name)


def load_grades(log: LogFile, given: Given) -> None:
    """Hold qrels in memory.

    Raises:
        InvalidDataError: a line is none of qrels, or a pair has two grades.
    """
    for line in log.lines():
        columns = [] if line.problem else line.content.decode().split()
        if columns == ["query-id", "corpus-id", "score"]:
            continue
        if len(columns) not in (_QRELS_COLUMNS - 1, _QRELS_COLUMNS) or not _whole(columns[-1]):
            problem = line.problem or f'"{" ".join(columns)[:60]}" is no line of qrels: query, iteration, chunk, grade'
            raise InvalidDataError(f"{log.name}:{line.number}: {problem}")
        query_id, chunk, grade = columns[0], columns[-2], str(int(columns[-1]))
        known = given.grades.setdefault(query_id, {}).setdefault(chunk, Grade(grade, log.name))
        if known.grade != grade:
            two = f"has the grade {grade} here and {known.grade} before"
            raise InvalidDataError(f'{log.name}:{line.number}: chunk "{chunk}" of query "{query_id}" {two}')


def load_queries(log: LogFile, given: Given) -> None:
    """Hold the texts of queries in memory.

    Raises:
        InvalidDataError: a line is wrong, one id has two texts, or there is no query.
    """
    for line, query_id, query in _queries(log, silent.advance):
        if given.queries.setdefault(query_id, query) != query:
            raise InvalidDataError(f'{log.name}:{line}: query "{query_id}" had another text before')
    if not given.queries:
        raise InvalidDataError(f"{log.name} holds no query")


def _queries(log: LogFile, read: Read) -> Iterator[tuple[int, str, str]]:
    if not holds_objects(log):
        for line in log.lines(read):
            query_id, tab, text = ("", "", "") if line.problem else line.content.decode().partition("\t")
            if not tab or not query_id.strip() or not text.strip():
                raise InvalidDataError(f"{log.name}:{line.number}: {line.problem or 'no query id, tab and text'}")
            yield line.number, query_id.strip(), text.strip()
        return
    for entry in entries(log, read):
        named, asked = first_text(entry.value, *_QUERY_IDS), first_text(entry.value, *_QUERY_TEXTS)
        if entry.problem or not named or not asked:
            raise InvalidDataError(f"{log.name}:{entry.line}: {entry.problem or 'a query needs an id and a text'}")
        yield entry.line, named, asked


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


RUN = Format("trec", "TREC run", _is_run, read_run, cites=True)
BEIR = Format("beir", "BEIR folder", lambda sample: None, read_queries, cites=True)
QRELS = Side("qrels", _is_qrels, load_grades)
QUERIES = Side("queries", _is_queries, load_queries)
