"""A corpus file: the texts of chunks that a log names by id only."""

import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from mining.log_errors import BadLines, explain
from mining.log_format import CorpusEntry
from mining.log_lines import Line, LogFile, opened
from store.errors import InvalidDataError


@dataclass(frozen=True, slots=True)
class Corpus:
    """An opened corpus. `find` returns the entry of a chunk id, or None.

    `check_unchanged` raises InvalidDataError if the file has been written to since it was opened: what was found after
    that may be no entry of it.
    """

    name: str
    fingerprint: str
    find: Callable[[str], CorpusEntry | None]
    check_unchanged: Callable[[], None]


@contextlib.contextmanager
def opened_corpus(file: Path) -> Iterator[Corpus]:
    """Open a corpus file, plain or gzip. Memory holds its ids; its texts stay on disk until they are asked for.

    Raises:
        InvalidDataError: lines are wrong, or one id has two texts; each is named.
        MissingError: there is no such file.
        UsageError: it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened(file))
        bad = BadLines(log.name)
        offsets, repeated = _index(log, bad)
        texts = log.unpacked()
        if texts is not log.raw:
            texts, packed = stack.enter_context(tempfile.TemporaryFile()), texts
            shutil.copyfileobj(packed, texts)
            log.check_unchanged()

        def entry_at(offset: int) -> CorpusEntry:
            try:
                return _entry(texts, offset)
            except ValidationError:  # something else stands there now
                log.check_unchanged()
                raise

        @functools.lru_cache(maxsize=4096)
        def find(chunk_id: str) -> CorpusEntry | None:
            return entry_at(offsets[chunk_id]) if chunk_id in offsets else None

        for line, offset in repeated:
            again = entry_at(offset)
            first = find(again.chunk_id)
            if first and first.text != again.text:
                note_two_texts(bad, line, again)
        refuse_wrong(bad)
        yield Corpus(log.name, log.fingerprint, find, log.check_unchanged)


def note_two_texts(bad: BadLines, line: int, entry: CorpusEntry) -> None:
    """Note a line of a corpus whose id had another text before."""
    bad.add(line, [f'chunk_id "{entry.chunk_id}" had another text before'])


def refuse_wrong(bad: BadLines) -> None:
    """Raise InvalidDataError if lines of a corpus are wrong."""
    if bad.count:
        raise InvalidDataError(f"{bad.count:,} lines of the corpus {bad.file} are wrong\n{bad}")


def _index(log: LogFile, bad: BadLines) -> tuple[dict[str, int], list[tuple[int, int]]]:
    """Map each id to the offset of its first line; list line and offset of the lines that repeat an id."""
    offsets: dict[str, int] = {}
    repeated = []
    for line, entry in corpus_entries(log, bad):
        if offsets.setdefault(entry.chunk_id, line.offset) != line.offset:
            repeated.append((line.number, line.offset))
    return offsets, repeated


def corpus_entries(log: LogFile, bad: BadLines) -> Iterator[tuple[Line, CorpusEntry]]:
    """Yield the good lines of a corpus file with what they say; note the bad ones."""
    for line in log.lines():
        if line.problem:
            bad.add(line.number, [line.problem])
            continue
        try:
            yield line, CorpusEntry.model_validate_json(line.content)
        except ValidationError as error:
            if not _is_empty_in_beir(line.content):
                bad.add(line.number, explain(error))


def _is_empty_in_beir(content: bytes) -> bool:
    """Tell whether a line is one of the documents without text and title that some data sets of BEIR hold."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "_id" in value and value.get("text") == "" and not value.get("title")


def _entry(texts: IO[bytes], offset: int) -> CorpusEntry:
    texts.seek(offset)
    return CorpusEntry.model_validate_json(texts.readline())
