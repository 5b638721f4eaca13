"""Kinds of query, as the monitor and evaluations tell them apart."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from store.text import normalised, words

OTHERS = "others"
UNKNOWN = "not given"

_NAMED = 8  # that are told apart; the others are one

_Key = TypeVar("_Key")


def segment_of(by: str, query: str, source: str | None, extra: Mapping[str, object]) -> str:
    """Name the segment of an interaction.

    Args:
        by: `length` (of the query in words), `source`, or a field that the line of the log held besides.
        query: its text.
        source: where it came from, if the log says.
        extra: what the line of the log held besides the entries of its format.
    """
    if by == "length":
        count = len(words(normalised(query)))
        return "1 to 3 words" if count <= 3 else "4 to 8 words" if count <= 8 else "9 words or more"
    value = source if by == "source" else extra.get(by)
    return UNKNOWN if value is None else str(value)[:60]


def largest(segments: Mapping[_Key, str]) -> dict[_Key, str]:
    """Let the eight largest segments keep their names; the others become one."""
    counts: dict[str, int] = {}
    for name in segments.values():
        counts[name] = counts.get(name, 0) + 1
    named = sorted(counts, key=lambda name: (-counts[name], name))[:_NAMED]
    return {key: name if name in named else OTHERS for key, name in segments.items()}


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of segments, sorted; what has no name of its own comes last."""
    return sorted(set(names), key=lambda name: (name in (OTHERS, UNKNOWN), name))
