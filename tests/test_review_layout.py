"""What a record shows: every text letter by letter and nothing else, the shared words, and no more than it should."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.review_guidelines import guidelines
from labeling.review_html import chunk, columns, folded, one_field, paragraph, table
from labeling.review_layout import (
    EarlierAnswer,
    Json,
    conflicts_name,
    dataset_name,
    fields,
    fits,
    metadata_properties,
    questions,
    record,
    shown_hash,
)
from labeling.review_text import marks
from store.policies import Example
from store.reviews import PairToReview
from tests.review_pages import some_pair
from tests.reviewing import POLICY

OURS = {"div", "small", "b", "mark", "table", "tr", "th", "td", "details", "summary", "br", "wbr"}
JAVASCRIPT_SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# Pieces that end blocks, open tags or hide in white space, often beside each other.
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from([*"<>&/!?;#|,:`*_[]()\"'-=~ \t\n\r\v\u2028\u202eabdivx0", "\n\n", "\n\ufeff\n", " \n \n"]),
        st.characters(exclude_categories=["Cs"]),
    )
).map("".join)


class Page(HTMLParser):
    """What a browser would show, and the tags that it would obey."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.marked: dict[str, list[str]] = {"b": [], "mark": []}
        self.attributes: set[tuple[str, str | None]] = set()
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == [], "a tag is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= set(attrs)
        if tag == "br":
            self.text += "\n"
        elif tag != "wbr":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        for tag in self.marked:
            if tag in self._open:
                self.marked[tag].append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def as_stored(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").replace("\r\n", "\n").replace("\r", "\n")


def made(pair: PairToReview, **options: object) -> Json:
    asked: dict[str, object] = {"order": 1, "stream": "targeted", "label_question_id": "q"}
    return record(pair, **(asked | options))


class TestHtml:
    @settings(deadline=None)
    @given(HOSTILE, st.sampled_from(["text", "code", "image", "tool"]), st.text())
    def test_a_chunk_shows_as_it_is_and_adds_no_tag(self, text: str, kind: str, query: str) -> None:
        page = Page(one_field(chunk(text, kind, query, None)))
        assert set(page.tags) <= OURS
        if "table" not in page.tags:
            assert page.text == as_stored(text)

    @settings(deadline=None)
    @given(HOSTILE, st.text(), st.text())
    def test_a_table_loses_no_letter(self, text: str, query: str, quote: str) -> None:
        page = Page(one_field(chunk(text, "table", query, quote)))
        assert set(page.tags) <= OURS
        letters = [c for c in page.text if c.isalnum()]
        assert letters == [c for c in as_stored(text) if c.isalnum()]

    @settings(deadline=None)
    @given(HOSTILE, HOSTILE, HOSTILE)
    def test_a_field_is_one_line_after_another_of_one_html_block(self, text: str, query: str, kind: str) -> None:
        shown = one_field(columns((kind, chunk(text, kind, query, query)), ("Cited", chunk(query, "text", text, None))))
        assert shown.startswith("<div"), "marked reads Markdown elsewhere"
        # What the page does first: it takes white space off the ends of lines.
        lines = [re.sub(rf"[{JAVASCRIPT_SPACE}]+$", "", line) for line in re.split("\n", shown)]
        assert all(lines), "a blank line ends the block"
        Page(shown)

    @settings(deadline=None)
    @given(HOSTILE, HOSTILE)
    def test_folded_texts_and_tables_of_texts_add_no_tag(self, one: str, two: str) -> None:
        page = Page(one_field(folded(one)))
        assert (set(page.tags) - {"br", "wbr"}, page.text) == ({"details", "summary", "div"}, "Show" + as_stored(one))
        page = Page(one_field(table((one, two), [(two, one)])))
        assert page.text == as_stored(one) + as_stored(two) + as_stored(two) + as_stored(one)

    @settings(deadline=None)
    @given(HOSTILE)
    def test_no_attribute_comes_from_a_text(self, text: str) -> None:
        page = Page(one_field(columns((text, chunk(text, text, text, text))) + folded(text) + paragraph(text)))
        assert {name for name, _ in page.attributes} <= {"style", "dir", "border", "cellpadding"}

    def test_space_that_would_keep_the_page_busy_is_broken_up(self) -> None:
        shown = one_field(paragraph("a" + " " * 100_000 + "b"))
        assert max(map(len, re.findall(r"\s+", shown))) <= 200
        assert Page(shown).text == "a" + " " * 100_000 + "b"

    @pytest.mark.parametrize(
        ("kind", "text", "cells"),
        [
            ("text", "Prices:\n| a | b \\| c |\n|---|:-:|\n| 1 |  |\nend", ["a", "b \\| c", "1", ""]),
            ("table", 'year,sum\n2020,"1,000"\n2021,"a\nb"', ["year", "sum", "2020", "1,000", "2021", "a\nb"]),
            ("table", "a\tb\n1\t2", ["a", "b", "1", "2"]),
            ("table", "| a | b |\n| 1 | 2 |", ["a", "b", "1", "2"]),
        ],
    )
    def test_a_table_is_drawn_as_one(self, kind: str, text: str, cells: list[str]) -> None:
        shown = chunk(text, kind, "", None)
        assert re.findall(r"<t[hd]>(.*?)</t[hd]>", shown, re.DOTALL) == cells

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("text", "a, b\nc, d"),
            ("text", "a | b\nc | d"),
            ("code", "| a | b |\n|---|---|\n| 1 | 2 |"),
            ("table", "One line, and no table."),
            ("table", "a,b\n" * 30_000),
        ],
    )
    def test_what_is_no_table_stays_as_it_is(self, kind: str, text: str) -> None:
        assert "<table" not in chunk(text, kind, "", None)

    def test_code_and_images_are_told_apart(self) -> None:
        text = "a = 1\n    b = 2"
        assert "monospace" in chunk(text, "code", "", None)
        assert "dashed" in chunk(text, "image", "", None)
        assert "Candidate · description of an image" in made(some_pair(kind="image"))["fields"]["pair"]
        assert "Candidate · code" in made(some_pair(kind="code"))["fields"]["pair"]
        assert "Candidate<" in made(some_pair())["fields"]["pair"]
        assert "Cited · code" in made(some_pair(reference=text, reference_kind="code"))["fields"]["pair"]


class TestMarks:
    @pytest.mark.parametrize(
        ("candidate", "query", "shared"),
        [
            ("Stored boxes; the FLY dries.", "how do I store dry flies in a box", "Stored boxes FLY dries"),
            ("It is what it is", "what is it", ""),
            ("pandas.read_csv reads", "read csv", "read csv reads"),
            ("Straße STRASSE", "strasse", "Straße STRASSE"),
            ("开水泡茶好", "泡茶", "泡茶"),
            ("茶と水お茶", "茶", "茶 茶"),
            ("泡茶好泡茶", "泡茶", "泡茶 泡茶"),
            ("우유를 마신다", "우유", "우유"),
            ("हिन्दी भाषा", "हिन्दी", "हिन्दी"),
        ],
    )
    def test_shared_words_are_found_in_any_script(self, candidate: str, query: str, shared: str) -> None:
        found = marks(candidate, query, None)
        assert " ".join(candidate[a:b] for a, b, _ in found) == shared
        assert all(b <= len(candidate) for _, b, _ in found)

    def test_the_quote_is_found_whatever_its_case_and_white_space(self) -> None:
        text = "Before. Dry\n  flakes KEEP. After."
        (found,) = marks(text, "", "dry flakes keep.")
        assert (text[found[0] : found[1]], found[2]) == ("Dry\n  flakes KEEP.", "quote")
        assert marks(text, "", "is not there") == []

    @settings(deadline=None)
    @given(st.text(), st.text(), st.text())
    def test_places_are_inside_in_order_and_apart(self, candidate: str, query: str, quote: str) -> None:
        found = marks(candidate, query, quote)
        assert found == sorted(found)
        assert all(0 <= start < end <= len(candidate) for start, end, _ in found)
        shared = [(start, end) for start, end, what in found if what == "shared"]
        assert all(end <= start for (_, end), (start, _) in pairwise(shared))

    @settings(deadline=None)
    @given(st.text(), st.integers(0, 20), st.integers(1, 20))
    def test_every_quote_taken_from_a_text_is_found(self, text: str, start: int, length: int) -> None:
        quote = text[start : start + length]
        if quote.strip():
            ((a, b, _),) = marks(text, "", quote)
            assert text[a:b].split() == quote.split() or text[a:b].casefold() == " ".join(quote.split()).casefold()

    def test_both_are_shown_and_can_be_told_apart(self) -> None:
        page = Page(chunk("Dry flakes keep for months, dry.", "text", "keep it dry", "flakes keep for"))
        assert (page.marked["b"], "".join(page.marked["mark"])) == (["Dry", "keep", "dry"], "flakes keep for")


@st.composite
def judged_pairs(draw: st.DrawFn) -> PairToReview:
    text = st.text(min_size=1)
    candidate = draw(text)
    return some_pair(
        anchor=draw(text),
        chunk=candidate,
        kind=draw(st.sampled_from(["text", "table", "code", "image"])),
        reference=draw(st.none() | text),
        answer=draw(st.none() | text),
        log_source=draw(st.none() | text),
        label=draw(st.sampled_from(["answers", "related", "unsure"])),
        reason=draw(st.none() | text),
        quote=draw(st.none() | st.just(candidate[: len(candidate) // 2 + 1])),
        judge_model=draw(st.none() | text),
        triage_score=draw(st.none() | st.floats(allow_nan=True)),
        rank=draw(st.none() | st.integers(1, 50)),
        score=draw(st.none() | st.floats()),
    )


def seen_by_an_annotator(made: Json) -> Json:
    visible = {p["name"] for p in metadata_properties() if p["visible_for_annotators"]}
    return made | {"metadata": {name: value for name, value in made["metadata"].items() if name in visible}}


class TestRecord:
    @settings(deadline=None)
    @given(judged_pairs())
    def test_nobody_can_tell_an_audit_record_from_one_that_was_never_judged(self, judged: PairToReview) -> None:
        unjudged = replace(judged, label=None, reason=None, quote=None, judge_model=None)
        audit = made(judged, stream="audit")
        assert seen_by_an_annotator(audit) == seen_by_an_annotator(made(unjudged))

    def test_annotators_see_of_the_metadata_only_what_tells_nothing_of_an_answer(self) -> None:
        shown = made(some_pair(rank=1, score=0.5, grade=2.0, triage_score=0.1, log_source="app"))
        assert set(seen_by_an_annotator(shown)["metadata"]) == {"order", "queue", "kind", "log"}

    def test_a_targeted_record_shows_what_the_judge_says(self) -> None:
        judged = some_pair(
            label="answers", reason="Because <b>.", quote="Spread it", judge_model="vendor/judge 1 (new)"
        )
        shown = made(judged)
        assert shown["suggestions"] == [
            {"question_id": "q", "value": "answers", "type": "model", "agent": "vendor/judge 1 _new_"}
        ]
        assert Page(shown["fields"]["reason"]).text == "Showanswers: Because <b>.\nIt rests on: “Spread it”"
        assert "<mark>Spread it</mark>" in shown["fields"]["pair"]

    def test_neither_place_in_the_queue_changes_a_record(self) -> None:
        one, two = made(some_pair(), order=1), made(some_pair(), order=2)
        assert one["metadata"].pop("order") != two["metadata"].pop("order")
        assert one == two

    def test_what_it_shows_and_hides_changes_its_content(self) -> None:
        changes: tuple[Json, ...] = (
            {},
            {"rank": 1},
            {"anchor": "b"},
            {"label": "x"},
            {"label": "x", "judge_model": "j"},
        )
        contents = {made(some_pair(**known))["metadata"]["content"] for known in changes}
        assert len(contents | {made(some_pair(), stream="audit")["metadata"]["content"]}) == 6

    def test_the_hash_of_its_fields_survives_their_way_to_argilla_and_back(self) -> None:
        shown = made(some_pair(chunk="| ü |\n\n<b>"))
        assert shown["metadata"]["shown"] == shown_hash(dict(reversed(shown["fields"].items())))
        assert shown["metadata"]["shown"] != shown_hash(shown["fields"] | {"pair": "edited"})

    def test_adjudicators_see_what_was_answered(self) -> None:
        earlier = [EarlierAnswer("ana", "answers", None), EarlierAnswer("bob", None, "garbled | <b>")]
        shown = made(some_pair(), earlier=earlier)["fields"]["answers_so_far"]
        assert re.findall(r"<t[hd]>(?:<div[^>]*>)?(.*?)(?:</div>)?</t[hd]>", shown) == [
            *("Reviewer", "Answer", "Note"),
            *("ana", "answers", ""),
            *("bob", "discarded", "garbled | &lt;b&gt;"),
        ]
        assert "answers_so_far" not in made(some_pair())["fields"]


class TestDataset:
    def test_a_policys_two_datasets_fit_it_and_not_each_other(self) -> None:
        assert conflicts_name(POLICY) != dataset_name(POLICY)
        for adjudication in (True, False):
            described = fields(POLICY, adjudication=adjudication)
            assert fits(POLICY, described, questions(POLICY), adjudication=adjudication)
            assert not fits(POLICY, described, questions(POLICY), adjudication=not adjudication)

    def test_titles_fit_what_argilla_takes(self) -> None:
        long = replace(POLICY, question="q" * 1000, anchor="a" * 300, candidate="c" * 300)
        assert all(len(item["title"]) <= 500 for item in [*fields(long, adjudication=True), *questions(long)])


class TestGuidelines:
    def test_they_hold_the_question_the_labels_and_the_examples_as_plain_text(self) -> None:
        text = guidelines(POLICY)
        assert POLICY.question in text
        assert all(f"- **{label.name}**: {label.meaning}" in text for label in POLICY.labels)
        assert "Eggs keep three weeks" in text
        assert "<b>" not in text
        assert r"\# Eggs &lt;b&gt;are&lt;/b&gt; \*good\*" in text
        assert "positive" not in text, "what training makes of a label would bias the answer"

    def test_long_policies_fit_what_argilla_takes(self) -> None:
        examples = tuple(Example("q" * 8000, "c" * 8000, "answers", "r" * 1000) for _ in range(30))
        text = guidelines(replace(POLICY, examples=examples))
        assert len(text) <= 10_000
        assert "## Examples" in text
