"""What the reports on judges say: the prompts as sent, the costs, and a confidence made of repeated asks."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from labeling.judge import judge_candidates
from labeling.judge_calibration import calibrate_judges, calibrated_relevance
from labeling.judgment_history import pair_history
from labeling.permuted_asks import ask_again
from store.calibrations import judged_and_reviewed
from store.database import Store
from store.errors import ProviderError
from store.judge_costs import judge_costs
from store.judgment_history import find_pair, find_pair_by_texts
from store.policies import Policy, add_policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import Call, Response, chosen, completion, decision, failing, labelled, serving
from tests.judging import put_pairs
from tests.labelled_store import POLICY, log, pair, review
from tests.test_cli import from_json, run

PRICES = {"m": Price(input=10.0, cached=5.0, output=20.0)}


def test_costs_add_up_by_policy_judge_and_day(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    answers = iter([labelled("helps"), completion("nonsense"), failing(400, "too long")])
    with serving(lambda call: next(answers, labelled("helps"))) as stub:
        settings = JudgeSettings(model="m", base_url=stub.url, concurrency=1)
        judge_candidates(store, policy, settings, PRICES, limit=4)
        judge_candidates(store, policy, settings.model_copy(update={"model": "free"}), {}, limit=2)
    dear, free = sorted(judge_costs(store, policy.name), key=lambda row: str(row["model"]), reverse=True)
    assert (dear["calls"], dear["failed"], dear["unpriced"], dear["stage"]) == (4, 2, 0, 1)
    assert (dear["prompt_tokens"], dear["cached_tokens"]) == (1500, 1200)
    assert (dear["completion_tokens"], dear["reasoning_tokens"]) == (120, 30)
    assert dear["cost_usd"] == pytest.approx(3 * (100 * 10 + 400 * 5 + 40 * 20) / 1e6)
    assert (free["calls"], free["unpriced"], free["cost_usd"]) == (2, 2, 0)
    assert judge_costs(store) == judge_costs(store, policy.name)
    assert judge_costs(store, "other") == []


def test_the_command_line_shows_the_prompt_as_sent_and_what_it_cost(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    with Store(tmp_path / "w" / "uncited.duckdb") as store, serving(lambda call: labelled("helps", quote="x")) as stub:
        policy = put_pairs(store, anchors=1, chunks=2)
        judge_candidates(store, policy, JudgeSettings(model="m", base_url=stub.url), PRICES, limit=1)
        sent = [message["content"] for message in stub.calls[0].body["messages"]]
        judged = str(store.scalar("SELECT pair_id FROM judgments"))
        other = str(store.scalar("SELECT pair_id FROM pairs WHERE pair_id <> ?", [judged]))
    shown = run("judge", "show", judged[:14], cwd=tmp_path / "w").stdout
    for text in sent:
        assert text.strip() in shown
    for said in ("label: helps", "quote: x (not in the chunk)", "reason: because", "answered by stub-1", "500 prompt"):
        assert said in shown
    as_json = from_json("judge", "show", "--query", "query 0", "--chunk", "c1", cwd=tmp_path / "w")
    (prompt,) = as_json["prompts"].values()
    assert [message["content"] for message in prompt["messages"]] == sent
    assert json.loads(as_json["judgments"][0]["raw_answer"])["label"] == "helps"
    assert "0 judgments" in run("judge", "show", other, cwd=tmp_path / "w").stdout
    assert "which pair?" in run("judge", "show", "--query", "query 0", cwd=tmp_path / "w", status=2).stderr
    assert "more than one" in run("judge", "show", "pair_", cwd=tmp_path / "w", status=2).stderr
    (cost,) = from_json("judge", "costs", cwd=tmp_path / "w")
    assert cost["calls"] == 1
    assert "1 calls, $0.0038" in run("judge", "costs", cwd=tmp_path / "w").stdout


def reviewed(store: Store, queries: int = 12) -> Policy:
    """Queries with a firm pair, and a shaky one about which people disagree with the judge."""
    policy, _ = add_policy(store, POLICY)
    for number in range(queries):
        query = f"question {number}?"
        firm, shaky = f"firm text {number}", f"shaky text {number}"
        log(store, query, [firm, shaky], cited=[firm])
        review(store, query, {firm: "yes", shaky: "no" if number % 2 else "yes"})
    return policy


def first_listed(call: Call) -> Response:
    """Firm about firm texts; about shaky ones it says whatever label stands first in the prompt."""
    system = call.body["messages"][0]["content"]
    listed = [line[2:].split(":")[0] for line in system.splitlines() if line.startswith("- ")]
    return labelled("yes" if "firm" in call.texts["candidate"] else listed[0])


def test_asking_with_the_labels_reordered_tells_a_firm_answer_from_a_guess(store: Store) -> None:
    policy = reviewed(store)
    with serving(first_listed) as stub:
        settings = JudgeSettings(model="m", base_url=stub.url, concurrency=4)
        judge_candidates(store, policy, settings, PRICES)
        judgments = len(stub.calls)
        assert ask_again(store, policy, settings, PRICES, asks=4) == 24 * 4
        assert len(stub.calls) == judgments + 24 * 4
        assert ask_again(store, policy, settings, PRICES, asks=4) == 0, "nothing is asked twice"
        assert ask_again(store, policy, settings, PRICES, asks=5) == 24
        again = [call.body for call in stub.calls[judgments:]]
    orders = Counter(
        tuple(body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]) for body in again
    )
    assert len(orders) == 5
    assert ("yes", "no", "spam", "unsure") not in orders, "each order is another than the first"
    assert {body["temperature"] for body in again} == {0}
    done, alone = calibrate_judges(store, policy, rng=np.random.default_rng(0))
    assert (done.confidence, alone.confidence) == ("repeated asks", "the label alone")
    worth = calibrated_relevance(store, policy, done.judge_id)
    assert worth is not None
    assert worth("yes", None) == alone.calibration.recalibration(np.array([1.0]))[0], "others are asked about once"
    rows = judged_and_reviewed(store, policy, done.judge_id)
    assert {row.asks for row in rows} == {5}
    firm = {pair(f"question {n}?", f"firm text {n}") for n in range(12)}
    assert {row.agreeing for row in rows if row.pair_id in firm} == {5}
    assert {row.agreeing for row in rows if row.pair_id not in firm} == {1}, "only one order begins with yes again"
    assert store.count("SELECT count(*) FROM judgments") == 24, "repeated asks are no judgments"
    spent = {str(row["purpose"]): row["cost_usd"] for row in judge_costs(store)}
    assert spent["calibrate"] == pytest.approx(5 * float(str(spent["judge"])))
    with serving(lambda call: labelled("yes")) as strong:
        first = {"model": "m", "base_url": stub.url, "pass_on": {"confidence_below": 0.8}}
        stages = JudgeSettings(stages=(first, {"model": "strong", "base_url": strong.url}))
        unsure = judge_candidates(store, policy, stages, {}).stages[0].passed_on
    assert unsure == (24 if worth("yes", None) < 0.8 else 0)


def test_asking_again_stops_at_an_endpoint_that_is_down_and_goes_on_later(store: Store) -> None:
    policy = reviewed(store, queries=3)
    down = False
    with serving(lambda call: Response(drop=True) if down else labelled("yes")) as stub:
        settings = JudgeSettings(model="m", base_url=stub.url, concurrency=2, timeout_s=2)
        judge_candidates(store, policy, settings, {})
        down = True
        with pytest.raises(ProviderError, match="does not answer"):
            ask_again(store, policy, settings, {}, asks=1)
        down = False
        assert ask_again(store, policy, settings, {}, asks=1) == 6


def test_a_pair_is_found_by_the_beginning_of_its_id_and_by_the_logs_names(store: Store) -> None:
    reviewed(store, queries=2)
    wanted = pair("question 1?", "shaky text 1")
    assert find_pair(store, wanted.removeprefix("pair_")[:10]).pair_id == wanted
    found = find_pair(store, wanted)
    assert (found.anchor, found.chunk) == ("question 1?", "shaky text 1")
    assert find_pair_by_texts(store, "question 1?", found.chunk_id) == found


def test_what_the_decisions_api_was_sent_is_shown_too(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["cited", "one", "two"])
    with serving(lambda call: decision(*[chosen("helps", helps=0.9) for _ in call.questions])) as stub:
        judge_candidates(store, policy, JudgeSettings(kind="decisions", model="m", base_url=stub.url), {})
        (call,) = [call for call in stub.calls if len(call.questions) == 2]
    pair_id = str(store.scalar("SELECT pair_id FROM pairs JOIN chunks USING (chunk_id) WHERE text = 'two'"))
    history = pair_history(store, find_pair(store, pair_id))
    (prompt,) = history.prompts.values()
    assert prompt.messages is not None, prompt.reason
    sent = [part["content"] for part in call.body["input"]] + [call.body["questions"][1]["instructions"]]
    assert [message["content"] for message in prompt.messages] == sent
    assert history.judgments[0]["confidence"] == pytest.approx(1.0)


@pytest.mark.slow
def test_the_command_line_shows_examples_compares_and_calibrates(tmp_path: Path, minilm: str) -> None:
    workspace = tmp_path / "w"
    run("init", "w", cwd=tmp_path)
    (workspace / "uncited.toml").write_text(f"[review]\nsimilarity_model = {json.dumps(minilm)}\n")
    with Store(workspace / "uncited.duckdb") as store:
        reviewed(store, queries=24)
    with serving(lambda call: labelled("yes")) as stub:
        options = ("--policy", POLICY.name, "--model", "m", "--base-url", stub.url)
        assert (
            "no judge was shown examples yet"
            in run("judge", "compare", "--policy", POLICY.name, cwd=workspace, status=4).stderr
        )
        run("judge", *options, cwd=workspace)
        run("judge", *options, "--few-shot", "2", cwd=workspace)
        assert len(stub.calls) == 96
        shown = stub.calls[-1].body["messages"][-1]["content"]
        assert shown.count('Right: {"label"') == 2
    compared = run("judge", "compare", "--policy", POLICY.name, cwd=workspace).stdout
    assert "no claim" in compared
    assert "held-out queries" in compared
    done = run("judge", "calibrate", "--policy", POLICY.name, "--out", "curve.png", cwd=workspace).stdout
    assert "Brier score 0.250" in done, "half of the shaky ones are wrong, and it was sure of all"
    assert (workspace / "curve.png").exists()
