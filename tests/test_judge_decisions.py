"""The Decisions API as a stage: many questions a request, probabilities, and a refusal for each of them."""

import pytest

from labeling.judge import judge_candidates
from labeling.judge_run import StageResult
from store.database import Store
from store.errors import ProviderError
from store.policies import Policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import REFUSED, Call, Response, chosen, decision, failing, labelled, serving
from tests.judging import put_pairs


def decide(store: Store, policy: Policy, url: str, **options: object) -> StageResult:
    settings = JudgeSettings(kind="decisions", model="gpt-6-luna", base_url=url, concurrency=4)
    prices = {"gpt-6-luna": Price(input=0.1, output=0.4, cached=0.01)}
    return judge_candidates(store, policy, settings, prices, **options).stages[0]


def rows(store: Store) -> dict[str, dict[str, object]]:
    found = store.rows("FROM judgments JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id) ORDER BY judged_at")
    return {str(row["text"]): row for row in found}


def test_the_candidates_of_an_anchor_are_questions_of_one_request(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=["the cited one", "one", "two", "three"])
    with serving(lambda call: decision(*[chosen("helps", helps=0.9) for _ in call.questions])) as stub:
        result = decide(store, policy, stub.url)
    assert result.labels == {"helps": 8}
    # The cited chunk goes without a reference, so it is a request of its own.
    asked = [[question["candidate"] for question in call.questions] for call in stub.calls]
    assert sorted(map(sorted, asked)) == [["one", "three", "two"]] * 2 + [["the cited one"]] * 2
    (call, *_) = [call for call in stub.calls if len(call.questions) > 1]
    assert set(call.body) == {"model", "input", "questions"}
    developer, user = call.body["input"]
    assert (developer["role"], user["role"]) == ("developer", "user")
    assert policy.question in developer["content"]
    assert "JSON" not in developer["content"]
    assert call.questions[0]["cited"] == "the cited one"
    choices = call.body["questions"][0]["choices"]
    assert [choice["value"] for choice in choices] == ["helps", "does-not-help", "unsure"]
    assert choices[0]["description"] == "it says how"
    assert {question["type"] for question in call.body["questions"]} == {"choice"}


def test_labels_come_with_their_probability_and_a_part_of_the_tokens(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["cited", "one", "two", "three"])

    def answer(call: Call) -> Response:
        if len(call.questions) == 1:
            return decision(chosen("helps", helps=0.6, does_not_help=0.2))
        return decision(chosen("helps", helps=0.7, does_not_help=0.2, unsure=0.1), REFUSED, chosen("no-such-label"))

    with serving(answer) as stub:
        result = decide(store, policy, stub.url)
    said = rows(store)
    assert (said["one"]["label"], said["one"]["confidence"]) == ("helps", pytest.approx(0.7))
    assert said["cited"]["confidence"] == pytest.approx(0.75)  # a share of what the choices got together
    assert (said["two"]["error"], said["three"]["error"]) == ("refusal", "malformed")
    assert said["one"]["answered_model"] == "gpt-6-luna-2026"
    parts = [said[text]["prompt_tokens"] for text in ("one", "two", "three")]
    assert parts == [301, 300, 300]
    assert [said[text]["cached_tokens"] for text in ("one", "two", "three")] == [100, 100, 100]
    # Two requests of 901 tokens, 300 of them cached, and 10 of answer.
    assert result.cost_usd == pytest.approx(2 * (601 * 0.1 + 300 * 0.01 + 10 * 0.4) / 1e6)
    assert result.errors == {"refusal": 1, "malformed": 1}


def test_no_more_than_400_questions_go_into_a_request(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["cited", *(f"chunk {n}" for n in range(450))])
    with serving(lambda call: decision(*[chosen("helps") for _ in call.questions])) as stub:
        assert decide(store, policy, stub.url).judged == 451
    assert sorted(len(call.questions) for call in stub.calls) == [1, 50, 400]


def test_one_candidate_that_the_server_refuses_costs_the_others_nothing(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["cited", "one", "two", "bad", "three", "four"])

    def answer(call: Call) -> Response:
        if any(question["candidate"] == "bad" for question in call.questions):
            return failing(400, "flagged", code="content_filter")
        return decision(*[chosen("helps") for _ in call.questions])

    with serving(answer) as stub:
        result = decide(store, policy, stub.url)
    assert (result.judged, result.errors) == (5, {"content_filter": 1})
    assert rows(store)["bad"]["error"] == "content_filter"


@pytest.mark.parametrize(
    "response",
    [
        decision(chosen("helps")),
        Response(body="<html>"),
        Response(body='{"answers": [1, 2]}'),
        Response(body='{"answers": null}'),
        labelled("helps"),
    ],
    ids=["an answer too few", "a proxy's page", "numbers", "nothing", "a chat completion"],
)
def test_a_reply_that_is_no_decision_is_no_label(store: Store, response: Response) -> None:
    policy = put_pairs(store, anchors=2, chunks=["cited", "one", "two"])

    def answer(call: Call) -> Response:
        if len(stub.calls) > 1 and len(call.questions) == 2:
            return response
        return decision(*[chosen("does-not-help") for _ in call.questions])

    with serving(answer) as stub:
        result = decide(store, policy, stub.url)
    assert (result.labels, result.errors) == ({"does-not-help": 4}, {"bad_response": 2})
    assert result.remaining == 2


@pytest.mark.parametrize("usage", [None, {"input_tokens": "many"}])
def test_without_usage_there_is_no_cost(store: Store, usage: object) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([decision(chosen("helps"), usage=usage)]) as stub:
        assert decide(store, policy, stub.url).cost_usd is None


def test_half_characters_in_a_decision_are_kept_as_question_marks(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([decision(chosen("helps") | {"name": "\ud83d"})]) as stub:
        assert decide(store, policy, stub.url).labels == {"helps": 1}
    (row,) = store.rows("SELECT raw_answer FROM judgments")
    assert '"name": "?"' in str(row["raw_answer"])


def test_a_server_without_this_api_is_named_and_nothing_is_recorded(store: Store) -> None:
    policy = put_pairs(store)
    with serving(lambda call: failing(404, "no route")) as stub:
        with pytest.raises(ProviderError, match="no such model, or is no"):
            decide(store, policy, stub.url)
    assert store.count("SELECT count(*) FROM judgments") == 0


def test_a_second_run_asks_nothing(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    with serving(lambda call: decision(*[chosen("helps") for _ in call.questions])) as stub:
        decide(store, policy, stub.url)
        calls = len(stub.calls)
        assert decide(store, policy, stub.url).judged == 0
        assert len(stub.calls) == calls
