"""LlamaIndex's EmbeddingQAFinetuneDataset: one JSON object with `queries`, `corpus` and `relevant_docs`.

https://developers.llamaindex.ai/python/examples/finetuning/embeddings/finetune_embedding and the class behind it
(https://github.com/run-llama/llama_index, llama_index/finetuning/embeddings/common.py). Nothing in it says what was
retrieved: each query becomes an interaction that holds its relevant chunks, with the signal `relevant`. The rest of its
corpus comes in too, for searches beyond the log.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from mining.formats.json_entries import Entry, entries
from mining.formats.source import Format, Given, Sample, line_of
from mining.log_errors import at_most, explain
from mining.log_format import CorpusEntry
from mining.log_lines import Line, LogFile
from store.progress import Progress

_KEYS = ("queries", "corpus", "relevant_docs")


def _recognises(sample: Sample) -> str | None:
    if any(set(_KEYS) <= found.keys() for found in sample.objects):
        return "it is one object with queries, corpus and relevant_docs"
    return None


class _Doubled(dict[str, Any]):
    """An object that has a key twice: one of the two values is lost."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    doubled.key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return doubled


def _read(log: LogFile, given: Given, progress: Progress) -> Iterator[Line]:
    for entry in entries(log, progress.advance, _object):
        if problem := _problem(entry):
            yield Line(entry.line, 0, entry.raw or b"{}", problem)
            continue
        queries, corpus, relevant = (entry.value[key] for key in _KEYS)
        for query_id, query in queries.items():
            yield _interaction(entry.line, query_id, query, relevant.get(query_id, []), corpus)


def _problem(entry: Entry) -> str | None:
    if entry.problem:
        return entry.problem
    for name, part in (("the file", entry.value), *entry.value.items()):
        if isinstance(part, _Doubled):
            return f'{name}: "{part.key}" stands there twice'
    lacking = [key for key in _KEYS if not isinstance(entry.value.get(key), dict)]
    if lacking:
        return f"{', '.join(lacking)}: missing, or not a JSON object"
    return "; ".join(at_most([wrong for item in entry.value["corpus"].items() if (wrong := _wrong(*item))])) or None


def _interaction(line: int, query_id: str, query: Any, names: Any, corpus: dict[str, Any]) -> Line:  # noqa: ANN401
    problems = [] if isinstance(names, list) else [f'relevant_docs: what query "{query_id}" has is not a list']
    chunks = list(dict.fromkeys(map(str, names))) if isinstance(names, list) else []
    problems += [
        f'relevant_docs: query "{query_id}" names "{c}", which the corpus lacks' for c in chunks if c not in corpus
    ]
    return line_of(
        line,
        {
            "query_id": query_id,
            "query": query,
            "retrieved": [{"chunk_id": c, "rank": n, "text": corpus.get(c)} for n, c in enumerate(chunks, start=1)],
            "signals": [{"signal": "relevant", "chunk_id": c, "source": "relevant_docs"} for c in chunks] or None,
        },
        problems,
    )


def _wrong(name: str, text: object) -> str | None:
    try:
        CorpusEntry.model_validate({"chunk_id": name, "text": text})
    except ValidationError as error:
        return f'corpus: "{name}": {explain(error)[0]}'
    return None


def _corpus(log: LogFile) -> Iterator[CorpusEntry]:
    """Yield every chunk of the corpus, whether a query names it or not."""
    for entry in entries(log, pairs=_object):
        for name, text in entry.value["corpus"].items() if not _problem(entry) else ():
            yield CorpusEntry(chunk_id=name, text=text)


FORMAT = Format(
    "llamaindex", "LlamaIndex queries, corpus, relevant_docs", _recognises, _read, _KEYS, cites=True, corpus=_corpus
)
