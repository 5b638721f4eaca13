"""What an import tells of its progress where the records of one interaction must be brought together first."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mining.formats import grouping, json_entries
from mining.import_log import import_files
from store.database import Store
from tests.imported import write_lines, write_text

QUERIES, CHUNKS = 40, 5
RECORDS = QUERIES * CHUNKS


class Watching:
    """Keeps what each stretch was called, its total, and every step of it."""

    def __init__(self) -> None:
        self.stretches: list[tuple[str, int | None, list[int]]] = []

    def start(self, description: str, total: int | None) -> None:
        self.stretches.append((description, total, []))

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.stretches[-1][2].append(steps)


def _rows() -> list[dict[str, object]]:
    """Rows of a table, those of one query far apart."""
    return [
        {"query": f"question {query}", "text": f"passage {chunk} on {query}", "rank": chunk}
        for chunk in range(1, CHUNKS + 1)
        for query in range(QUERIES)
    ]


def _csv(folder: Path) -> list[Path]:
    lines = ["query,text,rank", *(",".join(map(str, row.values())) for row in _rows())]
    return [write_text(folder / "rows.csv", "\n".join(lines))]


def _hugging_face(folder: Path) -> list[Path]:
    import datasets

    rows = datasets.Dataset.from_list([*_rows(), {"query": "left out", "text": "of the split", "rank": 1}])
    rows.info.splits = datasets.SplitDict({"train": datasets.SplitInfo("train", num_examples=10 * RECORDS)})
    rows.select(range(RECORDS)).save_to_disk(str(folder / "set"))
    return [folder / "set"]


def _run(folder: Path) -> list[Path]:
    rows = [
        f"q{query} Q0 d{chunk} {chunk} {1 / chunk} tag" for chunk in range(1, CHUNKS + 1) for query in range(QUERIES)
    ]
    queries = ({"_id": f"q{query}", "text": f"question {query}"} for query in range(QUERIES))
    chunks = ({"_id": f"d{chunk}", "text": f"passage {chunk}"} for chunk in range(1, CHUNKS + 1))
    return [
        write_text(folder / "run.trec", "\n".join(rows)),
        write_lines(folder / "queries.jsonl", queries),
        write_lines(folder / "corpus.jsonl", chunks),
    ]


def _spans(folder: Path) -> list[Path]:
    """One trace a query: of five spans the last one retrieves."""
    spans = [
        {
            "id": f"{query}-{place}",
            "trace_id": f"t{query}",
            "type": "RETRIEVER" if place == CHUNKS else "SPAN",
            "start_time": "2026-11-02T09:00:00Z",
            "input": f"question {query}",
            "output": [{"text": f"passage on {query}"}] if place == CHUNKS else None,
        }
        for place in range(1, CHUNKS + 1)
        for query in range(QUERIES)
    ]
    return [write_text(folder / "spans.json", json.dumps(spans))]


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("written", [_csv, _hugging_face, _run, _spans])
def test_what_is_brought_together_is_told_of_after_what_is_read(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: Callable[[Path], list[Path]],
    in_memory: bool,
) -> None:
    monkeypatch.setattr(grouping, "_TOLD_AT_A_TIME", 10)
    monkeypatch.setattr(json_entries, "_TOLD_AT_A_TIME", 1_000)
    if not in_memory:
        monkeypatch.setattr(grouping, "_IN_MEMORY", 1_000)  # bytes: the rest goes to disk
    file, *beside = written(tmp_path)
    corpus = beside.pop() if beside else None
    watching = Watching()
    result = import_files(store, [file, *beside], corpus=corpus, progress=watching)
    assert (result.interactions, len(result.files)) == (QUERIES, 1)
    size = RECORDS if file.is_dir() else file.stat().st_size
    *looked_for_citations, (read, size_told, read_steps), (together, records, steps) = watching.stretches
    assert [stretch[1:] for stretch in looked_for_citations] in ([], [(size, read_steps), (RECORDS, steps)])
    assert (read, size_told, sum(read_steps)) == (f"import {file}", size, size)
    assert (together, records, sum(steps)) == (f"bring together the records of {file}", RECORDS, RECORDS)
    assert len(steps) > 10, "told while they are stored"
    assert file.suffix != ".json" or len(read_steps) > 10


def test_queries_of_a_data_set_without_a_run_are_told_of_as_they_are_read(store: Store, tmp_path: Path) -> None:
    texts = [{"_id": f"q{n}", "text": f"question {n} {'x' * 30_000}"} for n in range(90)]
    write_lines(tmp_path / "queries.jsonl", texts)
    write_lines(tmp_path / "corpus.jsonl", [{"_id": "d1", "text": "a passage"}])
    grades = "".join(f"q{n}\td1\t1\n" for n in range(90))
    write_text(tmp_path / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\n{grades}")
    watching = Watching()
    assert import_files(store, [tmp_path], progress=watching).interactions == 90
    _, total, steps = watching.stretches[0]
    assert total == sum(steps) == (tmp_path / "queries.jsonl").stat().st_size
    assert len(steps) > 2
