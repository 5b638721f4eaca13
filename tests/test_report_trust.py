"""What a report and a model card say of labels that a judge gave, people audited, and a certificate bounds."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from cli import app
from store.audit_draws import draw_audit
from store.builds import Build
from store.certificates import Standing, standing_certificates
from store.database import Store
from store.policies import Policy
from store.reviews import Review, add_reviews
from store.workspace import Workspace, create_workspace
from tests.evaluations import evaluation
from tests.labelled_store import distinct, judge_pairs, pair, question
from tests.test_audit import OF_EACH, QUERIES, answer, certified, fill, negatives, positives, sampled
from train.evaluation_file import write_evaluation
from train.held_out import HeldOut, read_held_out
from train.model_card import model_card, write_model_card
from train.provenance import provenance
from train.report.contents import gather
from train.report.sections import labels
from train.runs import read_run
from train.triplets import build

DRAWN = 150
DISPUTED = QUERIES - 1  # the query about whose cited chunk two people differ
HIDDEN = 2  # uncited chunks that somebody finds relevant


class Told(NamedTuple):
    """A run on labels of a judge, and its report."""

    workspace: Workspace
    run: Path
    policy: Policy
    build: Build
    uncertified: Build
    standing: list[Standing]
    hidden: Sequence[str]
    test: HeldOut
    parts: dict[str, str]  # of the page, by the id of the section
    numbers: Path


def judge_for_money(store: Store, policy: Policy) -> None:
    """Let another judge confirm the first one, for a cent a pair."""
    told = dict.fromkeys(positives(), "yes") | dict.fromkeys(negatives(), "no")
    judge_pairs(store, policy, told, {"model": "dear"}, cost_usd=0.01)


def answer_in_turn(store: Store, policy: Policy, pair_ids: Sequence[str]) -> None:
    """Let ann answer pairs blind in the terminal, one every ten seconds."""
    reviews = [
        Review(
            pair_id=pair_id,
            labelling_fingerprint=policy.labelling_fingerprint,
            reviewer="ann",
            status="submitted",
            label="no",
            stream="audit",
            reviewed_at=datetime.now(UTC) + timedelta(seconds=10 * i),
            origin="terminal",
        )
        for i, pair_id in enumerate(pair_ids)
    ]
    add_reviews(store, reviews)


def review_all(store: Store, policy: Policy) -> list[str]:
    """Draw an audit, answer and certify it, find hidden positives, certify anew; return the hidden ones."""
    draw_audit(store, policy, DRAWN, group="negatives")
    drawn = sampled(store, policy)
    answer_in_turn(store, policy, drawn)
    answer(store, policy, drawn[:10], "no", reviewer="bob")
    answer(store, policy, positives(), "yes", reviewer="cat", stream="targeted")
    answer(store, policy, positives(range(9)), "yes", reviewer="bob", stream="targeted")
    answer(store, policy, positives([DISPUTED]), "no", reviewer="bob", stream="targeted")
    certified(store, policy)
    first_of_each = (next((p for p in negatives([i]) if p not in drawn), None) for i in range(DISPUTED))
    hidden = [pair_id for pair_id in first_of_each if pair_id][:HIDDEN]
    answer(store, policy, hidden, "yes", reviewer="bob", stream="targeted")
    certified(store, policy)
    return hidden


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("trust")
    workspace = create_workspace(folder / "w")
    base = str(folder / "gone")  # the report says so, and all the rest
    with workspace.open() as store:
        policy = fill(store)
        judge_for_money(store, policy)
        hidden = review_all(store, policy)
        made = build(store, policy, judge_labels=True, test_share=0.4).build
        uncertified = build(store, policy, judge_labels=True, uncertified=True).build
        standing = standing_certificates(store, policy, resolution="majority")
        test, behind = read_held_out(store, made, pool_size=0), provenance(store, made)
    run = workspace.model_folder(policy.name, made.build_id)
    run.mkdir(parents=True)
    record = {
        **{"build_id": made.build_id, "builds": [behind], "settings_id": "settings_1", "versions": {"torch": "2.0"}},
        "settings": {"kind": "bi-encoder", "base_model": base, "base_model_is": "gone@1"},
        **{"steps": 2, "seconds": 120.0, "device": "cpu", "precision": "fp32"},
    }
    (run / "run.json").write_text(json.dumps(record, default=str))
    relevant = [(query, chunk) for query, of in test.qrels.items() for chunk, role in of.items() if role]
    moves = [(*both, 3, None) for both in relevant]
    write_evaluation(run / "evaluation.json", evaluation(made.build_id, base, queries=test.queries, moves=moves))
    words = ("report", run, "--data", folder / "numbers", "--workspace", workspace.root, "--quiet")
    app([*map(str, words)], standalone_mode=False)
    parts = dict(re.findall(r'<section id="(\w+)".*?>(.*?)</section>', (run / "report.html").read_text(), re.DOTALL))
    return Told(workspace, run, policy, made, uncertified, standing, hidden, test, parts, folder / "numbers")


def table(page: str, name: str) -> list[list[str]]:
    """Return the cells of the rows of a table of the page."""
    (found,) = re.findall(rf'<div class="scroll" id="table-{name}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [re.findall(r"<td[^>]*>(?:<span.*?>)?(.*?)<", row) for row in found.split("</tr>")[:-1]]


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_question_stands_there_in_the_words_of_the_policy(told: Told) -> None:
    assert '<blockquote class="question">Does the passage answer the question?</blockquote>' in told.parts["question"]
    assert ["spam", "it is advertising", "excluded"] in table(told.parts["question"], "policy-labels")


def test_certificates_stand_there_with_their_bounds_and_why_they_are_void(told: Told) -> None:
    now, before = (found.certificate for found in told.standing)
    assert (now.population, before.population) == (QUERIES * OF_EACH - DRAWN - HIDDEN, QUERIES * OF_EACH - DRAWN)
    judged = told.build.counts["judge_negatives"]
    assert judged > 100
    assert (
        f"{judged} labels of this build are a judge&#x27;s, certified by {told.standing[0].certificate_id}."
        in (told.parts["labels"])
    )
    shown = table(told.parts["labels"], "certificates")
    bounds = [f"at most {100 * found.bound:.1f}\N{NO-BREAK SPACE}%" for found in (now, before)]
    assert [row[:5] for row in shown] == [
        ["negatives", bounds[0], "95 %", str(now.population), str(DRAWN)],
        ["negatives", bounds[1], "95 %", str(before.population), str(DRAWN)],
    ]
    assert shown[0][5] == "holds"
    assert shown[1][5].startswith("void: the pairs that it speaks about have changed since")
    kept = rows(told.numbers, "certificates")
    assert [float(row["wrong at most"]) for row in kept] == [now.bound, before.bound]
    assert [bool(row["void because"]) for row in kept] == [False, True]


def test_labels_without_a_certificate_are_a_warning(told: Told) -> None:
    with told.workspace.open() as store:
        found = gather(store, told.run, told.run, resolution="majority")
    page = labels(replace(found, build=told.uncertified), {})
    assert 'class="warning"' in page
    assert "are a judge&#x27;s without a certificate: nobody knows how many are wrong." in page
    assert "certified by" not in page
    assert "uncited certify -p answers" in page


def test_agreement_is_that_of_the_pairs_with_two_answers(told: Told) -> None:
    shown = {row[0]: row[1:] for row in table(told.parts["labels"], "agreement")}
    assert shown["raw agreement"][0] == "0.950", "of 20 pairs, about one they differ"
    assert "Krippendorff&#x27;s alpha" in shown
    (raw,) = (row for row in rows(told.numbers, "agreement") if row["coefficient"] == "raw agreement")
    assert float(raw["value"]) == pytest.approx(0.95)
    assert float(raw["low"]) < 0.95 < float(raw["high"])


def test_false_negatives_are_shown_with_what_the_judge_had_said(told: Told) -> None:
    texts = {pair(question(i), distinct(f"bad{k}of", i)): (i, k) for i in range(QUERIES) for k in range(OF_EACH)}
    places = sorted((texts[pair_id] for pair_id in told.hidden), key=lambda place: place[1])
    (cards,) = re.findall(r'id="cards-false-negatives">(.*?)</div>', told.parts["labels"], re.DOTALL)
    assert cards.count("<article") == HIDDEN
    for i, k in places:
        assert (
            f'{question(i)}</p><p class="text" dir="auto">{distinct(f"bad{k}of", i)}</p><p class="about">'
            f"retrieved at rank {k + 2}, not cited; a person said <b>yes</b>, the judge had said no</p>"
        ) in cards
    kept = [(row["query"], int(row["rank"]), row["people"]) for row in rows(told.numbers, "false-negatives")]
    assert sorted(kept) == sorted((question(i), k + 2, "1") for i, k in places)


def test_the_worst_queries_are_shown_with_their_relevant_chunks(told: Told) -> None:
    (cards,) = re.findall(r'id="cards-worst-queries">(.*)</div>', told.parts["worst"], re.DOTALL)
    queries = list(told.test.queries.items())[:6]
    assert re.findall(r'<p class="query" dir="auto">(.*?)</p>', cards) == [text for _, text in queries]
    assert re.findall(r"nDCG@10 (.*?)</p>", cards)[:2] == ["0.200 → 0.250", "0.300 → 0.350"]
    first, of = queries[0][0], told.test.qrels
    (chunk, *_) = (told.test.pool[chunk] for chunk, role in of[first].items() if role)
    assert f'{chunk}</p><p class="about">relevant, <b>rank 3 → not retrieved</b>' in cards
    kept = rows(told.numbers, "worst-queries")
    assert (kept[0]["query"], kept[0]["rank before"], kept[0]["rank after"]) == (queries[0][1], "3", "")
    assert float(kept[0]["nDCG@10 after"]) == pytest.approx(0.25)


def test_the_bill_of_the_judge_and_the_minutes_of_people_are_told(told: Told) -> None:
    shown = table(told.parts["cost"], "costs")
    asked = QUERIES * (OF_EACH + 1)
    assert shown[0] == ["the judge", f"${asked / 100:.2f}", f"{2 * asked} questions"]
    from_files = 10 + QUERIES + 9 + 1 + HIDDEN
    assert shown[1] == [
        *("people", "25 min"),
        f"{DRAWN - 1} answers, 10.0 s an answer; {from_files + 1} more answers tell no time",
    ]
    assert shown[2] == ["training", "2 min", "on cpu"]
    kept = {row["what"]: row for row in rows(told.numbers, "costs")}
    assert float(kept["the judge"]["usd"]) == pytest.approx(asked / 100)
    assert float(kept["people"]["seconds"]) == pytest.approx(10 * (DRAWN - 1), abs=1)


def test_the_card_names_judge_and_certificate_and_quotes_no_text(told: Told) -> None:
    card = write_model_card(told.run).read_text()
    found = told.standing[0]
    stated = found.certificate
    assert f"Labels of a judge are those of `dear`: {told.build.counts['judge_negatives']}." in card
    assert (
        f"Certificate `{found.certificate_id}`: of the {stated.population} labels of the judge in its group"
        f" (negatives) that nobody reviewed, at most {100 * stated.bound_unreviewed:.1f} % are wrong, with 95 %"
        f" confidence ({DRAWN} blind reviews)."
    ) in card
    assert told.standing[1].certificate_id not in card, "the build does not rest on it"
    assert "No certificate" not in card
    assert "Reviewed by 3 people." in card
    for i in range(QUERIES):
        assert question(i) not in card
        assert distinct("bad0of", i) not in card


def test_the_card_warns_of_labels_that_no_certificate_bounds(told: Told) -> None:
    with told.workspace.open() as store:
        behind = provenance(store, told.uncertified)
    record = read_run(told.run)
    assert record is not None
    card = model_card({**record, "builds": [behind]})
    assert "**No certificate bounds the errors of the judge's labels.**" in card
    assert "Certificate `" not in card
    assert "| judge | negative |" in card
