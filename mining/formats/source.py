"""What every format is made of: a way to know its files, and a way to read them as lines of uncited's own format.

A format reads `LogFile`s and yields `Line`s whose content is one interaction as docs/interactions.md has it, in JSON,
with the number of the line (or row) where it stood. What is wrong with it beyond the format goes in `problem`; whatever
the native format forbids is found by the same validation that native lines go through.
"""

import contextlib
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mining.corpus import Corpus
from mining.log_format import CorpusEntry
from mining.log_lines import Line, LogFile
from store.errors import InvalidDataError
from store.progress import Progress

Read = Callable[[int], None]  # told, now and then, how many more bytes on disk have been read


class Grade(NamedTuple):
    """What a file of relevance grades says of a chunk."""

    grade: str
    source: str  # name of the file


class Ranked(NamedTuple):
    """One chunk of a run. `text` where the run carries it."""

    chunk_id: str
    rank: int
    score: float | None
    text: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What the other files of a command say. It is held in memory, whole.

    Who takes something of it for an interaction adds its key to `matched`: what is never taken is told to the user.
    """

    corpus: Corpus | None = None
    queries: dict[str, str] = field(default_factory=dict)  # query id -> text
    grades: dict[str, dict[str, Grade]] = field(default_factory=dict)  # query id -> chunk id -> grade
    runs: dict[str, "Run"] = field(default_factory=dict)  # query id -> chunks, for answers without them
    notes: dict[str, list["Note"]] = field(default_factory=dict)  # id of a span, run or trace -> what was said of it
    matched: "Matched" = field(default_factory=lambda: Matched())
    mapping: Mapping[str, str] = field(default_factory=dict)  # field of uncited -> column of a table


class Run(NamedTuple):
    """The list of one query, and the name of the file that it stands in."""

    chunks: list[Ranked]
    file: str


@dataclass(frozen=True, slots=True)
class Matched:
    """The keys of what the interactions took from other files."""

    grades: set[tuple[str, str]] = field(default_factory=set)  # query id, chunk id
    runs: set[str] = field(default_factory=set)  # query ids
    notes: set[str] = field(default_factory=set)  # ids of spans, runs and traces


class Note(NamedTuple):
    """What somebody or something said of a span: an annotation, a score, a piece of feedback."""

    signal: str
    value: float
    time: str | None
    source: str | None
    position: int | None = None  # of the document in the span that it is about, from 0
    file: str = ""  # that it stands in, where that is not the span's own


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file: enough to tell its format."""

    name: str  # as the user gave it
    objects: tuple[dict[str, Any], ...] = ()  # the first JSON objects
    lines: tuple[str, ...] = ()  # the first lines that are not blank
    columns: tuple[str, ...] = ()  # of a Parquet file or a data set


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `recognises` returns what gave it away, or None; `keys` are what its objects must hold.

    `read` tells its progress in bytes on disk; one that brings records together then starts a stretch of records.
    `cites` tells whether it says itself what each answer cites; else that is read from the answers. `corpus` yields the
    chunks of its files, for a format that has them beside its lists.
    """

    name: str
    title: str
    recognises: Callable[[Sample], str | None]
    read: Callable[[LogFile, Given, Progress], Iterator[Line]]
    keys: tuple[str, ...] = ()
    cites: bool = False
    corpus: Callable[[LogFile], Iterator[CorpusEntry]] | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A kind of file that says more about the interactions of another: queries, grades, scores."""

    name: str
    recognises: Callable[[Sample], str | None]
    load: Callable[[LogFile, Given], None]


def line_of(number: int, interaction: Mapping[str, Any], problems: Sequence[str] = ()) -> Line:
    """Return an interaction as a line of the native format; keys whose value is None are left out.

    Where there is an answer and nobody says what it cites, `cited` stays left out: it is read from the answer later.
    """
    content = {key: value for key, value in interaction.items() if value is not None}
    if not content.get("answer"):
        content.setdefault("cited", [])
    return Line(number, 0, json.dumps(content).encode(), "; ".join(problems) or None)


@contextlib.contextmanager
def intact(log: LogFile) -> Iterator[None]:
    """Say what `LogFile.lines` says of a damaged or growing file where a format reads its bytes in another way."""
    try:
        yield
    except EOFError as error:
        raise InvalidDataError(
            f"{log.name}: the gzip data ends early: the file is truncated", hint=f"gzip -t {log.name}"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidDataError(f"{log.name}: the gzip data is damaged: {error}", hint=f"gzip -t {log.name}") from error
    log.check_unchanged()
