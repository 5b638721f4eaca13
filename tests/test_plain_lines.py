import gc
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mining.ahead import ahead
from mining.log_format import LoggedInteraction
from mining.plain_lines import read_plain
from store.ids import chunk_id, chunk_ids, content_id
from store.interactions import Interaction, Retrieved, Signal, prepared

_words = st.text(max_size=6) | st.sampled_from(["", " ", "\x00", "a\x00b", "\u2003", "\x1c", "é", '\\u0000 "quoted"'])
_numbers = st.floats() | st.integers() | st.just(10**400)
_anything: st.SearchStrategy[Any] = st.none() | st.booleans() | _numbers | _words | st.lists(_words, max_size=2)


def _objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose fields are mostly right, and now and then anything, left out, or more than there should be."""
    usual = {name: strategy for name, strategy in fields.items()}
    odd = {name: strategy | _anything for name, strategy in fields.items()}
    return st.fixed_dictionaries(usual) | st.fixed_dictionaries({}, optional=odd | {"more": _anything})


_chunks = _objects(
    chunk_id=st.text("ab", min_size=1),
    rank=st.integers(1, 9),
    score=st.floats(0, 9),
    text=_words,
    title=st.none() | _words,
)
_signals = _objects(signal=st.just("clicked"), chunk_id=st.none() | st.just("a"), time=st.just("2026-01-01T00:00:00Z"))
_lines = _objects(
    query=_words,
    retrieved=st.lists(_chunks, max_size=3),
    cited=st.lists(st.just("a"), max_size=2),
    signals=st.none() | st.lists(_signals, max_size=2),
    answer=st.none() | _words,
    time=st.none() | st.sampled_from(["2026-01-01T00:00:00+02:00", "yesterday"]),
)


@settings(deadline=None, max_examples=400)
@given(_lines, st.booleans())
def test_what_the_plain_reader_takes_the_models_read_the_same(line: Mapping[str, Any], ascii_only: bool) -> None:
    content = json.dumps(line, ensure_ascii=ascii_only).encode("utf-8", "replace")
    if b"\x00" in content:  # the reader of lines has refused it by then
        return
    plain = read_plain(content)
    if plain is not None:
        assert repr(LoggedInteraction.model_validate_json(content).model_dump()) == repr({**plain})


def test_usual_lines_are_plain() -> None:
    chunk = {"chunk_id": "a", "rank": 1, "text": 'It said:\n"yes\\no"', "score": 3, "more": [1]}
    line = {"query": "q", "retrieved": [chunk], "cited": ["a"], "answer": "", "time": "2026-01-01T00:00:00Z", "x": {}}
    plain = read_plain(json.dumps(line | {"signals": [{"signal": "clicked"}]}).encode())
    assert plain is not None
    assert plain["x"] == {}
    assert plain["retrieved"][0]["more"] == [1]


# Control characters, of which some have a short form in JSON, at either side of the border of a page of texts.
@settings(deadline=None)
@given(st.lists(st.text() | st.text('\x00\x01\t\n\r\x0b\x1f\x7f"\\/é\ud800', max_size=9), max_size=8))
def test_ids_of_many_texts_are_the_ids_of_each(texts: list[str]) -> None:
    padding = ["padding"] * 997
    assert chunk_ids([*padding, *texts]) == list(map(chunk_id, [*padding, *texts]))


def test_an_interaction_has_the_id_it_always_had() -> None:
    told = Interaction(
        "q", (Retrieved("c", 1, "t", 2.5), Retrieved("d", 2, "u")), (Signal("cited", "c"),), 7, answer="é"
    )
    retrieved = [["c", 1, chunk_id("t"), 2.5], ["d", 2, chunk_id("u"), None]]
    expected = content_id("interaction", None, None, "q", "é", None, None, retrieved, [["cited", "c", 1.0, ""]], "{}")
    assert prepared([told]).interactions["interaction_id"].to_pylist() == [expected]


def test_of_equal_interactions_the_first_stays() -> None:
    one, other = (
        Interaction("q", (Retrieved("c", 1, "t", kind=kind),), (), n) for n, kind in enumerate(("code", "text"))
    )
    rows = prepared([one, other])
    assert (rows.told, rows.interactions.num_rows) == (2, 1)
    assert (rows.interactions["line"].to_pylist(), rows.chunks["kind"].to_pylist()) == ([0], ["code"])


# ------------------------------------------------------------------------------------------------------- a step ahead


def _counting(made: list[int]) -> Iterator[int]:
    for number in range(100):
        made.append(number)
        yield number


def test_items_come_in_order_and_no_more_than_three_at_a_time() -> None:
    made: list[int] = []
    with ahead(_counting(made)) as items:
        for number, item in enumerate(items):
            assert item == number
            time.sleep(0.001)
            assert len(made) <= number + 4
    assert made == list(range(100))


def test_what_fails_in_the_thread_fails_where_it_is_read() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    read = []
    with pytest.raises(KeyboardInterrupt), ahead(failing()) as items:
        read.extend(items)
    assert read == [1]


def test_a_reader_that_stops_early_leaves_no_thread_behind() -> None:
    made: list[int] = []
    thresholds = gc.get_threshold()
    with ahead(_counting(made)) as items:
        for item in items:
            if item == 3:
                break
    assert len(made) < 10
    assert gc.get_threshold() == thresholds
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]
