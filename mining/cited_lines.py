"""Lines that do not say what their answer cites: it is read from the answer, or from where the user says it stands."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mining.citations import Base, Citations, cite, find_base
from mining.corpus import Corpus
from mining.log_lines import Line


@dataclass(slots=True)
class CitedLines:
    """How citations are read, how many answers cite something, and how many lines said themselves what is cited."""

    how: Citations
    base: Base | None = None  # as it was found; None where the user gave it, or it does not matter
    answers: int = 0
    citing: int = 0
    told: int = 0

    def __str__(self) -> str:
        if not self.answers:
            return ""
        place = {"markers": "markers", "quotes": "quotes", "path": "the path that was given"}[self.how.kind]
        counted = f"; {self.base}" if self.base and self.citing else ""
        return f"read from {place} in {self.answers:,} answers, {self.citing:,} of which cite something{counted}"


def how_to_cite(how: Citations, lines: Callable[[], Iterator[Line]]) -> CitedLines:
    """Find out, where markers need it, whether they count from 0 or from 1; that takes all lines."""
    if how.kind != "markers" or how.base is not None:
        return CitedLines(how)
    base = find_base(value for line in lines() if (value := _value(line)) and value.get("cited") is None)
    return CitedLines(replace(how, base=base.base), base)


def with_citations(lines: Iterator[Line], cited: CitedLines, corpus: Corpus | None) -> Iterator[Line]:
    """Yield the lines, with `cited` where it was missing. One whose citations do not fit has that as its problem."""
    for line in lines:
        value = _value(line)
        if value is None or value.get("cited") is not None:
            cited.told += value is not None
            yield line
            continue
        if cited.how.kind == "quotes":
            _add_texts(value, corpus)
        ids, problems = cite(value, cited.how)
        cited.answers += 1
        cited.citing += bool(ids)
        content = json.dumps({**json.loads(line.content), "cited": ids}).encode()
        yield line._replace(problem="; ".join(problems)) if problems else line._replace(content=content)


def _value(line: Line) -> dict[str, Any] | None:
    """Return what a line holds, where that is an object."""
    if line.problem:
        return None
    try:
        value = json.loads(line.content)
    except (ValueError, RecursionError):
        return None  # what is wrong with it is said when it is checked
    return value if isinstance(value, dict) else None


def _add_texts(value: dict[str, Any], corpus: Corpus | None) -> None:
    for chunk in value.get("retrieved") or ():
        if isinstance(chunk, dict) and chunk.get("text") is None and corpus:
            entry = corpus.find(str(chunk.get("chunk_id")))
            chunk["text"] = entry.text if entry else None
