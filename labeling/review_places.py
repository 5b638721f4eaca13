"""The numbers by which Argilla sorts the open records of a queue, changed for as few records as possible.

Records sort by number, so numbers given at different times must not mix: every open record needs one that says where it
stands among the others now. A record that closes leaves a gap, into which others can move.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labeling.review_layout import ORDER

Json = dict[str, Any]


def set_places(asked: Sequence[tuple[str, Json | None]], writing: Iterable[Json]) -> list[Json]:
    """See to it that the open records sort in the order wanted.

    Args:
        asked: the open pairs in this order, each with its record on the server; None: there is none yet.
        writing: the records that are about to be written; those of them that are open are given their numbers.

    Returns:
        What must be written besides: the metadata of records that move and are not among `writing`.
    """
    made = {str(record["external_id"]): record for record in writing}
    moved: list[Json] = []
    for (pair_id, found), number in zip(asked, places([_place(found) for _, found in asked]), strict=True):
        if pair_id in made:
            made[pair_id]["metadata"][ORDER] = number
        elif found is not None and _place(found) != number:
            moved.append({"external_id": pair_id, "metadata": found["metadata"] | {ORDER: number}})
    return moved


def _place(found: Mapping[str, Any] | None) -> int | None:
    number = found["metadata"].get(ORDER) if found else None
    return number if isinstance(number, int) else None


def places(held: Sequence[int | None]) -> list[int]:
    """Number records in ascending order, so that as many as possible keep the number they have.

    What can stay is a longest ascending subsequence that leaves whole numbers enough for the others between: one that
    does not descend once each number is taken less its place.

    Args:
        held: the number that each record has, None for none, in the order in which the records are wanted.

    Returns:
        The number of each; ascending, from 1 on at the least.
    """
    room = [None if number is None else number - place for place, number in enumerate(held, start=1)]
    lowest: list[int] = []  # by length, the lowest end of a subsequence of that length, and where that end is
    ends: list[int] = []
    before: list[int | None] = []
    for index, value in enumerate(room):
        before.append(None)
        if value is None or value < 0:
            continue
        length = bisect_right(lowest, value)
        before[index] = ends[length - 1] if length else None
        lowest[length : length + 1] = [value]
        ends[length : length + 1] = [index]
    kept = set()
    index_kept = ends[-1] if ends else None
    while index_kept is not None:
        kept.add(index_kept)
        index_kept = before[index_kept]
    numbers: list[int] = []
    for index, number in enumerate(held):
        last = numbers[-1] if numbers else 0
        numbers.append(number if index in kept and number is not None else last + 1)
    return numbers
