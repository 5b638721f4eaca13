"""Ragas samples: `user_input`, `retrieved_contexts`, `response`, and what ought to have been retrieved.

Fields: https://docs.ragas.io/en/stable/concepts/components/eval_sample/ and the ids of
https://docs.ragas.io/en/stable/concepts/metrics/available_metrics/context_precision/ (`retrieved_context_ids`,
`reference_context_ids`). JSON Lines, a JSON array, Parquet, or CSV as `EvaluationDataset.to_csv` and pandas write it.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mining.formats.csv_rows import csv_header, csv_rows
from mining.formats.json_entries import Entry, entries, holds_objects
from mining.formats.parquet import is_parquet
from mining.formats.source import Format, Given, Read, Sample, line_of
from mining.formats.texts import QUERY_KEYS, list_in, text_in
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.ids import chunk_id
from store.progress import Progress

_KEYS = ("user_input", "retrieved_contexts")
# What the columns of a CSV file are like: a list of texts, or a text even if it looks like a list.
_LIKE = {
    **dict.fromkeys(("retrieved_contexts", "reference_contexts"), "text"),
    **dict.fromkeys(("retrieved_context_ids", "reference_context_ids"), "chunk_id"),
    **dict.fromkeys(("response", "reference"), "answer"),
}


def _recognises(sample: Sample) -> str | None:
    if any(_has_contexts(found) for found in sample.objects):
        return "its objects are Ragas samples: user_input, retrieved_contexts"
    if sample.lines and not sample.objects and _has_contexts(csv_header(sample.lines[0])):
        return "its columns are those of Ragas samples: user_input, retrieved_contexts"
    return None


def _has_contexts(names: Iterable[str]) -> bool:
    known = set(names)
    return "user_input" in known and bool({"retrieved_contexts", "reference_contexts", "retrieved_context_ids"} & known)


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    if not is_parquet(log) and not holds_objects(log):
        yield from _of_csv(log, progress.advance)
        return
    for entry in entries(log, progress.advance):
        if entry.problem:
            yield Line(entry.line, 0, entry.raw, entry.problem)
        else:
            yield from _sample(entry)


def _of_csv(log: LogFile, read: Read) -> Iterator[Line]:
    def check(columns: Sequence[str]) -> None:
        if columns and "user_input" not in columns:
            raise InvalidDataError(
                f"{log.name} has no column user_input (its columns: {', '.join(columns)})",
                hint=f"uncited import {shlex.quote(log.name)} --map query=COLUMN --map text=COLUMN",
            )

    bad: list[Line] = []
    for number, row in csv_rows(log, check, _LIKE, read, bad):
        yield from _sample(Entry(number, {name: value for name, value in row.items() if value != ""}, b"", None))
    yield from bad


def _sample(entry: Entry) -> Iterator[Line]:
    """Yield a sample as an interaction, and the reference contexts that were not retrieved as one of their own."""
    found = entry.value
    problems: list[str] = []
    retrieved = _contexts(found, "retrieved_contexts", "retrieved_context_ids", problems)
    wanted = _contexts(found, "reference_contexts", "reference_context_ids", problems)
    texts = {text: name for name, text in retrieved.items() if isinstance(text, str)}
    relevant = {
        texts.get(text, name) if name not in retrieved and isinstance(text, str) else name: text
        for name, text in wanted.items()
    }
    asked = found.get("user_input")
    query = text_in(asked, QUERY_KEYS) if isinstance(asked, list) else asked  # several turns are a list of messages
    yield line_of(
        entry.line,
        {
            "query": query,
            "answer": found.get("response"),
            "retrieved": _chunks(retrieved),
            "signals": _signals(name for name in relevant if name in retrieved) or None,
            **{key: found[key] for key in ("reference", "rubrics") if found.get(key) is not None},
        },
        problems,
    )
    missed = {name: text for name, text in relevant.items() if name not in retrieved}
    if missed and not problems:
        chunks, signals = _chunks(missed), _signals(missed)
        yield line_of(entry.line, {"query": query, "source": "reference", "retrieved": chunks, "signals": signals})


def _contexts(found: dict[str, Any], texts_key: str, ids_key: str, problems: list[str]) -> dict[str, str | None]:
    """Map ids to texts, in order; without ids a text names itself, without texts a corpus must have them."""
    texts, ids = (list_in(found, key, problems) for key in (texts_key, ids_key))
    if texts and ids and len(texts) != len(ids):
        problems.append(f"{len(texts)} {texts_key} and {len(ids)} {ids_key}")
        return {}
    names = [str(name) for name in ids] or [chunk_id(str(text)) for text in texts]
    contexts: dict[str, str | None] = {}
    for name, text in zip(names, texts or [None] * len(names), strict=True):
        if contexts.setdefault(name, text) != text:
            problems.append(f'{ids_key}: "{name}" stands for two texts')
    return contexts


def _chunks(contexts: dict[str, str | None]) -> list[dict[str, Any]]:
    return [
        {"chunk_id": name, "rank": rank, **({"text": text} if text is not None else {})}
        for rank, (name, text) in enumerate(contexts.items(), start=1)
    ]


def _signals(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"signal": "relevant", "chunk_id": name, "source": "reference"} for name in names]


FORMAT = Format("ragas", "Ragas samples", _recognises, _read, _KEYS)
