"""One row of an export, whatever its format: the build that it is from, and the texts in it.

Nothing is asked of a format but a `manifest.json` that names the build, in the row's folder or above it, and texts that
are those of the build letter by letter, or their ids.
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from store.errors import InvalidDataError, MissingError, UsageError

MANIFEST = "manifest.json"
_LEVELS = 3  # of folders, from the row's own upwards, in which the manifest may lie
_LONGEST_CELL = 2**24


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A row of an exported file.

    `line` is 1-based; of Parquet and Arrow it is the number of the row, of LlamaIndex's one document that of the query.
    `format` is the manifest's word for it; `unchanged` tells whether the file still has the bytes that were exported,
    None where the manifest says nothing about it.
    """

    folder: Path
    file: Path
    line: int
    build_id: str
    format: str | None
    unchanged: bool | None
    texts: tuple[str, ...]


def names_a_row(name: str) -> bool:
    """Tell whether `name` has the form FILE:LINE of a file that is there."""
    file, _, line = name.rpartition(":")
    return line.isascii() and line.isdigit() and Path(file).is_file()


def read_exported_row(name: str) -> ExportedRow:
    """Read the row that `FILE:LINE` names.

    Raises:
        MissingError: there is no manifest with it, or the file has no such line.
        UsageError: the file is of a kind that is not read line by line.
        InvalidDataError: the manifest, or the line, cannot be read.
    """
    place, _, number = name.rpartition(":")
    file, line = Path(place), int(number)
    folder, manifest = _manifest(file)
    if line < 1:
        raise UsageError(f"{name}: the first line is 1")
    try:
        row = _row(file, line)
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise InvalidDataError(f"{name} cannot be read: {error}") from error
    if row is None:
        raise MissingError(f"{file} has fewer than {line} lines")
    if manifest.get("format") == "colbert" and file.name.startswith("triples."):
        row = _numbered_texts(file, row)
    recorded = manifest.get("files", {}).get(file.resolve().relative_to(folder.resolve()).as_posix(), {})
    expected = recorded.get("sha256") if isinstance(recorded, dict) else None
    return ExportedRow(
        folder=folder,
        file=file,
        line=line,
        build_id=str(manifest["build"]["build_id"]),
        format=manifest.get("format"),
        unchanged=None if expected is None else _sha256(file) == expected,
        texts=tuple(dict.fromkeys(_texts(row))),
    )


def _manifest(file: Path) -> tuple[Path, dict[str, Any]]:
    for folder in list(file.resolve().parents)[:_LEVELS]:
        if (folder / MANIFEST).is_file():
            try:
                manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
                manifest["build"]["build_id"]
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidDataError(f"{folder / MANIFEST} names no build: {error}") from error
            return folder, manifest
    raise MissingError(
        f"{file} lies in no export: there is no {MANIFEST} beside it", hint="uncited export --policy NAME --out DIR"
    )


def _row(file: Path, line: int) -> object:
    """Return the row at a line (1-based), or None behind the last one; of CSV, a header is line 1."""
    name = file.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = (row for batch in pq.ParquetFile(file).iter_batches(batch_size=1000) for row in batch.to_pylist())
        return next(islice(rows, line - 1, None), None)
    if suffix == ".arrow":
        import pyarrow.ipc

        with pyarrow.ipc.open_stream(file) as batches:  # as `datasets` writes them
            return next(islice((row for batch in batches for row in batch.to_pylist()), line - 1, None), None)
    if suffix == ".json":
        return _query_of_document(file, line)
    with _opened(file) as lines:
        if suffix == ".csv":
            csv.field_size_limit(_LONGEST_CELL)
            return next(islice(csv.reader(lines), line - 1, None), None)
        found = next(islice(lines, line - 1, None), None)
        if found is None:
            return None
        if suffix == ".jsonl":
            return json.loads(found)
        if suffix in (".tsv", ".txt"):
            return found.rstrip("\r\n").split("\t")
        if suffix == ".trec":
            return found.split()
    raise UsageError(f"{file} is not read line by line: JSON Lines, Parquet, Arrow, TSV, CSV and TREC files are")


def _query_of_document(file: Path, number: int) -> object:
    """Return a query of LlamaIndex's one document, by its place (1-based), with the texts that it names."""
    with _opened(file) as opened:
        document = json.load(opened)
    try:
        queries, corpus, relevant = (document[key] for key in ("queries", "corpus", "relevant_docs"))
        found = next(islice(queries.items(), number - 1, None), None)
        return found and [found[1], *(corpus[name] for name in relevant.get(found[0], ()))]
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file} is one JSON document, and none of LlamaIndex: it has no rows") from error


def _numbered_texts(file: Path, row: object) -> list[str]:
    """Return the texts of a triple of ColBERT, which names them by their numbers (from 0) in two files beside it."""
    if not isinstance(row, list) or not row:
        raise InvalidDataError(f"{file} holds a line that is no list of numbers")
    passages = [passage[0] if isinstance(passage, list) else passage for passage in row[1:]]
    wanted = {"queries.tsv": [row[0]], "collection.tsv": passages}
    texts = []
    for name, numbers in wanted.items():
        beside = file.with_name(f"{name}{file.suffix}" if file.suffix == ".gz" else name)
        if not beside.is_file():
            raise MissingError(f"{file} names texts by their numbers in {beside}, which is not there")
        with _opened(beside) as lines:
            texts += [line.rstrip("\r\n").partition("\t")[2] for at, line in enumerate(lines) if at in numbers]
    return texts


def _opened(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
