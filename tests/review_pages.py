"""Argilla's own page in a real browser, with a reviewer signed in; shared set-up of the tests of what reviewers see."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from labeling import local_argilla
from labeling.local_argilla import Server
from labeling.review_dataset import Dataset, ensure_dataset, write_records
from labeling.review_layout import EarlierAnswer, Stream, record
from store.policies import Policy
from store.progress import silent
from store.reviews import PairToReview

if TYPE_CHECKING:
    from argilla import Argilla
    from playwright.sync_api import Locator, Page

CHROMIUM = Path("/usr/bin/chromium")
WIDE = {"width": 1440, "height": 900}
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_FONTS = {"fonts.googleapis.com", "fonts.gstatic.com"}  # all that Argilla's page asks for outside


def some_pair(**known: object) -> PairToReview:
    """Make an unjudged pair; `known` is what the test is about."""
    values: dict[str, object] = {described.name: None for described in fields(PairToReview)}
    values |= {"pair_id": "pair_1", "anchor": "How do I dry a starter?", "chunk": "Drying. Spread it.", "kind": "text"}
    return PairToReview(**(values | {"proposed": "negative", "sources": ("uncited",)} | known))


@dataclass
class Browsing:
    """The page of a signed-in annotator, and every address outside the server that it asked for."""

    page: "Page"
    asked_outside: list[str] = field(default_factory=list)

    def open(self, dataset: Dataset) -> None:
        """Open the records of a dataset, in queue order, and wait until the first is there."""
        self.page.goto(dataset.url, wait_until="domcontentloaded")
        self.page.locator(".text_field_component").first.wait_for()

    def fields(self, record: int = 0) -> "Locator":
        """Return the fields of a record on the page."""
        return self.page.locator(".record").nth(record).locator(".text_field_component")

    def at(self, number: int, of: int | None = None) -> None:
        """Wait until the `number`-th record (from 1) is shown, of so many."""
        shown = re.compile(rf"^\s*{number}\s*of {of or '[0-9]+'}$")
        self.page.locator(".pagination__info").filter(has_text=shown).wait_for()

    def count(self) -> int:
        """Return how many records the page says it has."""
        return int(self.page.locator(".pagination__info").inner_text().split()[-1])

    def submitted(self, number: int) -> None:
        """Wait until Argilla's progress says that so many are submitted."""
        expression = "n => new RegExp(`Submitted\\\\s*${n}(?!\\\\d)`).test(document.body.innerText)"
        self.page.wait_for_function(expression, arg=number)

    def unfold(self, text: str) -> None:
        """Open the last fold until it shows `text`: a page that still moves may swallow a click."""
        shown = self.page.get_by_text(text)
        for _ in range(5):
            self.page.get_by_text("Show").last.click()
            self.page.wait_for_timeout(1000)
            if shown.is_visible():
                return
        raise AssertionError(f"folded: {text}")

    def chosen(self) -> list[str]:
        """Return the labels that are selected in the form."""
        found: list[str] = self.page.locator(".questions-form input:checked").evaluate_all(
            "boxes => boxes.map(box => box.name)"
        )
        return [name.partition(":")[0] for name in found]

    def save(self, name: str) -> None:
        """Write what is seen, for the docs, where UNCITED_SCREENSHOTS names a folder."""
        if folder := os.environ.get("UNCITED_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.mouse.move(720, 870)
            self.page.wait_for_timeout(700)  # what the pointer had lit up fades
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def signed_in(argilla_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsing]:
    """A browser in which the annotator mia has signed in."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    mia = local_argilla.add_user(argilla_server.home, "mia")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser"), executable_path=CHROMIUM, headless=True, args=_FLAGS
        )
        browsing = Browsing(browser.pages[0])
        browser.route(lambda url: not url.startswith(argilla_server.url), lambda route: route.abort())
        browser.on("request", lambda request: _note(browsing, request.url, argilla_server.url))
        browsing.page.set_default_timeout(15_000)
        browsing.page.goto(f"{argilla_server.url}/sign-in", wait_until="domcontentloaded")
        browsing.page.locator("input[type=text]").fill(mia.username)
        browsing.page.locator("input[type=password]").fill(mia.password)
        browsing.page.keyboard.press("Enter")
        browsing.page.wait_for_url(lambda url: "sign-in" not in url)
        yield browsing
        browser.close()


def _note(browsing: Browsing, url: str, server: str) -> None:
    if not url.startswith((server, "data:", "blob:")) and urlsplit(url).hostname not in _FONTS:
        browsing.asked_outside.append(url)


@pytest.fixture
def browsing(signed_in: Browsing) -> Browsing:
    """The same browser for every test, as each wants to find it."""
    signed_in.page.set_viewport_size(WIDE)
    signed_in.asked_outside.clear()
    return signed_in


def put(
    client: "Argilla",
    policy: Policy,
    pairs: Sequence[PairToReview],
    *,
    stream: Stream = "targeted",
    earlier: Sequence[EarlierAnswer] = (),
) -> Dataset:
    """Make records of pairs that no database knows; with `earlier` answers, in the dataset for adjudication."""
    dataset = ensure_dataset(client, policy, adjudication=bool(earlier))
    made = [
        record(pair, order=n, stream=stream, label_question_id=dataset.label_question_id, earlier=earlier)
        for n, pair in enumerate(pairs, start=1)
    ]
    assert write_records(client, dataset, made, silent) == []
    return dataset
