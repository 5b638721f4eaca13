"""One thing to import, opened: its lines in uncited's own format, and what it is known by."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mining.corpus import Corpus
from mining.formats import hf_dataset
from mining.formats.recognise import HF, NATIVE, Found
from mining.formats.source import Given
from mining.log_format import CorpusEntry
from mining.log_lines import Line, opened
from store.ids import content_id
from store.progress import Progress


@dataclass(frozen=True, slots=True)
class Reading:
    """A file or folder to import. `lines` may be asked for more than once."""

    name: str  # as the user gave it
    path: str | None  # absolute; None where it has none
    fingerprint: str  # of its own bytes
    import_id: str  # of its bytes and all else that its interactions come from
    size: int  # what `lines` tells its progress in, until it starts another stretch: bytes, or rows of a data set
    format_name: str
    why: str
    cites: bool  # its lines say what is cited
    lines: Callable[[Progress], Iterator[Line]]
    corpus: Callable[[], Iterator[CorpusEntry]] | None = None  # the chunks that it has beside its lists


@contextlib.contextmanager
def opened_reading(
    found: Found, given: Given, beside: tuple[str, ...], corpus: Corpus | None, citations: str | None = None
) -> Iterator[Reading]:
    """Open one main file of a plan.

    Args:
        found: the file, with its format.
        given: what other files say.
        beside: fingerprints of those.
        corpus: the texts of chunks that are named by id only.
        citations: where the user says that citations stand: the same bytes then say something else.
    """
    given = replace(given, corpus=corpus)
    texts = corpus.fingerprint if corpus else None
    told: list[object] = [] if found.format is NATIVE else [found.format.name, beside, dict(given.mapping)]
    told += [citations] if citations else []
    if found.format is HF:
        folder = Path(found.file)
        before, mark = hf_dataset.state(folder), hf_dataset.fingerprint(folder)
        yield Reading(
            name=str(folder),
            path=os.path.abspath(folder),
            fingerprint=mark,
            import_id=content_id("import", mark, texts, *told),
            size=hf_dataset.count_rows(folder),
            format_name=found.format.name,
            why=found.why,
            cites=found.format.cites,
            lines=lambda progress: hf_dataset.read_split(folder, before, given.mapping, progress),
        )
        return
    with contextlib.ExitStack() as stack:
        log = found.held or stack.enter_context(opened(found.file))
        yield Reading(
            name=log.name,
            path=None if found.held else os.path.abspath(log.name),
            fingerprint=log.fingerprint,
            import_id=content_id("import", log.fingerprint, texts, *told),
            size=log.size,
            format_name=found.format.name,
            why=found.why,
            cites=found.format.cites,
            lines=lambda progress: found.format.read(log, given, progress),
            corpus=functools.partial(found.format.corpus, log) if found.format.corpus else None,
        )
