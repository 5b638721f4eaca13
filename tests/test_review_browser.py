"""What a reviewer does in Argilla's own page, in a real browser.

With `UNCITED_SCREENSHOTS=DIR` the page is saved there as `review.png` and `guidelines.png`, for the documentation.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from labeling import local_argilla
from labeling.argilla_client import connect_as
from labeling.local_argilla import Credentials, Server
from labeling.review import PushResult, pull_reviews, push_reviews
from labeling.review_queue import review_queue
from store.database import Store
from store.policies import Example, Policy
from tests.reviewing import LOG, POLICY, TARGETED_ONLY, fill, judge, pair

if TYPE_CHECKING:
    from argilla import Argilla
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = (
    "a < b & c &lt; d &amp; e",
    "<script>top.attacked = true</script>",
    '<img src="nowhere" onerror="top.attacked = true">',
    "</div></body><h1>gone</h1><svg onload='top.attacked = true'>",
    "[click](javascript:top.attacked=true) {{constructor.constructor('top.attacked = true')()}}",
)

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium")


@pytest.fixture
def client(argilla_server: Server) -> "Argilla":
    return connect_as(argilla_server.url, argilla_server.api_key)


@pytest.fixture
def mia(argilla_server: Server) -> Credentials:
    return local_argilla.add_user(argilla_server.home, "mia")


@pytest.fixture
def page(argilla_server: Server, mia: Credentials, tmp_path: Path) -> Iterator["Page"]:
    """A browser in which the annotator mia has signed in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "browser",
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1440, "height": 900},
        )
        # The only outside host that Argilla's page asks for serves a font; the test needs no network.
        browser.route(lambda url: not url.startswith(argilla_server.url), lambda route: route.abort())
        signed_in = browser.pages[0]
        signed_in.set_default_timeout(30_000)
        signed_in.goto(f"{argilla_server.url}/sign-in", wait_until="domcontentloaded")
        signed_in.locator("input[type=text]").fill(mia.username)
        signed_in.locator("input[type=password]").fill(mia.password)
        signed_in.keyboard.press("Enter")
        signed_in.wait_for_url(lambda url: "sign-in" not in url)
        yield signed_in
        browser.close()


def opened(page: "Page", pushed: PushResult, text: str) -> None:
    """Open the queue by the link that push gives, and wait until the record with this text is there."""
    page.goto(pushed.url, wait_until="domcontentloaded")
    page.get_by_text(text, exact=True).first.wait_for()


def saved(page: "Page", name: str) -> None:
    if folder := os.environ.get("UNCITED_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.mouse.move(720, 870)
        page.wait_for_timeout(700)  # what the pointer had lit up fades
        page.screenshot(path=Path(folder) / f"{name}.png")


def submitted(page: "Page", number: int) -> None:
    """Wait until Argilla says that so many are submitted."""
    page.wait_for_function("n => new RegExp(`Submitted\\\\s*${n}(?!\\\\d)`).test(document.body.innerText)", arg=number)


def test_a_reviewer_reads_answers_and_discards_and_the_reviews_come_home(
    store: Store, client: "Argilla", page: "Page"
) -> None:
    policy = fill(store, policy=replace(POLICY, name="home-baking"))
    reason = "The section says how to keep a starter for months, in which nobody has to feed it."
    judge(store, policy, {pair(1, 2): "answers"}, reason=reason, quote="Dry flakes keep for months")
    query, (answer, chunks) = next(iter(LOG.items()))
    queue = [q.pair.chunk for q in review_queue(store, policy, TARGETED_ONLY)]
    pushed = push_reviews(store, policy, client, TARGETED_ONLY)

    assert queue[0] == chunks[1]
    opened(page, pushed, queue[0])  # an uncited chunk that the judge takes for an answer comes first
    for text in (query, chunks[0], answer, policy.question):
        assert page.get_by_text(text).filter(visible=True).count() == 1
    saved(page, "review")

    page.get_by_text("GUIDELINES").first.click()
    page.get_by_role("heading", name=policy.title).wait_for()
    assert page.get_by_text("Eggs keep three weeks in the fridge.").count() == 1
    saved(page, "guidelines")
    page.get_by_text("GUIDELINES").first.click()

    page.get_by_text("related: it is about the same thing").first.click()
    page.locator("textarea, [contenteditable=true]").last.fill("flakes are no live starter")
    page.get_by_role("button", name="Submit").click()
    submitted(page, 1)

    page.get_by_text(queue[1], exact=True).wait_for()
    page.get_by_role("button", name="Discard").click()

    page.get_by_text(queue[2], exact=True).wait_for()

    page.keyboard.press("3")  # as the guidelines say: a number picks a label, Enter submits
    page.keyboard.press("Enter")
    submitted(page, 2)

    result = pull_reviews(store, policy, client, TARGETED_ONLY)
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
    assert [(row["status"], row["label"]) for row in found[1:]] == [("discarded", None), ("submitted", "unrelated")]


def test_nothing_in_a_chunk_or_a_policy_runs_in_the_page(store: Store, client: "Argilla", page: "Page") -> None:
    attack = " ".join(HOSTILE)
    hostile: Policy = replace(
        POLICY,
        name=f"hostile-{uuid4().hex[:4]}",
        title=f"Title {HOSTILE[1]}",
        question=f"Is it? {HOSTILE[1]}",
        examples=tuple(Example(text, text, "answers", text) for text in HOSTILE),
    )
    policy = fill(store, {f"Query {attack}": (f"Answer {attack}", ["cited " + attack, "candidate " + attack])}, hostile)
    pushed = push_reviews(store, policy, client, TARGETED_ONLY)
    assert pushed.refused == ()

    opened(page, pushed, f"Query {attack}")
    page.get_by_text("GUIDELINES").first.click()
    page.get_by_role("heading", name="Title").wait_for()
    page.wait_for_timeout(1500)  # time in which a script would have run
    assert page.evaluate("top.attacked") is None
    assert len(page.frames) == 1, "Argilla puts what it takes for HTML into a frame that may do as it likes"
    assert page.get_by_role("heading", name="gone").count() == 0
    assert page.locator("img[src=nowhere], a[href^='javascript:']").count() == 0
    shown = page.locator("body").inner_text()
    assert all(text in shown for text in HOSTILE)
