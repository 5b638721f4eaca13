"""The judge by Batch API, against a server that takes files and batches: nothing is lost, nothing is paid for twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling import batch as batches_module
from labeling.batch import BatchJudge, batch_judge, batch_states, submit
from labeling.batch_api import BatchApi
from labeling.batch_results import Collected, collect
from labeling.judge import judge_candidates
from store.batches import submissions
from store.database import Store
from store.errors import InvalidDataError, MissingError, ProviderError, UsageError
from store.judge_costs import judge_costs
from store.policies import Policy, get_policy
from store.workspace import JudgeSettings, Price
from tests.batch_stub import BatchStub, serving_batches
from tests.judge_stub import Call, Response, completion, failing, labelled, serving
from tests.judging import POLICY, put_pairs
from tests.test_cli import from_json, run

PRICES = {"m": Price(input=10.0, cached=5.0, output=20.0)}
WHOLE_PRICE = (100 * 10 + 400 * 5 + 40 * 20) / 1e6  # of an answer of the stub


def by_number(call: Call) -> Response:
    digits = "".join(c for c in call.texts["candidate"] if c.isdigit())
    return labelled("helps" if int(digits) % 2 else "does-not-help")


@pytest.fixture
def stub() -> Iterator[BatchStub]:
    with serving_batches(by_number) as served:
        yield served


@pytest.fixture
def policy(store: Store) -> Policy:
    return put_pairs(store, anchors=3, chunks=4)  # twelve pairs


def settings(url: str) -> JudgeSettings:
    return JudgeSettings(model="m", base_url=url, concurrency=2)


def judge_at(store: Store, policy: Policy, url: str) -> BatchJudge:
    return batch_judge(store, policy, settings(url))


def hand_over(store: Store, policy: Policy, url: str, limit: int | None = None) -> list[str]:
    with BatchApi(url, None, timeout_s=5) as api:
        return [str(state.batch_id) for state in submit(store, judge_at(store, policy, url), api, limit=limit)]


def take(store: Store, url: str, batch_id: str, judge: BatchJudge | None = None) -> Collected:
    with BatchApi(url, None, timeout_s=5) as api:
        return collect(store, api, batch_id, PRICES, judge=judge)


def labels(store: Store) -> dict[str, str]:
    return {str(row["pair_id"]): str(row["label"]) for row in store.rows("FROM judgments WHERE label IS NOT NULL")}


def test_a_batch_brings_the_labels_of_single_requests_at_half_the_price(
    store: Store, policy: Policy, stub: BatchStub, tmp_path: Path
) -> None:
    (batch_id,) = hand_over(store, policy, stub.url)
    assert take(store, stub.url, batch_id).running
    stub.finish(batch_id)
    done = take(store, stub.url, batch_id)
    assert done.labels == {"helps": 6, "does-not-help": 6}
    assert done.cost_usd == pytest.approx(12 * WHOLE_PRICE / 2)
    assert done.released == done.unknown == 0
    (cost,) = judge_costs(store, policy.name)
    assert cost["cost_usd"] == pytest.approx(12 * WHOLE_PRICE / 2)

    with Store(tmp_path / "single.duckdb") as other, serving(by_number) as live:
        put_pairs(other, anchors=3, chunks=4)
        judge_candidates(other, policy, settings(live.url), PRICES)
        assert labels(other) == labels(store)
        sent = {json.dumps(call.body["messages"]) for call in live.calls}
    assert {json.dumps(line["body"]["messages"]) for line in stub.requests(batch_id)} == sent
    assert all(len(line["custom_id"]) <= 64 for line in stub.requests(batch_id))


def test_what_waits_in_a_batch_is_asked_about_by_nobody_else(store: Store, policy: Policy, stub: BatchStub) -> None:
    (batch_id,) = hand_over(store, policy, stub.url, limit=5)
    live = judge_candidates(store, policy, settings(stub.url), {})
    assert live.judged == len(stub.singles) == 7
    assert hand_over(store, policy, stub.url) == []
    stub.finish(batch_id)
    assert take(store, stub.url, batch_id).labels.total() == 5
    assert len(labels(store)) == 12
    assert judge_candidates(store, policy, settings(stub.url), {}).judged == 0
    assert len(stub.singles) == 7


def test_collecting_twice_adds_nothing(store: Store, policy: Policy, stub: BatchStub) -> None:
    (batch_id,) = hand_over(store, policy, stub.url)
    stub.finish(batch_id)
    take(store, stub.url, batch_id)
    store.execute("UPDATE batches SET collected_at = NULL")  # as if it had died just before saying so
    take(store, stub.url, batch_id)
    take(store, stub.url, batch_id)
    assert store.count("SELECT count(*) FROM judgments") == 12


def test_failed_requests_are_errors_and_what_expired_is_asked_again(
    store: Store, policy: Policy, stub: BatchStub
) -> None:
    answers = iter(
        [
            labelled("helps"),
            failing(500, "oops"),
            failing(400, "the prompt is too long"),
            failing(429, "slow down"),
            completion("I would rather not say"),
            completion('{"quote": "", "label": "hel', finish_reason="length"),
        ]
    )
    stub.answer = lambda call: next(answers)
    (batch_id,) = hand_over(store, policy, stub.url)
    stub.finish(batch_id, status="expired", answered=6)
    done = take(store, stub.url, batch_id)
    assert done.status == "expired"
    assert done.labels == {"helps": 1}
    assert done.errors == {
        "server_error": 1, "bad_request": 1, "rate_limit": 1, "malformed": 1, "length": 1, "timeout": 6,
    }  # fmt: skip
    assert done.released == 8, "expired, overloaded and failed ones; the malformed answers were paid for"
    stub.answer = by_number
    assert judge_candidates(store, policy, settings(stub.url), {}).judged == 8


def test_a_batch_that_failed_as_a_whole_gives_its_pairs_back(store: Store, policy: Policy, stub: BatchStub) -> None:
    (batch_id,) = hand_over(store, policy, stub.url)
    stub.batches[batch_id] |= {
        "status": "failed",
        "errors": {"object": "list", "data": [{"code": "invalid", "message": "line 3 is no request"}]},
    }
    done = take(store, stub.url, batch_id)
    assert done.problem == "line 3 is no request"
    assert done.released == 12
    assert len(hand_over(store, policy, stub.url)) == 1


def test_a_lost_answer_does_not_hand_the_pairs_over_twice(store: Store, policy: Policy, stub: BatchStub) -> None:
    stub.lose_answers = True
    with pytest.raises(ProviderError):
        hand_over(store, policy, stub.url)
    stub.lose_answers = False
    assert len(stub.batches) == 1
    assert hand_over(store, policy, stub.url) == [], "the endpoint was asked whether it had taken the batch"
    (state,) = batch_states(store, lambda url: BatchApi(url, None, timeout_s=5))
    assert (state.batch_id, state.requests, state.policy) == ("batch_0", 12, policy.name)
    stub.finish("batch_0")
    assert take(store, stub.url, "batch_0").labels.total() == 12


def test_a_batch_that_never_arrived_gives_its_pairs_back(store: Store, policy: Policy, stub: BatchStub) -> None:
    stub.drop_requests = True
    with pytest.raises(ProviderError):
        hand_over(store, policy, stub.url)
    assert judge_candidates(store, policy, settings(stub.url), {}).judged == 0, "nobody knows yet"
    stub.drop_requests = False
    assert hand_over(store, policy, stub.url) == ["batch_0"]


def test_a_refused_batch_gives_its_pairs_back_at_once(store: Store, policy: Policy, stub: BatchStub) -> None:
    stub.refuse = failing(400, "billing hard limit reached")
    with pytest.raises(UsageError, match="hard limit") as error:
        hand_over(store, policy, stub.url)
    assert "billing" in error.value.message
    assert submissions(store) == []
    assert judge_candidates(store, policy, settings(stub.url), {}).judged == 12


def test_large_batches_are_split(
    store: Store, policy: Policy, stub: BatchStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "MOST_REQUESTS", 5)
    assert [len(stub.requests(made)) for made in hand_over(store, policy, stub.url)] == [5, 5, 2]
    for made in list(stub.batches):
        stub.finish(made)
        take(store, stub.url, made)
    assert len(labels(store)) == 12
    size = len(stub.files["file-0"]) // 5
    monkeypatch.setattr(batches_module, "MOST_BYTES", 3 * size)
    store.execute("DELETE FROM judgments")
    split = hand_over(store, policy, stub.url)
    assert sum(len(stub.requests(made)) for made in split) == 12
    assert all(len(stub.files[stub.batches[made]["input_file_id"]]) <= 3 * size for made in split)


def test_a_server_without_batches_says_so(store: Store, policy: Policy, stub: BatchStub) -> None:
    stub.without_batches = True
    with pytest.raises(UsageError, match="no Batch API") as error:
        hand_over(store, policy, stub.url)
    assert error.value.hint is not None
    assert submissions(store) == []


def test_another_machine_collects_by_the_batchs_id(
    store: Store, policy: Policy, stub: BatchStub, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.duckdb"
    store.close()
    shutil.copy(store.path, elsewhere)
    with Store(store.path) as here:
        (batch_id,) = hand_over(here, policy, stub.url)
    stub.finish(batch_id)
    with Store(elsewhere) as there:
        with pytest.raises(UsageError, match="has not used"):
            take(there, stub.url, batch_id)
        known = get_policy(there, policy.name)
        assert take(there, stub.url, batch_id, judge_at(there, known, stub.url)).labels.total() == 12
        take(there, stub.url, batch_id)
        assert len(labels(there)) == 12
        prompts = {row["prompt_id"] for row in there.rows("FROM judgments")}
    with Store(store.path) as here:
        take(here, stub.url, batch_id)
        assert {row["prompt_id"] for row in here.rows("FROM judgments")} == prompts
    with Store(tmp_path / "foreign.duckdb") as foreign, pytest.raises(MissingError, match="no policy"):
        take(foreign, stub.url, batch_id)


def test_batches_of_others_and_of_other_prompts_are_refused(store: Store, policy: Policy, stub: BatchStub) -> None:
    stub.take({"input_file_id": "file-9", "metadata": {"owner": "somebody"}, "status": "completed"})
    with pytest.raises(UsageError, match="not submitted by uncited"):
        take(store, stub.url, "batch_0")
    with pytest.raises(MissingError, match="knows no batch"):
        take(store, stub.url, "batch_77")
    (batch_id,) = hand_over(store, policy, stub.url)
    stub.finish(batch_id)
    store.execute('UPDATE judges SET config = json_merge_patch(config, \'{"prompt": {"system": "older"}}\')')
    with pytest.raises(InvalidDataError, match="another version of the prompt"):
        take(store, stub.url, batch_id)


def test_nonsense_in_a_result_file_is_counted_and_harms_nothing(store: Store, policy: Policy, stub: BatchStub) -> None:
    (batch_id,) = hand_over(store, policy, stub.url, limit=3)
    stub.finish(batch_id)
    output = stub.batches[batch_id]["output_file_id"]
    unknown = json.dumps({"custom_id": f"{'0' * 32}-", "response": {"status_code": 200, "body": {}}})
    stub.files[output] += f'not json\n{unknown}\n{{"custom_id": 5}}\n[]\n'.encode()
    done = take(store, stub.url, batch_id)
    assert done.labels.total() == 3
    assert done.unknown == 4


def test_half_characters_and_impossible_times_in_a_result_file_cost_no_answer(
    store: Store, policy: Policy, stub: BatchStub
) -> None:
    (batch_id,) = hand_over(store, policy, stub.url, limit=3)
    stub.finish(batch_id)
    output = stub.batches[batch_id]["output_file_id"]
    first, second, third = map(json.loads, stub.files[output].decode().splitlines())
    first["response"]["body"] |= {"created": 10**30, "model": "m\ud83d"}
    second["response"] = {"status_code": 400, "body": {"error": {"message": "no \ud83d"}}}
    stub.files[output] = "\n".join(map(json.dumps, (first, second, third))).encode()
    done = take(store, stub.url, batch_id)
    assert (done.labels.total(), done.errors.total()) == (2, 1)
    kept = store.rows("SELECT raw_answer FROM judgments WHERE error = 'bad_request'")
    assert [row["raw_answer"] for row in kept] == ['{"error": {"message": "no ?"}}']


def test_the_command_line_submits_looks_and_collects(tmp_path: Path, stub: BatchStub) -> None:
    run("init", "w", cwd=tmp_path)
    with Store(tmp_path / "w" / "uncited.duckdb") as store:
        put_pairs(store, anchors=2, chunks=3)
    options = ("--policy", POLICY.name, "--model", "m", "--base-url", stub.url)
    (made,) = from_json("judge", "batch", "submit", *options, cwd=tmp_path / "w")
    assert len(stub.singles) == 1, "one pair at once shows which form the server takes"
    assert made["requests"] == 5
    (state,) = from_json("judge", "batch", "status", cwd=tmp_path / "w")
    assert state["status"] == "validating"
    stub.finish(made["batch_id"])
    done = run("judge", "batch", "collect", cwd=tmp_path / "w")
    assert "5 labels, 0 errors" in done.stdout
    assert "No batch is open" in run("judge", "batch", "collect", cwd=tmp_path / "w").stdout
    assert "No batch is open" in run("judge", "batch", "status", cwd=tmp_path / "w").stdout
