"""What a verification can find."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be: in which row of which table, what it ought to be and what is there."""

    table: str
    row: str
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check looked at. `unknown` rows could not be checked; `why` says so, and anything else worth saying."""

    name: str
    rows: int
    problems: tuple[Problem, ...] = ()
    unknown: int = 0
    why: str | None = None
