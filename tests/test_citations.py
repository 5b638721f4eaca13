"""Citations are read out of answers as they are written, and what does not fit is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mining.citations import Base, Citations, cite, find_base, marks, parse_citations
from store.errors import UsageError


def line(answer: str | None, chunks: int = 5, **fields: object) -> dict[str, Any]:
    retrieved = [{"chunk_id": f"c{n}", "rank": n + 1, "text": f"Passage {n}."} for n in range(chunks)]
    return {"query": "q", "retrieved": retrieved, "answer": answer, **fields}


def cited(answer: str, base: int = 1, chunks: int = 5) -> list[str]:
    found, problems = cite(line(answer, chunks), Citations("markers", base))
    assert not problems
    return found


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("Fleas [1].", [1]),
        ("Fleas[1][3].", [1, 3]),
        ("Fleas [1, 3].", [1, 3]),
        ("Fleas [1,3,].", [1, 3]),
        ("Fleas [ 1 ; 3 ].", [1, 3]),
        ("Fleas [1 3].", [1, 3]),
        ("Fleas [1-3].", [1, 2, 3]),
        ("Fleas [1–3, 5].", [1, 2, 3, 5]),
        ("Fleas [[2]](https://example.org).", [2]),
        ("Fleas [doc2][doc 4].", [2, 4]),
        ("Fleas [Source 2, Source 4].", [2, 4]),
        ("Fleas 【3†source】.", [3]),
        ("Fleas<sup>1,2</sup>.", [1, 2]),
        ("Fleas<sup>[4]</sup>.", [4]),
        ("Fleas jump.¹", [1]),
        ("Fleas jump.¹˒³", [1, 3]),
        ("Fleas jump.¹⁻³", [1, 2, 3]),
        ("Fleas jump.¹²", [12]),
        ("Fleas[^2] and ticks[^4].", [2, 4]),
        ("Ein Floh [1]。跳蚤【2】。", [1, 2]),
        # What is none:
        ("In [Winter, 1997] and [sic] and [...].", []),
        ("It covers 12 km² and 10³ m and x² and (a+b)².", []),
        ("Call `a[0]`, or\n```\nb[1]\n```\nand be done.", []),
        ("Version [1.2] of [a1].", []),
        ("12 km² were searched [1].", [1]),
    ],
)
def test_markers_of_every_kind(answer: str, numbers: list[int]) -> None:
    assert [number for mark in marks(answer) for number in mark.numbers] == numbers


def test_numbers_are_places_in_the_ranked_list() -> None:
    assert cited("[1] and [3]") == ["c0", "c2"]
    assert cited("[1] and [3]", base=0) == ["c1", "c3"]
    shuffled = line("[1]")
    shuffled["retrieved"].reverse()
    assert cite(shuffled, Citations("markers", 1))[0] == ["c0"]


@pytest.mark.parametrize(("base", "said"), [(0, "go from 0 to 4"), (1, "go from 1 to 5")])
def test_a_number_beyond_the_list_is_said(base: int, said: str) -> None:
    _, problems = cite(line("Yes [1, 9]."), Citations("markers", base))
    assert problems == [f"answer: [1, 9] cites number 9, and the retrieved chunks {said}"]


@pytest.mark.parametrize("marker", ["[1-999999999]", "[20240115]", "[2, 7777777]", f"[{'9' * 5000}]", "[^1234567]"])
def test_a_number_is_a_marker_however_large_and_is_refused(marker: str) -> None:
    _, problems = cite(line(f"Fleas jump {marker}."), Citations("markers", 1))
    assert problems
    assert all("the retrieved chunks go from 1 to 5" in problem and len(problem) < 200 for problem in problems)


@pytest.mark.parametrize("opening", ["[" + "1  " * 30, "[" + "1 , " * 30, "[doc" + "  " * 50, "[" + "9" * 5000])
def test_a_bracket_that_never_closes_does_not_hold_an_import_up(opening: str) -> None:
    assert marks(f"{opening}x") == []  # in time: two ways to read each gap would take hours


def test_a_range_without_end_is_no_flood() -> None:
    found, problems = cite(line("[1-99999]"), Citations("markers", 1))
    assert found == ["c0"]
    assert len(problems) == 1


def test_footnotes_with_a_text_are_read_by_it() -> None:
    answer = "Fleas jump[^1], ticks wait[^b].\n\n[^1]: See c3 of the handbook.\n[^b]: The Tick Book, p. 9\n"
    given = line(answer)
    given["retrieved"][1]["title"] = "The Tick Book"
    assert cite(given, Citations("markers", 1)) == (["c1", "c3"], [])
    given["answer"] = "Fleas[^1].\n\n[^1]: An unknown book\n"
    assert cite(given, Citations("markers", 1))[1] == [
        "answer: footnote [^1] names no retrieved chunk by id, title or document"
    ]


def test_quotes_are_found_in_the_chunks_that_hold_them() -> None:
    given = line('It says “the flea lives … a hundred days” and "see" that, and:\n> Ticks wait on tall grass.\n')
    given["retrieved"][2]["text"] = "The  Flea lives,\nas a rule, up to a hundred days."
    given["retrieved"][4]["text"] = "In May ticks wait on tall grass."
    assert cite(given, Citations("quotes")) == (["c2", "c4"], [])
    given["answer"] = "It says “nothing that anybody ever wrote”."
    assert cite(given, Citations("quotes")) == (
        [],
        ['answer: the quote "nothing that anybody ever wrote" is in no retrieved chunk'],
    )


def test_a_path_leads_to_ids() -> None:
    given = line(None, trace={"sources": [{"id": "c1"}, {"id": "c4"}, {}], "used": ["c2"], "odd": {"a": 1}})
    assert cite(given, parse_citations("$.trace.sources[*].id")) == (["c1", "c4"], [])
    assert cite(given, parse_citations("$.trace.used")) == (["c2"], [])
    assert cite(given, parse_citations("$.trace.used[0]")) == (["c2"], [])
    assert cite(given, parse_citations("$.trace.gone"))[1] == [
        "$.trace.gone: missing, and the citations are to be read from it"
    ]
    assert "is no id of a chunk" in cite(given, parse_citations("$.trace.odd"))[1][0]
    given["trace"]["used"] = ["c9"]
    assert cite(given, parse_citations("$.trace.used"))[1] == ['cites "c9", which was not retrieved']


@pytest.mark.parametrize("given", ["", "marker", "markers:2", "$", "$.", "$.a[", "$.a[x]", "answer"])
def test_another_word_for_citations_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="not one of markers"):
        parse_citations(given)


def test_an_answer_that_is_not_there_cites_nothing_known() -> None:
    assert cite(line(None), Citations("markers", 1))[1]


def test_the_base_is_found_from_all_answers() -> None:
    assert find_base([line("[0]"), line("[1]"), line("[4]")]) == Base(0, 1, 0)
    assert find_base([line("[5]"), line("[1]")]) == Base(1, 0, 1)
    mixed = find_base([line("[0]"), line("[0]"), line("[5]")])
    assert mixed == Base(0, 2, 1)
    assert "1 speak against it" in str(mixed)
    assert find_base([line("[1]"), line(None), {"retrieved": 3, "answer": "[0]"}]) == Base(1, 0, 0)
    assert "no answer says" in str(find_base([]))


@given(
    places=st.lists(st.integers(0, 19), min_size=1, max_size=8, unique=True),
    base=st.sampled_from([0, 1]),
    style=st.sampled_from(["[{}]", "[doc{}]", "【{}†source】", "<sup>{}</sup>", "[^{}]"]),
    joined=st.booleans(),
)
def test_what_is_written_is_read(places: list[int], base: int, style: str, joined: bool) -> None:
    numbers = [str(place + base) for place in places]
    if joined and style in ("[{}]", "<sup>{}</sup>"):
        answer = f"So it is {style.format(', '.join(numbers))}."
    else:
        answer = " ".join(f"So it is {style.format(number)}." for number in numbers)
    assert cited(answer, base, chunks=20) == [f"c{place}" for place in sorted(places)]


@given(st.text(max_size=200), st.integers(0, 1))
def test_any_text_is_read_without_trouble(answer: str, base: int) -> None:
    for how in (Citations("markers", base), Citations("quotes")):
        found, problems = cite(line(answer), how)
        assert all(isinstance(name, str) for name in [*found, *problems])


def test_real_answers_cite_what_was_recorded(real_logs: Path) -> None:
    with (real_logs / "crowdrag25" / "interactions_all_answers.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(content) for content in file]
    assert len(lines) == 1548
    base = find_base(lines)
    assert base.base == 0
    assert base.lasts == 0
    refused = []
    for logged in lines:
        found, problems = cite(logged, Citations("markers", base.base))
        assert set(found) == set(logged["cited"])
        refused += [(logged["interaction_id"][:8], problem) for problem in problems]
    # A person wrote `[0,21]` over a list of twenty chunks; the record dropped the 21, uncited refuses the line.
    assert refused == [("0411062c", "answer: [0,21] cites number 21, and the retrieved chunks go from 0 to 19")]
