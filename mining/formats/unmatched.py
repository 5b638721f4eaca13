"""What other files say of interactions that no log of the command holds."""

from collections import Counter
from collections.abc import Iterator

from mining.formats.source import Given
from mining.import_result import Unmatched

_GRADES = "grades of a query or chunk that no log names"
_RUNS = "lists of a topic that nobody answered"
_NOTES = "entries about a span, run or trace that no log holds or that retrieved nothing"


def unmatched(given: Given) -> tuple[Unmatched, ...]:
    """Count by file the entries that no interaction took, once all logs have been read.

    Files of whose entries all were taken are left out.
    """
    told: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for file, what, taken in _entries(given):
        told[file, what] += 1
        lost[file, what] += not taken
    return tuple(Unmatched(file, what, lost[file, what], told[file, what]) for file, what in sorted(+lost))


def _entries(given: Given) -> Iterator[tuple[str, str, bool]]:
    """Yield the file of each entry, what it is when nobody takes it, and whether somebody took it."""
    for query, grades in given.grades.items():
        for chunk, grade in grades.items():
            yield grade.source, _GRADES, (query, chunk) in given.matched.grades
    for query, run in given.runs.items():
        yield run.file, _RUNS, query in given.matched.runs
    for about, notes in given.notes.items():
        for note in notes:
            yield note.file, _NOTES, about in given.matched.notes
