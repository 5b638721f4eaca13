"""The report on a run, written from a real workspace and read in a real browser."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import app
from store.database import Store
from store.encoders import model_hash
from store.errors import InvalidDataError, MissingError, UsageError
from store.policies import add_policy
from store.progress import silent
from store.workspace import Workspace, create_workspace
from tests.evaluations import answer_comparison, compared, evaluation
from tests.labelled_store import POLICY, distinct, log, question, review
from tests.review_pages import CHROMIUM
from tests.test_review_browser import HOSTILE
from train import trainer
from train.ablation import Ablation, Arm
from train.answers.comparison import keep_answers
from train.evaluation import ShownMove
from train.evaluation_file import evaluation_file, write_evaluation
from train.experiments import Estimate, Gain, MeasuredOn, result_file, write_result
from train.held_out import HeldOut, read_held_out
from train.kinds import load
from train.learning_curve import Forecast, LearningCurve, Point, PowerLaw
from train.ranking import rank_with_all
from train.recipe import Kind, Recipe
from train.report.contents import gather
from train.report.html import tag
from train.report.look import LOOK_FILE, SampledPair, _ordered, look, sample_pairs
from train.report.outcome import outcome
from train.report.sections import cut
from train.report.wording import number, seen, signed
from train.rows import read_training_split
from train.triplets import build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FIGURES = {
    *("flow", "metrics", "answers", "rank-shift", "similarity", "map", "matryoshka", "learning-curve", "ablation"),
    "training",
}
TABLES = {
    *("policy-labels", "stations", "left-out", "false-negatives", "agreement", "labelled", "systems", "systems-in-use"),
    *("collection", "collection-at-most", "slices", "seeds", "rank-shift-within", "answer-metrics", "answer-questions"),
    *("ablation-arms", "ablation-choices", "worst-queries", "costs", "record"),
}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
ELEMENTS = """
    a article b blockquote body caption clippath code dd defs details div dl dt figcaption figure footer
    g h1 h2 h3 head header html link main meta nav p path rect section span strong style summary svg
    table tbody td text th thead title tr tspan use
"""


class Reported(NamedTuple):
    """A workspace with a run that everything is known about."""

    workspace: Workspace
    run: Path
    build_id: str
    page: Path


def report(workspace: Workspace, *words: object) -> None:
    app(["report", *map(str, words), "--workspace", str(workspace.root), "--quiet"], standalone_mode=False)


def fill(store: Store) -> None:
    """Log queries whose texts are hostile, and let people find some of their uncited chunks relevant."""
    for i in range(10):
        query = f"{question(i)} {HOSTILE[i]}"
        hidden = f"{distinct('hidden', i)} {HOSTILE[-1 - i]}"
        cited, other = distinct("cited", i), [distinct(f"other{k}of", i) for k in range(3)]
        log(store, query, [cited, hidden, *other], cited=[cited])
        review(store, query, {cited: "yes", hidden: "yes"} | dict.fromkeys(other, "no"))
        review(store, query, {cited: "yes", other[0]: "yes" if i % 3 == 0 else "no"}, reviewer="bea", minute=1)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Reported:
    """A workspace with a run trained for two steps, its evaluation, and experiments over its build.

    Figures and numbers of its report lie beside the workspace, in `f` and `d`.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    workspace = create_workspace(tmp_path_factory.mktemp("w") / "w")
    with workspace.open() as store:
        policy, _ = add_policy(store, POLICY)
        fill(store)
        made = build(store, policy, test_share=0.4).build
        split, test = read_training_split(store, made), read_held_out(store, made)
    run = workspace.model_folder(policy.name, made.build_id)
    trainer.train(split, Recipe(base_model=minilm, batch_size=2, max_steps=2), out=run)
    relevant = [(anchor, chunk) for anchor, of in test.qrels.items() for chunk, role in of.items() if role]
    told = evaluation(
        made.build_id,
        minilm,
        queries=test.queries,
        moves=[(*pair, 1 + i, 2 if i % 2 else None) for i, pair in enumerate(relevant)],
        shown=[ShownMove(text, text, 9, 1) for text in HOSTILE],
        dimensions=(128, 64),  # of 384
    )
    write_evaluation(evaluation_file(run, made.build_id), told)
    keep_answers(run, answer_comparison(made.build_id, minilm))
    write_experiments(workspace.experiments, made.build_id)
    report(workspace, run, "--figures", workspace.root.parent / "f", "--data", workspace.root.parent / "d")
    torch.set_num_threads(threads)
    return Reported(workspace, run, made.build_id, run / "report.html")


def saved(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_experiments(folder: Path, build_id: str) -> None:
    test = MeasuredOn(24, 20, 352, 1.0)
    near, gain = Estimate(0.6, 0.55, 0.65), Gain(0.03, 0.01, 0.05, "gain")
    points = tuple(Point(n, n / 10, Estimate(v, v - 0.05, v + 0.05), (v, v + 0.01)) for n, v in ((50, 0.5), (500, 0.6)))
    ahead = (Forecast(1000, Estimate(0.63, 0.55, 0.7), Gain(0.03, -0.02, 0.08, "no claim (interval spans zero)")),)
    curve = LearningCurve(build_id, {}, "nDCG@10", (0, 1), test, near, points, gain, PowerLaw(0.3, 2.0, 0.5), "", ahead)
    write_result(result_file(folder, "learning-curve", build_id), curve)
    arms = (
        Arm("naive", "uncited, unseen", 500, 20, 100, 12, "", near, (0.59, 0.61), None),
        Arm("certified", "labelled", 500, 20, 100, 0, "", Estimate(0.63, 0.6, 0.66), (0.62, 0.64), gain),
        Arm("random", "any chunk", 0, 0, 0, 0, "too few", None, (), None),
    )
    write_result(
        result_file(folder, "ablation", build_id), Ablation(build_id, {}, "nDCG@10", (0, 1), 500, test, near, arms)
    )


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield opened
        opened.close()


class Opened(NamedTuple):
    """The page in a browser, and what it said and asked for."""

    page: "Page"
    said: list[str]
    asked: list[str]


def opened(browser: "Browser", file: Path, width: int, **known: object) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": 900}, **known)
    found = Opened(page, [], [])
    page.on("console", lambda message: found.said.append(message.text))
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("request", lambda request: found.asked.append(request.url))
    page.goto(file.as_uri())
    return found


# The elements that stand out at the right, but for what scrolls by itself.
OUTSIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') && !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 100))"""
# Texts of figures that stand out of them.
CUT_OFF = """() => [...document.querySelectorAll('.drawing svg text')].filter(text => {
    const own = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
    return svg.width && (own.left < svg.left - 3 || own.right > svg.right + 3 || own.bottom > svg.bottom + 3)
}).map(text => text.closest('figure').id + ' ' + text.textContent)"""


class TestInABrowser:
    @pytest.mark.parametrize(("width", "shown"), [(375, "narrow"), (1280, "wide")])
    def test_every_figure_is_there_and_nothing_overflows(
        self, reported: Reported, browser: "Browser", width: int, shown: str
    ) -> None:
        found = opened(browser, reported.page, width)
        figures = found.page.locator("figure")
        assert {f"figure-{name}" for name in FIGURES} == set(figures.evaluate_all("all => all.map(one => one.id)"))
        for name in FIGURES:
            drawn = found.page.locator(f"#figure-{name} .drawing")
            assert [one.is_visible() for one in drawn.all()] == [shown == "wide", shown == "narrow"]
            visible = found.page.locator(f"#figure-{name} .drawing.{shown}")
            assert visible.get_attribute("role") == "img"
            assert visible.get_attribute("aria-label")
            assert visible.locator("text").count() > 1, "text stays text"
            assert visible.bounding_box()["height"] > 100
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        assert found.page.evaluate(OUTSIDE) == []
        assert found.page.evaluate(CUT_OFF) == []
        assert found.page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == len(
            found.page.locator("[id]").all()
        ), "ids are different"
        assert found.said == []
        assert found.asked == [reported.page.as_uri()], "nothing leaves the machine"

    def test_hostile_texts_stay_text(self, reported: Reported, browser: "Browser") -> None:
        found = opened(browser, reported.page, 1280)
        found.page.wait_for_timeout(200)
        assert found.page.evaluate("window.attacked") is None
        names = set(found.page.evaluate("[...document.querySelectorAll('*')].map(e => e.localName.toLowerCase())"))
        assert names <= set(ELEMENTS.split())
        attributes = found.page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name + '=' + a.value))"
        )
        assert not [a for a in attributes if a.startswith("on") or "javascript:" in a or "evil.example" in a]
        queries = found.page.locator(".card .query").all_text_contents()
        for text in HOSTILE:
            assert seen(cut(text)) in queries
        assert found.page.title().startswith("answers: nDCG@10 rose by 0.031")

    def test_dark_and_light_follow_the_reader(self, reported: Reported, browser: "Browser") -> None:
        def colours(scheme: str) -> list[str]:
            page = opened(browser, reported.page, 1280, color_scheme=scheme).page
            kinds = (("body", "backgroundColor"), ("body", "color"), ("#figure-training .wide text", "fill"))
            return [page.eval_on_selector(s, f"e => getComputedStyle(e).{name}") for s, name in kinds]

        def lightness(colour: str) -> int:
            return sum(map(int, re.findall(r"\d+", colour)[:3]))

        light, dark = colours("light"), colours("dark")
        assert lightness(light[0]) > 700 > 300 > lightness(light[1])
        assert lightness(dark[0]) < 120 < 600 < lightness(dark[1])
        assert lightness(dark[2]) > lightness(light[2]) + 100

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_paper_shows_all_of_it_dark_on_light(self, reported: Reported, browser: "Browser", scheme: str) -> None:
        page = opened(browser, reported.page, 680, color_scheme=scheme).page  # A4 less its margins
        page.emulate_media(media="print", color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 680
        everything = OUTSIDE.replace("!e.closest('.scroll') && ", "")
        assert page.evaluate(everything) == []
        assert page.evaluate(CUT_OFF) == []
        assert page.eval_on_selector("body", "e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
        assert page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
        assert all(one.is_visible() for one in page.locator(".drawing.wide").all())


class TestWriting:
    def test_the_second_time_the_same_page_comes_without_the_models(
        self, reported: Reported, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = reported.page.read_bytes()
        monkeypatch.setattr("train.report.look.load", lambda *_: pytest.fail("loads a model"))
        report(reported.workspace, "--policy", "answers")
        assert reported.page.read_bytes() == first
        assert b"default-src 'none'" in first

    def test_figures_and_numbers_are_saved(self, reported: Reported) -> None:
        folder = reported.workspace.root.parent
        assert {file.stem for file in (folder / "f").glob("*.png")} == FIGURES
        assert all(file.read_bytes().startswith(b"\x89PNG") for file in (folder / "f").glob("*.png"))
        assert "nDCG@10</text>" in (folder / "f" / "metrics.svg").read_text()

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        numbers = json.loads((folder / "d" / "report.json").read_text("utf-8"), parse_constant=refuse)
        assert numbers["headline"] == "nDCG@10 rose by 0.031 (0.012 to 0.050)."
        assert numbers["report"]["bill"]["calls"] == 0
        metrics = {row["metric"]: row for row in saved(folder / "d", "metrics")}
        assert float(metrics["nDCG@10"]["difference"]) == pytest.approx(0.031)
        flow = [(row["put forward because"], row["became"], int(row["pairs"])) for row in saved(folder / "d", "flow")]
        assert sum(pairs for *_, pairs in flow) == 50
        assert sum(pairs for why, became, pairs in flow if (why, became) == ("uncited", "positive")) > 0
        answers = {row["metric"]: row for row in saved(folder / "d", "answers")}
        assert float(answers["noise_sensitivity"]["high"]) < 0, "as it was measured, whatever is drawn"
        assert (answers["factual_correctness"]["queries"], answers["factual_correctness"]["tuned"]) == ("0", "")
        kept = numbers["report"]["answers"]
        assert (kept["llm"], kept["bill"]["total_cost_usd"], len(kept["measured"])) == ("gpt-5-mini", 0.0625, 12)

    def test_each_figure_and_each_table_of_the_page_is_a_file_of_numbers(self, reported: Reported) -> None:
        folder = reported.workspace.root.parent / "d"
        names = {file.stem for file in folder.glob("*.csv")}
        on_page = re.findall(r'id="(?:figure|table|cards)-([\w-]+)"', reported.page.read_text("utf-8"))
        assert sorted(names - {"numbers"}) == sorted(on_page)
        assert names == FIGURES | TABLES | {"numbers"}
        for name in names:
            with (folder / f"{name}.csv").open(newline="") as file:
                columns, *rows = csv.reader(file)
            assert rows, name
            assert {len(row) for row in rows} == {len(columns)} == {len(set(columns))}, name
        lengths = {
            row["numbers"]: (row["bytes of the index"], row["ms of a search"]) for row in saved(folder, "matryoshka")
        }
        whole = ("1536000", "0.384")
        assert lengths == {"64": ("256000", "0.064"), "128": ("512000", "0.128"), "384": whole}
        moves = json.loads((folder / "report.json").read_text("utf-8"))["report"]["evaluation"]["rank_shift"]["moves"]
        moved = [
            (row["query id"], row["chunk id"], *(int(row[rank] or 0) for rank in ("rank before", "rank after")))
            for row in saved(folder, "rank-shift")
        ]
        assert moved == [(m["anchor_id"], m["chunk_id"], m["before"], m["after"] or 0) for m in moves]
        assert len(moved) > 2
        in_sentences = {(row["part"], row["number"], row["unit"]): row for row in saved(folder, "numbers")}
        assert len(in_sentences) == len(saved(folder, "numbers"))
        relevant = in_sentences["labels", "relevant ones of them", "share"]
        assert 0 < float(relevant["low"]) < float(relevant["value"]) < float(relevant["high"]) < 1
        expected = in_sentences["more", "1000 triplets against all there are, as the fit expects", "nDCG@10"]
        assert [expected[name] for name in ("value", "low", "high")] == ["0.03", "-0.02", "0.08"]
        assert in_sentences["ranks", "median rank of a relevant chunk after", "rank"]["value"] == "2.0"
        ndcg = {row["metric"]: row for row in saved(folder, "collection")}["nDCG@10"]
        assert [float(ndcg[name]) for name in ("base", "tuned", "low")] == pytest.approx([0.4, 0.431, 0.012])
        assert {row["tuned"] for row in saved(folder, "collection-at-most")} == {"0.9"}
        (part,) = saved(folder, "slices")
        assert (part["part"], part["queries"], part["low"], part["verdict"]) == ("short", "24", "0.012", "gain")
        (seeds,) = saved(folder, "seeds")
        assert (seeds["mean gain"], seeds["low"], seeds["high"], seeds["runs"]) == ("0.03", "0.02", "0.04", "2")
        systems = {row.pop("system"): [*row.values()] for row in saved(folder, "systems-in-use")}
        assert systems["base"] == ["0.61", "12.5", "20.1", "1536000", "cpu"]
        assert {row["what"]: row["usd"] for row in saved(folder, "costs")}["answers"] == "0.0625"

    def test_negatives_that_are_relevant_are_counted_in_the_open(self, reported: Reported) -> None:
        page = reported.page.read_text("utf-8")
        (part,) = re.findall(r'<section id="worth".*?</figure>(.*?)</section>', page, re.DOTALL)
        cells = r"<td[^>]*>(?:<span.*?>)?(.*?)<"
        told = [re.findall(cells, row) for row in re.findall(r"<tr>(.*?)</tr>", part)]
        assert ["naive", "12 of 100", "0.600", "", "", ""] in told
        assert ["certified", "0 of 100", "0.630", "+0.030", "+0.010 to +0.050", "gain"] in told
        assert ["random", "", "", "", "", "too few"] in told

    def test_answers_are_told_with_their_verdicts_and_their_cost(self, reported: Reported) -> None:
        parts = dict(re.findall(r'<section id="(\w+)".*?>(.*?)</section>', reported.page.read_text("utf-8"), re.DOTALL))
        rows = re.findall(r"<tr>(.*?)</tr>", parts["answers"])
        cells = (re.findall(r"<td[^>]*>(?:<span.*?>)?(.*?)<", row) for row in rows)
        told = {row[0]: row[1:] for row in cells if len(row) > 2}
        assert told["context recall"][:4] == ["12", "0.300", "0.710", "+0.410"]
        assert told["context recall"][-1] == told["noise sensitivity"][-1] == "gain"
        assert told["context entity recall"][-1] == "loss"
        assert told["faithfulness"][-1] == "no claim (interval spans zero)"
        assert told["noise sensitivity"][3].startswith("\N{MINUS SIGN}"), "less noise"
        (caption,) = re.findall("<figcaption>(.*?)</figcaption>", parts["answers"])
        assert "A claim is made of context recall, context entity recall, noise sensitivity." in caption
        assert "Of noise sensitivity less is better" in caption
        assert "length 1" in parts["answers"]
        assert "$0.06" in parts["cost"]
        assert "324 replies of gpt-5-mini" in parts["cost"]


class TestWhatIsMissing:
    @pytest.fixture
    def bare(self, reported: Reported, tmp_path: Path) -> Reported:
        """The same run without an evaluation, losses or experiments, and with a base model that is gone."""
        run = tmp_path / "run"
        run.mkdir()
        record = json.loads((reported.run / "run.json").read_text())
        record["settings"]["base_model"] = str(tmp_path / "gone")
        (run / "run.json").write_text(json.dumps({**record, "losses": []}))
        workspace = Workspace(tmp_path / "w", reported.workspace.settings)
        shutil.copytree(reported.workspace.root, workspace.root, ignore=shutil.ignore_patterns("models", "experiments"))
        return Reported(workspace, run, reported.build_id, run / "report.html")

    def test_it_is_said_in_a_sentence(self, bare: Reported) -> None:
        report(bare.workspace, bare.run)
        text = bare.page.read_text("utf-8")
        for said in (
            "Trained, not evaluated",
            "uncited evaluate --policy answers",
            f"uncited learning-curve --policy answers --build {bare.build_id}",
            f"uncited ablation --policy answers --build {bare.build_id}",
            "uncited answers --policy answers",
            "The models could not be asked",
            "The record holds no losses",
        ):
            assert said in text
        assert re.findall(r'<figure id="figure-([\w-]+)"', text) == ["flow"]
        assert not (bare.run / LOOK_FILE).exists()

    def test_a_run_on_several_policies_names_them_all(self, bare: Reported, minilm: str) -> None:
        record = json.loads((bare.run / "run.json").read_text())
        other = {"build_id": "build_0123456789", "policy": {"name": "tastes", "question": "Is it <b>liked</b>?"}}
        record["builds"] = [{"build_id": bare.build_id}, other]
        (bare.run / "run.json").write_text(json.dumps(record))
        told = evaluation(
            "build_0123456789", minilm, found=compared(-0.01, -0.05, 0.02, "no claim (interval spans zero)")
        )
        write_evaluation(evaluation_file(bare.run, "build_0123456789"), told)
        report(bare.workspace, bare.run)
        text = bare.page.read_text("utf-8")
        assert "triplets, and on those of tastes. Evaluate it with" in text
        assert f"uncited evaluate --policy answers --model {bare.run} --build {bare.build_id}" in text
        assert "Is it &lt;b&gt;liked&lt;/b&gt;?" in text
        assert "nDCG@10 −0.010 (−0.050 to 0.020), no claim (interval spans zero)" in text

    def test_another_base_than_the_model_was_made_of_is_named(self, bare: Reported, tmp_path: Path) -> None:
        told = evaluation(bare.build_id, "someone/else")
        write_evaluation(evaluation_file(bare.run, bare.build_id), told)
        report(bare.workspace, bare.run, "--out", tmp_path / "r.html")
        assert "and compared with someone/else on 24 test queries" in (tmp_path / "r.html").read_text("utf-8")

    def test_numbers_beside_a_model_do_not_make_another_model_of_it(self, bare: Reported) -> None:
        before = model_hash(bare.run)
        report(bare.workspace, bare.run, "--data", bare.run)
        assert (bare.run / "report.json").is_file()
        assert model_hash(bare.run) == before

    def test_what_cannot_be_written_is_named(self, bare: Reported, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="cannot write"):
            report(bare.workspace, bare.run, "--out", tmp_path / "file" / "r.html")
        with pytest.raises(UsageError, match="cannot write figures"):
            report(bare.workspace, bare.run, "--figures", tmp_path / "file")

    def test_answers_that_cannot_be_read_are_named_in_a_line(self, bare: Reported) -> None:
        (bare.run / "answers.json").write_text("{}")
        with pytest.raises(
            InvalidDataError, match=r"answers.json is no comparison of answers of this version$"
        ) as found:
            report(bare.workspace, bare.run)
        assert "uncited answers" in str(found.value.hint)

    def test_what_is_no_run_is_refused(self, bare: Reported, tmp_path: Path) -> None:
        with pytest.raises(MissingError, match="no model has been trained"):
            report(bare.workspace)
        with pytest.raises(MissingError, match="is no run"):
            report(bare.workspace, tmp_path / "nowhere")
        with pytest.raises(MissingError, match="'nope'"):
            report(bare.workspace, "--policy", "nope")
        (bare.run / "run.json").write_text("[]")
        with pytest.raises(InvalidDataError, match="no record of a run"):
            report(bare.workspace, bare.run)
        (bare.run / "run.json").write_text('{"build_id": "build_elsewhere", "settings": {"base_model": "m"}}')
        with pytest.raises(MissingError, match="build_elsewhere"):
            report(bare.workspace, bare.run)


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (compared(0.031, 0.012, 0.050, "gain"), "gain", "nDCG@10 rose by 0.031 (0.012 to 0.050)."),
        (compared(-0.031, -0.050, -0.012, "loss"), "loss", "nDCG@10 fell by 0.031 (0.012 to 0.050)."),
        (
            compared(-0.01, -0.05, 0.02, "no claim (interval spans zero)"),
            "none",
            "No claim: nDCG@10 changed by −0.010 (−0.050 to 0.020); interval spans zero.",
        ),
        (
            compared(0.01, None, None, "no claim (few)"),
            "none",
            "No claim: 24 test queries are too few to tell anything.",
        ),
    ],
)
def test_the_headline_says_the_outcome_and_its_certainty(
    reported: Reported, minilm: str, tmp_path: Path, found: object, verdict: str, said: str
) -> None:
    shutil.copy(reported.run / "run.json", tmp_path)
    told = evaluation(reported.build_id, minilm, found=found)
    write_evaluation(evaluation_file(tmp_path, reported.build_id), told)
    with reported.workspace.open() as store:
        done = outcome(gather(store, tmp_path, tmp_path, resolution="majority"))
    assert (done.verdict, done.clear + done.rest) == (verdict, said)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@given(st.text())
def test_any_text_comes_out_of_the_page_as_it_went_in(text: str) -> None:
    parser = _Text()
    parser.feed(tag("p", text, title=text) + tag("i"))
    parser.close()
    assert parser.tags == ["p", "i"]
    assert "".join(parser.found) == seen(text)


def test_the_share_in_the_right_order_counts_pairs_of_one_query_only(reported: Reported) -> None:
    with reported.workspace.open() as store:
        pairs = gather(store, reported.run, reported.run, resolution="majority").pairs
    two = [p._replace(query_id="a") for p in pairs[:1]] + [p._replace(query_id="a", positive=False) for p in pairs[:2]]
    assert [p.positive for p in two] == [True, False, False]
    assert _ordered(two, [0.5, 0.4, 0.6]) == 0.5
    assert _ordered(two, [0.5, 0.5, 0.4]) == 0.75
    other = [p._replace(query_id="b") for p in two]
    assert _ordered([*two, *other], [0.5, 0.4, 0.4, 0.1, 0.2, 0.2]) == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reranker", "multi-vector", "sparse"])
def test_kinds_that_give_no_single_vector_are_scored_by_their_own_similarity(
    minilm: str, tmp_path: Path, kind: Kind
) -> None:
    import torch

    torch.manual_seed(0)
    model = load(kind, minilm)
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    chunks = {"c": "Salt slows yeast.", "d": "Moles dig."}
    pairs = [SampledPair("q", "What is salt for?", name, text, name == "c") for name, text in chunks.items()]
    found = look(pairs, minilm, str(tmp_path / "model"), kept=tmp_path / "kept.jsonl")
    assert (found.points, found.spread) == ((), None)
    test = HeldOut("b", {"q": pairs[0].query}, {"q": "g"}, {"q": {"c": 1, "d": 0}}, chunks, 2)
    ranked = rank_with_all(test, ["q"], [minilm, str(tmp_path / "model")], silent)
    for place, name in enumerate((minilm, str(tmp_path / "model"))):
        expected = ranked[name].labelled["q"]
        assert found.positive[0][place] == pytest.approx(expected["c"], abs=1e-3)
        assert found.negative[0][place] == pytest.approx(expected["d"], abs=1e-3)


def test_the_sample_holds_positives_and_negatives_of_every_query(reported: Reported) -> None:
    with reported.workspace.open() as store:
        from store.builds import get_build

        test = read_held_out(store, get_build(store, reported.build_id), pool_size=0)
    pairs = sample_pairs(test)
    assert pairs == sample_pairs(test)
    assert {p.query_id for p in pairs} == set(test.qrels)
    assert all({p.positive for p in pairs if p.query_id == query} == {True, False} for query in test.qrels)


def test_numbers_are_written_with_a_minus_sign_and_nan_as_a_dash() -> None:
    assert (number(-0.5), signed(0.0312), signed(-0.0312)) == ("−0.500", "+0.031", "−0.031")
    assert number(float("nan")) == "–"
