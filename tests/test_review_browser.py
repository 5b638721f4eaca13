"""What a reviewer does in Argilla's own page, in a real browser, and what hostile texts cannot do there.

With UNCITED_SCREENSHOTS=docs/images the pictures of the documentation are taken anew.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from labeling.review_layout import EarlierAnswer
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from labeling.review_queue import review_queue
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.policies import Example, Policy
from store.workspace import ReviewSettings
from tests.review_pages import Browsing, put, some_pair
from tests.review_pages import browsing as browsing
from tests.review_pages import signed_in as signed_in
from tests.reviewing import LOG, POLICY, fill, judge, pair

if TYPE_CHECKING:
    from argilla import Argilla
    from playwright.sync_api import FloatRect, Locator

OURS = {"DIV", "SMALL", "B", "MARK", "TABLE", "TBODY", "TR", "TH", "TD", "DETAILS", "SUMMARY", "BR", "WBR"}
HOSTILE = (
    "a < b & c &lt; d &amp; e",
    "<script>top.attacked = true</script><script src='http://evil.example/a.js'></script>",
    '<img src="http://evil.example/a.png" onerror="top.attacked = true">',
    "&lt;img src=x onerror=top.attacked=true&gt; &#60;svg onload=top.attacked=true&#62;",
    "<svg><script>top.attacked = true</script><animate onbegin='top.attacked = true' attributeName=x dur=1s></svg>",
    "<iframe src='http://evil.example' srcdoc='<script>top.attacked = true</script>'></iframe>",
    "<object data='data:text/html,<script>top.attacked=true</script>'></object><embed src='http://evil.example/e'>",
    "<style>* { display: none !important } @import 'http://evil.example/a.css';</style><div style='position:fixed;"
    "inset:0;background:url(http://evil.example/b.png)'>",
    "</details></summary></b></mark></td></tr></table></div></div></div></div></body></html><h1>gone</h1>",
    "<b><i><table><tr><td><ul><li><textarea><title><plaintext>never closed",
    "<base href='http://evil.example/'><meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<form action='http://evil.example'><input name=x autofocus onfocus='top.attacked=true'><button>Submit</button>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=top.attacked=true&gt;'>",
    "[click](javascript:top.attacked=true) <a href='javascript:top.attacked=true'>x</a> <javascript:top.attacked=true>",
    "{{constructor.constructor('top.attacked = true')()}} ${top.attacked = true} <!-- a comment <![CDATA[ x ]]>",
    "before\n\n# a heading\n\n![x](http://evil.example/md.png)\n\n---\n\n```\ncode\n```\n\n    indented\n\n> quoted",
    "before\n\ufeff\n\u2028\n![x](http://evil.example/space.png)\n\v\n\f\n<img src=http://evil.example/space2.png>",
    '" style="position:fixed" onclick="top.attacked=true" x="',
    "\u202e\u2066 txet desrever \u202d\u061c and an Arabic word: مرحبا",
    "| a | b |\n|---|---|\n| <img src=x onerror=top.attacked=true> | </td></table></div><h1>gone</h1> |",
    "W" * 20_000,
    "many words " * 3_000,
    "a" + " " * 60_000 + "b" + "\n" * 300,
)  # fmt: skip


@pytest.fixture
def policy() -> Policy:
    """A policy with datasets of its own."""
    return replace(POLICY, name=f"home-baking-{uuid4().hex[:6]}")


@pytest.fixture
def settings(minilm: str) -> ReviewSettings:
    """No audit, so that tests know what the judge's answers do to the queue."""
    return ReviewSettings(audit_share=0.0, similarity_model=minilm)


def box(locator: "Locator") -> "FloatRect":
    found = locator.bounding_box()
    assert found is not None
    return found


def without_ids(content: str) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", content)


class TestReviewing:
    def test_a_reviewer_reads_answers_and_discards_and_the_reviews_come_home(
        self, store: Store, client: "Argilla", browsing: Browsing, policy: Policy, settings: ReviewSettings
    ) -> None:
        policy = fill(store, policy=policy)
        reason = "The section says how to keep a starter for months, in which nobody has to feed it."
        expected = {
            pair(q, rank): "related" if rank > 1 else "answers"
            for q, (_, chunks) in enumerate(LOG.values(), start=1)
            for rank in range(1, len(chunks) + 1)
        }
        judge(store, policy, expected | {pair(1, 2): "answers"}, reason=reason, quote="Dry flakes keep for months")
        query, (answer, chunks) = next(iter(LOG.items()))
        queue = [queued.pair for queued in review_queue(store, policy, settings)]
        pushed = push_reviews(store, policy, client, settings)
        page = browsing.page

        assert queue[0].chunk == chunks[1], "an uncited chunk that the judge takes for an answer comes first"
        page.goto(pushed.url, wait_until="domcontentloaded")
        browsing.at(1)
        shown = page.locator(".record").inner_text()
        assert all(text in shown for text in (policy.question, query, chunks[0], chunks[1]))
        assert answer not in shown, "folded"
        assert reason not in shown, "folded"
        assert browsing.chosen() == ["answers"], "the judge's suggestion"
        assert page.locator(".record mark").all_inner_texts() == ["Dry flakes ", "keep", " for months"]
        browsing.save("review")

        page.get_by_text("GUIDELINES").first.click()
        page.get_by_role("heading", name=policy.title).wait_for()
        assert page.get_by_text("Eggs keep three weeks in the fridge.").count() == 1
        browsing.save("guidelines")
        page.get_by_text("GUIDELINES").first.click()

        browsing.unfold(reason)
        page.keyboard.press("2")
        assert browsing.chosen() == ["answers"], "what the guidelines warn of: after a click, number keys do nothing"
        page.keyboard.press("Tab")
        page.keyboard.press("2")
        assert browsing.chosen() == ["related"]
        page.locator("textarea, [contenteditable=true]").last.fill("flakes are no live starter")
        page.get_by_role("button", name="Submit").click()
        browsing.submitted(1)

        page.get_by_text(queue[1].chunk[:20]).first.wait_for()
        page.keyboard.press("Backspace")
        page.get_by_text(queue[2].chunk[:20]).first.wait_for()
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        browsing.submitted(2)

        result = pull_reviews(store, policy, client, settings)
        assert (result.submitted, result.discarded, result.problems) == (2, 1, ())
        found = store.rows("SELECT pair_id, reviewer, status, label, note FROM reviews ORDER BY reviewed_at")
        assert {row["reviewer"] for row in found} == {"mia"}
        assert found[0] == {
            "pair_id": pair(1, 2),
            "reviewer": "mia",
            "status": "submitted",
            "label": "related",
            "note": "flakes are no live starter",
        }
        assert [(row["pair_id"], row["status"], row["label"]) for row in found[1:]] == [
            (queue[1].pair_id, "discarded", None),
            (queue[2].pair_id, "submitted", "unrelated"),
        ]

    def test_text_is_searched_and_records_are_filtered_and_sorted(
        self, store: Store, client: "Argilla", browsing: Browsing, policy: Policy, settings: ReviewSettings
    ) -> None:
        policy = fill(store, policy=policy)
        judge(store, policy, {pair(1, 3): "related", pair(2, 2): "related"}, quote="starter")
        pushed = push_reviews(store, policy, client, settings)
        page = browsing.page
        page.goto(pushed.url, wait_until="domcontentloaded")
        browsing.at(1)
        everything = browsing.count()

        page.locator(".search-area__icon").first.click()
        page.keyboard.type("flakes baking")
        page.keyboard.press("Enter")
        browsing.at(1, of=1)
        page.wait_for_function("[...CSS.highlights.values()].some(words => words.size)")
        highlighted = page.evaluate("[...CSS.highlights.values()].flatMap(words => [...words].map(String))")
        assert sorted(highlighted) == ["baking", "flakes", "flakes"], "words of the candidate, and of no tag"
        page.locator(".search-area__icon.--close").click()
        browsing.at(1, of=everything)

        page.locator(".filters__filter-button").first.click()
        page.get_by_text("Suggestions").first.click()
        page.locator(".dropdown__content").get_by_text("label").first.click()
        page.locator(".dropdown__content").get_by_text("Suggestion values").click()
        page.locator(".dropdown__content").get_by_text("related:").first.click()
        browsing.at(1, of=2)
        with page.expect_response("**/records/search**"):
            page.get_by_text("Reset").click()
        page.wait_for_url(lambda url: "suggestion" not in url and "sort" not in url)
        browsing.at(1, of=everything)
        page.wait_for_timeout(1000)  # while Argilla is still at the reset, it forgets a sort that is chosen

        page.get_by_text("Sort").first.click()
        page.get_by_text("Queue order").last.click()
        page.wait_for_url("**sort=metadata.order.asc**")
        first = review_queue(store, policy, settings)[0].pair
        page.get_by_text(first.chunk[:20]).first.wait_for()

    def test_look_alikes_are_found_and_answered_together(
        self, store: Store, client: "Argilla", browsing: Browsing, policy: Policy, settings: ReviewSettings
    ) -> None:
        chunks = ["Salt. Twenty grams a kilogram of flour.", "Scoring. Hold the blade at a low angle.", "Let it cool."]
        alike = [f"{n} g of yeast raise a kilogram of flour in one hour at room temperature." for n in (20, 25, 30)]
        query = "How much salt does a kilogram of flour need?"
        policy = fill(store, {query: ("20 g [1].", [*chunks, *alike])}, policy)
        judge(store, policy, {pair_id(anchor_id(query), chunk_id(text)): "answers" for text in alike})
        pushed = push_reviews(store, policy, client, settings)
        page = browsing.page
        page.goto(pushed.url, wait_until="domcontentloaded")
        browsing.at(1)
        page.locator(".search-area__icon").first.click()
        page.keyboard.type("25")
        page.keyboard.press("Enter")
        browsing.at(1, of=1)

        page.get_by_text("Find similar").first.click()
        page.wait_for_url("**similarity=**")
        page.locator(".search-area__icon.--close").click()
        browsing.at(1, of=5)
        assert page.get_by_text("An error occurred").count() == 0
        page.locator('[data-title="Bulk view"]').click()
        page.locator(".record--bulk").nth(1).wait_for()
        two = page.locator(".record").filter(has_text="yeast")
        closest = [record.inner_text() for record in page.locator(".record--bulk").all()[:2]]
        assert all("g of yeast raise" in text for text in closest)
        for record in two.all()[:2]:
            record.locator(".checkbox__container").first.click()
        assert browsing.chosen() == [], "no suggestion slips into an answer for many"
        browsing.save("similar")
        page.locator(".questions-form").get_by_text("unrelated").click()
        page.get_by_role("button", name="Submit").click()
        browsing.submitted(2)

        assert pull_reviews(store, policy, client, settings).new == 2
        answered = store.rows("SELECT text, label FROM reviews JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)")
        assert {row["text"] for row in answered} == {alike[0], alike[2]}
        assert {row["label"] for row in answered} == {"unrelated"}


class TestLayout:
    def test_candidate_and_cited_chunk_stand_side_by_side_where_there_is_room(
        self, client: "Argilla", browsing: Browsing, policy: Policy
    ) -> None:
        shown = some_pair(anchor="What is salt for?", chunk="Salt slows yeast. " * 9, reference="Twenty grams. " * 12)
        browsing.open(put(client, policy, [shown]))
        query, both = browsing.fields().nth(0), browsing.fields().nth(1)
        candidate, cited = (both.get_by_text(text).first for text in ("Salt slows yeast.", "Twenty grams."))

        assert box(query)["y"] + box(query)["height"] <= box(both)["y"], "the query is on top"
        assert policy.question in query.inner_text()
        left, right = box(candidate), box(cited)
        assert left["x"] + left["width"] <= right["x"]
        assert abs(left["y"] - right["y"]) < 2
        assert abs(left["width"] - right["width"]) < 2

        browsing.page.set_viewport_size({"width": 700, "height": 900})
        above, below = box(candidate), box(cited)
        assert above["y"] + above["height"] <= below["y"]
        assert abs(above["x"] - below["x"]) < 2

    def test_code_tables_and_image_summaries_are_shown_as_such(
        self, client: "Argilla", browsing: Browsing, policy: Policy
    ) -> None:
        table = "Ash by type of flour\n\ntype,ash\n405,0.4\n550,0.5\n"
        kinds = {"table": table, "code": "for loaf in oven:\n    score(loaf)", "image": "A loaf with an ear."}
        made = [some_pair(pair_id=kind, chunk=text, kind=kind) for kind, text in kinds.items()]
        browsing.open(put(client, policy, made))
        browsing.page.locator('[data-title="Bulk view"]').click()
        browsing.page.locator(".record--bulk").nth(2).wait_for()
        drawn, code, image = (browsing.fields(n).nth(1).locator(".markdown-render") for n in range(3))
        assert drawn.locator("tr").all_inner_texts() == ["type\tash", "405\t0.4", "550\t0.5"]
        assert "Ash by type of flour" in drawn.inner_text()
        font = code.get_by_text("for loaf").evaluate("element => getComputedStyle(element).fontFamily")
        assert "monospace" in font
        assert code.inner_text().endswith("for loaf in oven:\n    score(loaf)")
        assert "description of an image" in image.inner_text()

    def test_a_blind_record_shows_nothing_that_a_judge_said(
        self, client: "Argilla", browsing: Browsing, policy: Policy
    ) -> None:
        judged: dict[str, Any] = {"label": "answers", "reason": "It says so.", "quote": "Spread it", "rank": 3}
        seen = []
        for stream, known in (("audit", judged), ("targeted", {})):
            one = replace(policy, name=f"{policy.name}-{stream}")
            browsing.open(put(client, one, [some_pair(**known)], stream=stream))
            assert browsing.chosen() == []
            seen.append(browsing.page.locator(".record").inner_html().replace(one.name, ""))
            assert browsing.page.locator(".record mark").count() == 0
            assert "It says so." not in browsing.page.content()
        assert without_ids(seen[0]) == without_ids(seen[1])

    def test_an_adjudicator_sees_who_answered_what(self, client: "Argilla", browsing: Browsing, policy: Policy) -> None:
        earlier = (EarlierAnswer("ana", "answers", "says how"), EarlierAnswer("bob", None, "<b>garbled</b>"))
        browsing.open(put(client, policy, [some_pair()], earlier=earlier))
        rows = browsing.fields().last.locator("tr").all_inner_texts()
        assert [row.split() for row in rows[1:]] == [
            ["ana", "answers", "says", "how"],
            ["bob", "discarded", "<b>garbled</b>"],
        ]
        browsing.save("adjudication")


class TestHostile:
    def test_nothing_in_a_text_runs_asks_outside_or_breaks_the_page(
        self, client: "Argilla", browsing: Browsing, policy: Policy
    ) -> None:
        pairs = [
            some_pair(
                pair_id=f"pair_{n}",
                anchor=f"Query {text}",
                chunk=text,
                kind="table" if n % 2 else text[:30],
                reference=text,
                answer=text,
                label="related",
                reason=text,
                quote=text[:500],
            )
            for n, text in enumerate(HOSTILE)
        ]
        dataset = put(client, policy, pairs)
        page = browsing.page
        browsing.open(dataset)
        for n, text in enumerate(HOSTILE, start=1):
            browsing.at(n)
            page.wait_for_function(
                "start => document.querySelector('.markdown-render').textContent.startsWith(start)",
                arg=f"Query {text}"[:12],
            )
            for folded in page.locator(".record summary").all():
                folded.click()
            fields = browsing.fields()
            assert fields.count() == 4
            found = page.evaluate(
                """() => {
                    const shown = [...document.querySelectorAll('.record .markdown-render')]
                    const boxes = [...document.querySelectorAll('.record .text_field_component')]
                    return {
                        tags: [...new Set(shown.flatMap(e => [...e.querySelectorAll('*')].map(e => e.tagName)))],
                        texts: shown.map(e => e.textContent),
                        mirrored: [...document.querySelectorAll('.record small')].filter(heading => {
                            const at = n => {
                                const range = new Range()
                                range.setStart(heading.firstChild, n)
                                range.setEnd(heading.firstChild, n + 1)
                                return range.getBoundingClientRect().left
                            }
                            return at(0) >= at(4)
                        }).length,
                        wide: boxes.filter(e => e.scrollWidth > e.clientWidth).length,
                        edges: boxes.map(e => e.getBoundingClientRect()).map(b => [b.left, b.right, b.top, b.bottom]),
                    }
                }"""
            )
            assert set(found["tags"]) <= OURS, text
            query, both, answer, reason = ("".join(shown.split()) for shown in found["texts"])
            squeezed = "".join(text.split())
            assert query == "".join(f"Query {text}".split())
            assert answer == "Show" + squeezed
            assert squeezed in reason
            if "<" in text and "|" not in text:
                assert both.count(squeezed) >= 2
            assert found["mirrored"] == 0, "text of another direction turns what follows around"
            assert found["wide"] == 0, text[:80]
            lefts, rights, tops, bottoms = zip(*found["edges"], strict=True)
            assert len(set(lefts)) == len(set(rights)) == 1, text[:80]
            assert all(bottom <= top for bottom, top in zip(bottoms, tops[1:], strict=False)), text[:80]
            assert page.locator(".questions-form").get_by_text("unrelated").is_visible()
            if n < len(HOSTILE):
                page.locator("[aria-label^=Next]").click()
        page.wait_for_timeout(1500)  # time in which a script would have run
        assert page.evaluate("top.attacked") is None
        assert len(page.frames) == 1, "Argilla puts what it takes for HTML into a frame that may do as it likes"
        assert page.evaluate("document.baseURI").startswith(client.api_url)
        assert browsing.asked_outside == []

    def test_a_policys_words_cannot_either(self, client: "Argilla", browsing: Browsing, policy: Policy) -> None:
        hostile = replace(
            policy,
            title=f"Title {HOSTILE[2]}",
            question=f"Is it? {HOSTILE[2]}",
            anchor=HOSTILE[3],
            candidate=HOSTILE[13],
            examples=tuple(Example(text[:200], text[:200], "answers", text[:200]) for text in HOSTILE),
        )
        browsing.open(put(client, hostile, [some_pair()]))
        page = browsing.page
        page.get_by_text("GUIDELINES").first.click()
        page.get_by_role("heading", name="Title").wait_for()
        page.wait_for_timeout(1500)
        assert page.evaluate("top.attacked") is None
        assert len(page.frames) == 1
        assert page.get_by_role("heading", name="gone").count() == 0
        assert page.locator("img[src*=evil], a[href^='javascript:']").count() == 0
        assert browsing.asked_outside == []
        page.get_by_text("GUIDELINES").first.click()
