"""The numbers that records sort by: ascending, and as few as possible changed."""

from hypothesis import given
from hypothesis import strategies as st

from labeling.review_places import places


def most_kept(held: list[int | None], start: int = 0, last: int = 0) -> int:
    """Try everything: how many numbers can stay, of those from `start` on, after `last`."""
    if start == len(held):
        return 0
    number = held[start]
    best = 0
    # The numbers of those that do not stay are as low as can be.
    options = [(last + 1, 0)] + ([(number, 1)] if number is not None and number > last else [])
    for taken, stays in options:
        best = max(best, stays + most_kept(held, start + 1, taken))
    return best


@given(st.lists(st.one_of(st.none(), st.integers(-3, 15)), max_size=9))
def test_numbers_ascend_and_as_many_as_possible_stay(held: list[int | None]) -> None:
    numbers = places(held)
    assert all(one < two for one, two in zip([0, *numbers], numbers, strict=False))
    assert sum(one == two for one, two in zip(held, numbers, strict=True)) == most_kept(held)
    assert places(numbers) == numbers


def test_a_record_that_comes_to_the_front_moves_alone_where_there_is_room() -> None:
    assert places([9, 3, 4, 5]) == [1, 3, 4, 5]
    assert places([2, 5, None, 7, 8]) == [2, 5, 6, 7, 8]
    assert places([]) == []
