"""Questions out of whatever a model answers, and what disqualifies them."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.question_faults import KnownTexts, fault_of
from labeling.question_lists import parse_questions
from store.text import NEAR_QUERY, normalised, overlap, query_trigrams

LETTERS = {
    "Latin": "abcdefghijklmnopqrstuvwxyz",
    "German": "abcdefgäöüß",
    "Greek": "αβγδεζηθ",
    "Russian": "абвгдежз",
    "Arabic": "ابتثجحخد",
    "Hindi": "कखगघङचछज",
    "Chinese": "如何使用数据库的功能",
    "Japanese": "なぜ猫は夜に起きる",
}


def _question(alphabet: str) -> st.SearchStrategy[str]:
    word = st.text(alphabet, min_size=1, max_size=8)
    inside = st.lists(
        st.one_of(word, st.sampled_from(["df[0]", '"so"', "3.5", "a-b", "(x)", "{y}", "1.", "*z"])), max_size=5
    )
    return st.builds(
        lambda first, middle, last, end: " ".join([first, *middle, last]) + end,
        word,
        inside,
        word,
        st.sampled_from(["?", "？", "؟"]),
    )


QUESTIONS = st.sampled_from(sorted(LETTERS.values())).flatmap(
    lambda alphabet: st.lists(_question(alphabet), min_size=1, max_size=6)
)

Form = Callable[[list[str]], str]
DIGITS = {"plain": "0123456789", "Arabic": "٠١٢٣٤٥٦٧٨٩", "wide": "０１２３４５６７８９", "Hindi": "०१२३४५६७८९"}


def numbered(template: str, digits: str = DIGITS["plain"]) -> Form:
    def written(number: int) -> str:
        return "".join(digits[int(digit)] for digit in str(number))

    return lambda found: "\n".join(template.format(n=written(n), q=q) for n, q in enumerate(found, 1))


FORMS: dict[str, Form] = {
    "object": lambda found: json.dumps({"questions": found}),
    "object, letters as they are": lambda found: json.dumps({"questions": found}, ensure_ascii=False, indent=2),
    "list": json.dumps,
    "list of objects": lambda found: json.dumps([{"question": q, "difficulty": "easy"} for q in found]),
    "objects, one a line": lambda found: "\n".join(json.dumps({"question": q}) for q in found),
    "nested": lambda found: json.dumps({"result": 1, "queries": [{"query": q} for q in found]}),
    "1.": numbered("{n}. {q}"),
    "1)": numbered("{n}) {q}"),
    "(1)": numbered("({n}) {q}"),
    "[1]": numbered("[{n}] {q}"),
    "1:": numbered("{n}: {q}"),
    "bold": numbered("**{n}.** {q}"),
    "bold questions": numbered("{n}. **{q}**"),
    "all bold": numbered("**{n}. {q}**"),
    "Question 1:": numbered("Question {n}: {q}"),
    "Q1.": numbered("Q{n}. {q}"),
    "Frage 1:": numbered("Frage {n}: {q}"),
    "indented": numbered("   {n}. {q}"),
    "blank lines between": numbered("{n}. {q}\n"),
    "Arabic digits": numbered("{n}. {q}", DIGITS["Arabic"]),
    "Hindi digits": numbered("{n}) {q}", DIGITS["Hindi"]),
    "wide digits": numbered("{n}．{q}", DIGITS["wide"]),
    "第1問": numbered("第{n}問：{q}"),
    "问题1": numbered("问题{n}：{q}"),
    "-": lambda found: "\n".join(f"- {q}" for q in found),
    "*": lambda found: "\n".join(f"* {q}" for q in found),
    "•": lambda found: "\n".join(f"• {q}" for q in found),
    "quoted": lambda found: "\n".join(f"{n}. “{q}”" for n, q in enumerate(found, 1)),
    "lines": "\n".join,
}
AROUND: dict[str, Callable[[str], str]] = {
    "bare": lambda said: said,
    "fence": lambda said: f"```json\n{said}\n```",
    "words before": lambda said: f"Sure! Here are the questions you asked for.\n\n{said}",
    "words around": lambda said: f"Hier sind sie:\n\n{said}\n\nLet me know if more are needed.",
    "thought": lambda said: f"<think>1. Is it this? 2. Or that?\n- no</think>\n{said}",
}


@settings(max_examples=200, deadline=None)
@given(QUESTIONS, st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(AROUND)))
def test_questions_come_out_as_they_went_in_whatever_the_form(found: list[str], form: str, around: str) -> None:
    assert list(parse_questions(AROUND[around](FORMS[form](found)))) == found


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_answer_breaks_the_parser_and_what_comes_out_is_one_line_each(said: str) -> None:
    for question in parse_questions(said):
        assert question
        assert question == " ".join(question.split())


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I cannot help with that.",
        "There is nothing to ask about this text.\nSorry.",
        '{"questions": []}',
        '{"questions": ["cut off in the mid',
        '{"error": "no"}',
        "[1, 2, 3]",
        "<html><body>502 Bad Gateway</body></html>",
    ],
)
def test_what_is_no_list_of_questions_gives_none(said: str) -> None:
    assert parse_questions(said) == ()


def test_a_wrapped_question_is_put_together_and_words_after_the_list_are_left_out() -> None:
    said = "1. How do I drop the rows\n   that are empty?\n2. Why does it\nfail?\n\nThese cover the text well."
    assert parse_questions(said) == ("How do I drop the rows that are empty?", "Why does it fail?")


CHUNK = (
    "DataFrame.dropna removes rows or columns that hold missing values. The argument how decides whether one missing"
    " value is enough or all of them must be missing, and thresh demands a number of values that are there."
)


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ("How do I get rid of incomplete records?", None),
        ("dropna missing values", None),
        ("when must all of them be missing?", None),
        ("What decides whether one missing value is enough or all of them must be missing?", "copies its chunk"),
        ("removes rows or columns that hold missing values", "copies its chunk"),
        ("THE ARGUMENT HOW, decides -- whether?", "copies its chunk"),
        ("dropna?", "too short"),
        ("", "too short"),
        ("word " * 150, "too long"),
        ("What does this passage say of rows?", "speaks of the text before it"),
        ("According to the text, which argument is it?", "speaks of the text before it"),
        ("How do I find a word in a text file?", None),
    ],
)
def test_faults_are_named(question: str, fault: str | None) -> None:
    assert fault_of(question, CHUNK) == fault


def test_a_name_in_a_script_without_spaces_is_no_copy_but_half_a_sentence_is() -> None:
    chunk = "如果需要重置索引，可以调用数据框的重置索引方法，并且可以选择丢弃原来的索引列。"
    assert fault_of("怎样给数据框重新编号？", chunk) is None
    assert fault_of("可以调用数据框的重置索引方法，并且可以选择什么？", chunk) == "copies its chunk"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abc ", min_size=1, max_size=20), max_size=12), st.text("abc ", min_size=1, max_size=20))
def test_what_a_text_repeats_is_what_comparing_with_all_would_find(known: list[str], text: str) -> None:
    index = KnownTexts(query_trigrams, NEAR_QUERY)
    for number, one in enumerate(known):
        index.add(str(number), one)
    own = normalised(text)
    best = max(
        (
            1.0 if normalised(one) == own else overlap(query_trigrams(own), query_trigrams(normalised(one)))
            for one in known
        ),
        default=0.0,
    )
    found = index.repeated_by(text)
    assert (found is None) == (best < NEAR_QUERY)
    if found:
        assert found[1] == pytest.approx(best)


def test_half_characters_become_question_marks() -> None:
    assert parse_questions('["Why \\ud83d here?", "And \ud83d there?"]') == ("Why ? here?", "And ? there?")
