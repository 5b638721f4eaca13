"""What an import brought, or would bring."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class SignalCount(NamedTuple):
    """How often one source gave one signal, with a value above zero. `about`: chunks, or interactions as a whole."""

    signal: str
    source: str | None
    about: str
    times: int


class Unmatched(NamedTuple):
    """How many of the entries of a file beside the logs belong to none of their interactions, and so were left out."""

    file: str
    what: str  # those entries are, in words
    entries: int
    of: int


class FileBeside(NamedTuple):
    """A file that says more about the interactions of others."""

    file: str
    what: str  # it holds: qrels, queries, scores ...
    of: tuple[str, ...]  # the files whose interactions it is about
    why: str  # what gave it away


class CorpusCount(NamedTuple):
    """How many chunks of a corpus that is a part of the data the store did not hold after the lists were read.

    A dry run stores nothing, and so counts those of the lists too.
    """

    file: str
    chunks: int


class Example(NamedTuple):
    """An interaction in short."""

    line: int
    query: str
    retrieved: int
    cited: int
    signals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What one file brought. `known` counts its interactions that the store had already."""

    file: str
    interactions: int = 0  # new ones, like chunks and retrievals
    known: int = 0
    chunks: int = 0
    retrievals: int = 0
    rejected: int = 0
    rejects: Path | None = None  # where the rejected lines were written
    imported_before: bool = False
    format: str = "uncited"
    why: str = ""  # what gave the format away
    citations: str | None = None  # how they were read from the answers, where they were
    cited_already: int = 0  # lines that say themselves what is cited, where the user said where else it stands
    signals: tuple[SignalCount, ...] = ()  # of a dry run, and of other formats than uncited's own
    examples: tuple[Example, ...] = ()  # of a dry run
    problems: str = ""  # of a dry run: the rejected lines, with reasons


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import brought, file by file."""

    files: tuple[ImportedFile, ...]
    dry_run: bool = False
    corpora: tuple[CorpusCount, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()  # where all logs were read: one that was imported before is not read again
    beside: tuple[FileBeside, ...] = ()

    @property
    def interactions(self) -> int:
        """New interactions in all files."""
        return sum(file.interactions for file in self.files)

    @property
    def known(self) -> int:
        """Interactions that the store had already."""
        return sum(file.known for file in self.files)

    @property
    def chunks(self) -> int:
        """New chunks (different texts)."""
        return sum(file.chunks for file in self.files)

    @property
    def retrievals(self) -> int:
        """New retrievals."""
        return sum(file.retrievals for file in self.files)

    @property
    def rejected(self) -> int:
        """Lines that were left out and written beside their file."""
        return sum(file.rejected for file in self.files)
