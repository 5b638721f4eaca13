"""The rest of the corpus: chunks that no log names, for searches beyond the log."""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mining.corpus import corpus_entries, note_two_texts, refuse_wrong
from mining.log_errors import BadLines
from mining.log_format import CorpusEntry
from mining.log_lines import LogFile, opened
from store.chunks import NamedChunk, adding_chunks
from store.database import Store
from store.progress import Progress, silent

_CHUNKS_AT_A_TIME = 10_000


def add_corpus(store: Store, file: Path, *, dry_run: bool = False, progress: Progress = silent) -> int:
    """Store the chunks of a corpus file as `store_corpus` does.

    Args:
        store: where to.
        file: JSON Lines, plain or gzip, as `uncited import --corpus` takes it.
        dry_run: store nothing, but count what is new.
        progress: told of chunks.

    Raises:
        MissingError: there is no such file.
        UsageError: it cannot be read.
        InvalidDataError: lines are wrong, or one id has two texts; each is named.
    """
    with opened(file) as log:
        return store_corpus(store, _entries(log), dry_run=dry_run, progress=progress)


def store_corpus(
    store: Store, entries: Iterable[CorpusEntry], *, dry_run: bool = False, progress: Progress = silent
) -> int:
    """Store chunks, all of them or none, a batch at a time in memory; a second time changes nothing.

    Returns:
        How many of them the store did not hold.
    """
    new = 0
    chunks = (NamedChunk(e.chunk_id, e.text, e.kind or "text", e.document, e.title) for e in entries)
    progress.start("reading the corpus", None)
    with contextlib.suppress(_DryRunEnds), store.transaction(), adding_chunks(store) as add:
        while batch := list(islice(chunks, _CHUNKS_AT_A_TIME)):
            new += add(batch)
            progress.advance(len(batch))
        if dry_run:
            raise _DryRunEnds
    return new


class _DryRunEnds(Exception):
    """Takes a transaction back."""


def _entries(log: LogFile) -> Iterator[CorpusEntry]:
    bad = BadLines(log.name)
    texts: dict[str, int] = {}  # hashes: memory holds the ids, not the texts
    for line, entry in corpus_entries(log, bad):
        text = hash(entry.text)
        if texts.setdefault(entry.chunk_id, text) == text:
            yield entry
        else:
            note_two_texts(bad, line.number, entry)
    refuse_wrong(bad)
