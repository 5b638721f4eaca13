"""The rest of the corpus: chunks that no log names, for searches beyond the log."""

from itertools import islice
from pathlib import Path

from mining.corpus import corpus_entries
from mining.log_errors import BadLines
from mining.log_lines import opened
from store.chunks import NamedChunk, add_chunks
from store.database import Store
from store.errors import InvalidDataError
from store.progress import Progress, silent

_LINES_AT_A_TIME = 10_000


def add_corpus(store: Store, file: Path, *, progress: Progress = silent) -> int:
    """Store the chunks of a corpus file, wholly or not at all; a second time changes nothing.

    Args:
        store: where to.
        file: JSON Lines, plain or gzip, as `uncited import --corpus` takes it.
        progress: told of lines.

    Returns:
        How many chunks are new.

    Raises:
        MissingError: there is no such file.
        UsageError: it cannot be read.
        InvalidDataError: lines are wrong; each is named.
    """
    new = 0
    with opened(file) as log, store.transaction():
        bad = BadLines(log.name)
        progress.start("reading the corpus", None)
        entries = corpus_entries(log, bad)
        while lines := list(islice(entries, _LINES_AT_A_TIME)):
            chunks = [NamedChunk(e.chunk_id, e.text, e.kind or "text", e.document, e.title) for _, e in lines]
            new += add_chunks(store, chunks)
            progress.advance(len(chunks))
        if bad.count:
            raise InvalidDataError(f"{bad.count:,} lines of the corpus {log.name} are wrong\n{bad}")
    return new
