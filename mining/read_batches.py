"""Lines of a log as the rows that they become: batch after batch, on all processor cores where there are many lines."""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mining.ahead import ahead
from mining.corpus import Corpus
from mining.import_result import Example
from mining.in_processes import in_processes
from mining.log_lines import Line
from mining.read_interaction import CITED, read_interaction
from store.interactions import Interaction, Prepared, prepared

_BATCH_CHARACTERS = 24 << 20  # of text held in memory at a time; each batch is held against whole tables
_BATCH_INTERACTIONS = 5_000
_WORTH_PROCESSES = 64 << 20  # bytes of a log; to start a process takes half a second
_MOST_PROCESSES = 4  # that one process can feed, and store the rows of

EXAMPLES = 3


@dataclass(slots=True)
class Seen:
    """What is told of interactions besides their number: how often each signal is there, and the first of them."""

    signals: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def note(self, batch: Sequence[Interaction]) -> None:
        """Count the signals of interactions, and keep examples of them."""
        for interaction in batch:
            for signal in interaction.signals:
                happened = signal.value > 0
                self.signals[signal.name, signal.source, "chunks" if signal.chunk else "interactions"] += happened
            if len(self.examples) < EXAMPLES:
                names = [signal.name for signal in interaction.signals]
                others = tuple(dict.fromkeys(name for name in names if name != CITED))
                retrieved = len(interaction.retrieved)
                example = Example(interaction.line, interaction.query, retrieved, names.count(CITED), others)
                self.examples.append(example)

    def add(self, other: "Seen") -> None:
        """Add what was seen of the interactions that follow."""
        self.signals.update(other.signals)
        self.examples = [*self.examples, *other.examples][:EXAMPLES]


class Bad(NamedTuple):
    """A line that is no interaction, and why."""

    line: Line
    problems: list[str]


class Batch(NamedTuple):
    """The good lines of a stretch of a log as rows, and its bad lines. `seen` is empty where nobody asked for it."""

    rows: Prepared
    seen: Seen
    bad: list[Bad]


@contextlib.contextmanager
def read_batches(lines: Iterable[Line], size: int, corpus: Corpus | None, *, look: bool) -> Generator[Iterable[Batch]]:
    """Offer the batches of a log, made in a thread, and where lines are many and hold all texts, in processes.

    Args:
        lines: of the log.
        size: of the log in bytes.
        corpus: where texts are found that the lines lack.
        look: fill `seen`.
    """
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if corpus or size < _WORTH_PROCESSES or processes == 1:
        with ahead(_batches(lines, corpus, look)) as batches:
            yield batches
        return
    with (
        in_processes(functools.partial(_batches_of, look), _stretches(lines), processes) as answers,
        ahead(batch for answer in answers for batch in answer) as batches,
    ):
        yield batches


def _batches(lines: Iterable[Line], corpus: Corpus | None, look: bool) -> Iterator[Batch]:
    """Cut lines into batches that bound the memory held."""
    good: list[Interaction] = []
    bad: list[Bad] = []
    held = 0
    for line in lines:
        read = [line.problem] if line.problem else read_interaction(line.content, line.number, corpus)
        if isinstance(read, list):
            bad.append(Bad(line, read))
        else:
            good.append(read)
        texts = 0 if isinstance(read, list) or not corpus else sum(len(chunk.text) for chunk in read.retrieved)
        held += max(len(line.content), texts)
        if held >= _BATCH_CHARACTERS or len(good) + len(bad) >= _BATCH_INTERACTIONS:
            yield _batch(good, bad, look)
            good, bad, held = [], [], 0
    if good or bad:
        yield _batch(good, bad, look)


def _batch(good: Sequence[Interaction], bad: list[Bad], look: bool) -> Batch:
    seen = Seen()
    if look:
        seen.note(good)
    return Batch(prepared(good), seen, bad)


def _batches_of(look: bool, lines: Sequence[Line]) -> list[Batch]:
    return list(_batches(lines, None, look))


def _stretches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Cut lines where `_batches` will."""
    stretch: list[Line] = []
    held = 0
    for line in lines:
        stretch.append(line)
        held += len(line.content)
        if held >= _BATCH_CHARACTERS or len(stretch) >= _BATCH_INTERACTIONS:
            yield stretch
            stretch, held = [], 0
    if stretch:
        yield stretch
