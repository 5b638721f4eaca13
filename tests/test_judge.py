"""The judge against a real server that misbehaves: what becomes a label, what an error, and what is asked again."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from labeling.chat import ChatModel, Reply, Request
from labeling.chat_stage import Questions
from labeling.endpoint import Endpoint, Failure, wait_s
from labeling.judge import judge_candidates
from labeling.judge_run import StageResult
from labeling.prompts import messages
from store.database import Store
from store.errors import MissingError, ProviderError, UsageError
from store.judge_queue import PairToJudge
from store.judgments import judge_configs
from store.policies import Example, Policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import Call, Response, completion, failing, labelled, serving
from tests.judging import POLICY, put_pairs

KEY = "sk-test-0123456789abcdefghij"


def judge(store: Store, policy: Policy, url: str, **options: object) -> StageResult:
    """Judge with a small concurrency; options of `JudgeSettings` or of `judge_candidates`."""
    settings = JudgeSettings(
        model="m",
        base_url=url,
        concurrency=int(str(options.pop("concurrency", 2))),
        timeout_s=float(str(options.pop("timeout_s", 5.0))),
        max_tokens=int(str(options.pop("max_tokens", 400))),
    )
    prices = options.pop("prices", {})
    return judge_candidates(store, policy, settings, prices, **options).stages[0]


def rows(store: Store) -> list[dict[str, object]]:
    return store.rows("FROM judgments ORDER BY judged_at, judgment_id")


def labels(store: Store) -> dict[str, object]:
    return {str(row["pair_id"]): row["label"] for row in rows(store) if row["label"] is not None}


def by_text(call: Call) -> Response:
    """Label by the number in the candidate, so that two runs can be compared."""
    text = call.texts["candidate"]
    digits = "".join(c for c in text if c.isdigit()) or "0"
    return labelled("helps" if int(digits) % 2 else "does-not-help", quote=text[:9])


def test_every_candidate_gets_the_label_that_the_model_gave(store: Store) -> None:
    policy = put_pairs(store, anchors=3, chunks=4)
    with serving(by_text) as stub:
        result = judge(store, policy, stub.url)
    assert result.labels == {"helps": 6, "does-not-help": 6}
    assert (result.errors, result.quotes_missing, result.remaining, result.interrupted) == ({}, 0, 0, False)
    for row in rows(store):
        assert row["answered_model"] == "stub-1"
        assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (500, 400, 40)
        assert row["reasoning_tokens"] == 10
        assert row["quote_found"] is True
        assert row["reason"] == "because"


def test_the_prompt_shows_the_cited_chunk_except_to_a_cited_chunk_and_hides_the_rank(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["the cited one", "another"])
    with serving(by_text) as stub:
        judge(store, policy, stub.url)
    shown = {call.texts["candidate"]: call.texts for call in stub.calls}
    assert shown["another"] == {"anchor": "query 0", "cited": "the cited one", "candidate": "another"}
    assert "cited" not in shown["the cited one"]
    system = stub.calls[0].body["messages"][0]["content"]
    for words in (policy.question, "helps: it says how", "does-not-help: ", "unsure: ", "Use a tin opener."):
        assert words in system
    assert not any(word in json.dumps(call.body) for call in stub.calls for word in ("rank", "score", "uncited"))


# What comes back for a pair -> (kind of error, number of requests it takes, asked again by the next run).
FAULTS: dict[str, tuple[Sequence[Response], str, bool]] = {
    "three server errors": ([failing(503)] * 3, "server_error", True),
    "three rate limits": ([failing(429)] * 3, "rate_limit", True),
    "a rate limit longer than anybody waits": ([failing(429, retry_after="999")], "rate_limit", True),
    "a dropped connection, three times": ([Response(drop=True)] * 3, "connection", True),
    "no answer in time, three times": ([labelled("helps", delay_s=0.5)] * 3, "timeout", True),
    "a proxy's page": ([Response(body="<html>log in</html>", content_type="text/html")], "bad_response", True),
    "a proxy's page that claims to be JSON": ([Response(body="<html>")], "bad_response", True),
    "an error inside a 200": ([Response(body='{"error": {"message": "overloaded"}}')], "bad_response", True),
    "no choices": ([Response(body='{"choices": []}')], "bad_response", True),
    "a list": ([Response(body="[1, 2]")], "bad_response", True),
    "a bad request": ([failing(400, "the image is too large")], "bad_request", False),
    "a prompt too long": ([failing(400, "maximum context length is 9; max_tokens is 400")], "bad_request", False),
    "a request that a filter refused": ([failing(400, "no", code="content_filter")], "content_filter", False),
    "an answer cut short": ([completion('{"quote": "", "label": "hel', finish_reason="length")], "length", False),
    "a whole answer, but cut short": (
        [completion('{"quote": "", "label": "helps", "reason": "x"}', finish_reason="length")],
        "length",
        False,
    ),
    "a filtered answer": ([completion("", finish_reason="content_filter")], "content_filter", False),
    "a refusal": ([completion(None, refusal="I cannot help with that")], "refusal", False),
    "prose": ([completion("It helps.")], "malformed", False),
    "nothing": ([completion(None)], "malformed", False),
    "broken JSON": ([completion('{"quote": "", "label": "helps", ')], "malformed", False),
    "a label of its own": ([labelled("rather-helps")], "malformed", False),
    "a label in capitals": ([labelled("HELPS")], "malformed", False),
    "a missing key": ([completion('{"label": "helps"}')], "malformed", False),
    "a number for a label": ([completion('{"quote": "", "label": 1, "reason": ""}')], "malformed", False),
    "two answers that differ": (
        [completion('{"quote":"","label":"helps","reason":""} {"quote":"","label":"unsure","reason":""}')],
        "malformed",
        False,
    ),
    "JSON without end": ([completion("[" * 50_000 + "{" * 50_000)], "malformed", False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_and_never_a_label(store: Store, fault: str) -> None:
    responses, kind, transient = FAULTS[fault]
    policy = put_pairs(store, anchors=1, chunks=2)
    timeout_s = 0.2 if kind == "timeout" else 5.0
    with serving([labelled("helps"), *responses, labelled("unsure")]) as stub:
        result = judge(store, policy, stub.url, concurrency=1, timeout_s=timeout_s)
        assert len(stub.calls) == 1 + len(responses)
        assert (result.labels, result.errors) == ({"helps": 1}, {kind: 1})
        assert result.remaining == (1 if transient else 0)
        (error,) = (row for row in rows(store) if row["error"] is not None)
        assert (error["label"], error["error"]) == (None, kind)

        again = judge(store, policy, stub.url, concurrency=1)
        assert again.labels == ({"unsure": 1} if transient else {})
        on_request = judge(store, policy, stub.url, concurrency=1, retry_errors=True)
        assert on_request.labels == ({} if transient else {"unsure": 1})
        assert sorted(map(str, labels(store).values())) == ["helps", "unsure"]
        assert len(rows(store)) == 3  # the error is still there


def test_the_raw_text_of_what_failed_is_kept(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=3)
    with serving([completion("It helps."), completion(None, refusal="I will not"), failing(400, "too dark")]) as stub:
        judge(store, policy, stub.url, concurrency=1)
    assert [row["raw_answer"] for row in rows(store)][:2] == ["It helps.", "I will not"]
    assert "too dark" in str(rows(store)[2]["raw_answer"])
    assert rows(store)[0]["prompt_tokens"] == 500  # it was paid for


def test_half_characters_in_what_comes_back_neither_end_the_run_nor_come_back_with_every_run(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=4)
    cut_off = completion('{"quote": "", "label": "helps", "reason": "\ud83d', finish_reason="length", model="m\ud83d")
    within = completion('{"quote": "\\ud83d", "label": "helps", "reason": "so \\ud83d"}')
    refused = completion(None, refusal="I will not \ud83d")
    with serving([labelled("helps", reason="\ud83d"), cut_off, within, refused]) as stub:
        result = judge(store, policy, stub.url, concurrency=1)
        assert (result.labels, result.errors) == ({"helps": 2}, {"length": 1, "refusal": 1})
        assert judge(store, policy, stub.url).judged == 0
    assert [row["reason"] for row in rows(store)] == ["?", None, "so ?", None]
    assert [row["quote"] for row in rows(store)] == ["", None, "?", None]
    assert (rows(store)[1]["answered_model"], rows(store)[3]["raw_answer"]) == ("m?", "I will not ?")


ODD_ANSWERS = {
    "fenced": '```json\n{"quote": "", "label": "helps", "reason": "x"}\n```',
    "after prose with braces": 'Let {x} be. {"quote": "", "label": "helps", "reason": "x"}',
    "after thinking aloud": '<think>{"quote":"","label":"unsure","reason":""}</think>\n'
    '{"quote": "", "label": "helps", "reason": "x"}',
    "said twice": '{"quote":"","label":"helps","reason":"x"}\n{"quote":"","label":"helps","reason":"x"}',
    "with a key more": '{"quote": "", "label": "helps", "reason": "x", "sure": true}',
}


@pytest.mark.parametrize("content", ODD_ANSWERS.values(), ids=list(ODD_ANSWERS))
def test_an_answer_is_found_in_what_servers_without_structured_output_wrap_around_it(
    store: Store, content: str
) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([completion(content)]) as stub:
        assert judge(store, policy, stub.url).labels == {"helps": 1}


FATAL = {
    "a wrong key": (failing(401, "bad key"), "refused the key"),
    "a forbidden model": (failing(403, "not yours"), "refused the key"),
    "an unpaid account": (failing(402, "pay first"), "no money left"),
    "a spent quota": (failing(429, "spent", code="insufficient_quota", retry_after="60"), "no money left"),
    "an unknown model": (failing(404, "no such model"), "no such model"),
}


@pytest.mark.parametrize("fault", FATAL)
def test_what_no_pair_could_pass_stops_the_run_and_keeps_what_is_done(store: Store, fault: str) -> None:
    response, message = FATAL[fault]
    policy = put_pairs(store, anchors=4, chunks=5)
    with serving([labelled("helps"), labelled("helps"), response]) as stub:
        with pytest.raises(ProviderError, match=message):
            judge(store, policy, stub.url, concurrency=1)
    assert [row["label"] for row in rows(store)] == ["helps", "helps"]


def test_an_endpoint_that_is_not_there_is_named_at_once_and_pairs_stay_askable(store: Store) -> None:
    policy = put_pairs(store, anchors=4, chunks=5)
    with serving([]) as stub:
        pass
    with pytest.raises(ProviderError, match=r"no answer from .*connection"):
        judge(store, policy, stub.url, concurrency=8)
    assert [row["error"] for row in rows(store)] == ["connection"]


def test_an_endpoint_that_breaks_down_is_given_up_and_the_next_run_goes_on(store: Store) -> None:
    policy = put_pairs(store, anchors=10, chunks=5)
    broken = False

    def answer(call: Call) -> Response:
        return failing(500) if broken or len(stub.calls) > 10 else by_text(call)

    with serving(answer) as stub:
        with pytest.raises(ProviderError, match="20 times in a row"):
            judge(store, policy, stub.url)
        done = len(labels(store))
        assert done == 10
        stub.calls.clear()
        result = judge(store, policy, stub.url, limit=10)
        assert result.judged == 10
    assert len(labels(store)) == 20


def test_a_rate_limit_is_waited_for(store: Store) -> None:
    policy = put_pairs(store, anchors=3, chunks=10)
    refused: list[float] = []

    def answer(call: Call) -> Response:
        if len(stub.calls) > 8 and (not refused or call.arrived_at - refused[0] < 0.3):
            refused.append(call.arrived_at)
            return failing(429, "slow down", retry_after="0.6")
        return by_text(call)

    with serving(answer) as stub:
        result = judge(store, policy, stub.url, concurrency=8)
    assert (result.judged, result.errors) == (30, {})
    assert refused
    assert not [call for call in stub.calls if 0.3 < call.arrived_at - refused[0] < 0.55]


def test_the_number_of_requests_at_a_time_halves_for_a_burst_of_refusals_and_recovers_one_by_one(store: Store) -> None:
    async def run(url: str) -> list[int]:
        async with Endpoint(url, None, timeout_s=5, concurrency=16) as endpoint:
            chat = ChatModel(store, endpoint, "m")
            limits = [endpoint.limit]
            for together in (1, 4, *[4] * 10):
                await asyncio.gather(*(chat.ask(REQUEST) for _ in range(together)))
                limits.append(endpoint.limit)
            return limits

    def answer(call: Call) -> Response:
        return failing(429, retry_after="1") if 2 <= len(stub.calls) <= 5 else labelled("helps")

    with serving(answer) as stub:
        limits = asyncio.run(run(stub.url))
    # All of them; half after the burst; one more after thirty-two answers.
    assert limits == [16, 16, *[8] * 7, *[9] * 4]


PAIR = PairToJudge("pair", "a", "c", "text", None, None)
REQUEST = Questions(POLICY, "m", {"temperature": 0, "seed": 1, "max_tokens": 400}).about(PAIR)


def test_structured_output_is_asked_for_in_ever_simpler_forms_and_the_form_remembered(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)

    def answer(call: Call) -> Response:
        form = call.body.get("response_format")
        if form is None:
            return completion('Sure: {"quote": "", "label": "helps", "reason": "x"}')
        if form["type"] == "json_schema" and "maxLength" in json.dumps(form):
            return failing(400, "'maxLength' is not permitted", param="response_format", code="invalid_json_schema")
        return failing(400, f"response_format type {form['type']} is unavailable now")

    with serving(answer) as stub:
        assert judge(store, policy, stub.url, concurrency=4).labels == {"helps": 6}
    forms = [call.body.get("response_format", {}).get("type") for call in stub.calls]
    assert forms == ["json_schema", "json_schema", "json_object", *[None] * 6]
    assert '"enum": ["helps", "does-not-help", "unsure"]' in stub.calls[-1].body["messages"][0]["content"]
    assert '"enum"' not in stub.calls[0].body["messages"][0]["content"]


def test_the_schema_is_strict_and_asks_for_the_quote_first(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([labelled("helps")]) as stub:
        judge(store, policy, stub.url)
    asked = stub.calls[0].body["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert list(asked["schema"]["properties"]) == asked["schema"]["required"] == ["quote", "label", "reason"]
    assert asked["schema"]["properties"]["label"]["enum"] == ["helps", "does-not-help", "unsure"]
    assert asked["schema"]["additionalProperties"] is False


def test_parameters_that_a_server_does_not_know_are_dropped_and_stay_dropped(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)

    def answer(call: Call) -> Response:
        if "max_tokens" in call.body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return failing(400, said, code="unsupported_parameter", param="max_tokens")
        if "temperature" in call.body:
            said = "'temperature' does not support 0 with this model."
            return failing(400, said, code="unsupported_value", param="temperature")
        if "seed" in call.body:  # as pydantic-based servers say it, without a param
            return failing(422, "[{'type': 'extra_forbidden', 'loc': ['body', 'seed']}]")
        return labelled("helps")

    with serving(answer) as stub:
        assert judge(store, policy, stub.url, concurrency=4).labels == {"helps": 6}
    assert len(stub.calls) == 3 + 6
    last = stub.calls[-1].body
    assert last["max_completion_tokens"] == 400
    assert last["response_format"]["type"] == "json_schema"
    assert not {"max_tokens", "temperature", "seed"} & set(last)


def test_one_bad_pair_at_the_start_does_not_spoil_the_form_of_the_others(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=2)

    def answer(call: Call) -> Response:
        first = call.texts["candidate"] == stub.calls[0].texts["candidate"]
        return failing(400, "this JSON offends me") if first else by_text(call)

    with serving(answer) as stub:
        result = judge(store, policy, stub.url, concurrency=1)
    assert result.errors == {"bad_request": 2}
    assert result.judged == 2
    judged = [call for call in stub.calls if call.texts["candidate"] != stub.calls[0].texts["candidate"]]
    assert {call.body["response_format"]["type"] for call in judged} == {"json_schema"}


def test_nothing_is_asked_twice(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=5)
    with serving(by_text) as stub:
        assert judge(store, policy, stub.url, limit=4).remaining == 6
        assert judge(store, policy, stub.url, limit=0).judged == 0
        assert judge(store, policy, stub.url).judged == 6
        assert judge(store, policy, stub.url, retry_errors=True).judged == 0
        assert len(stub.calls) == 10
        assert set(Counter((c.texts["anchor"], c.texts["candidate"]) for c in stub.calls).values()) == {1}


def test_another_model_is_another_judge(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=2)
    with serving(by_text) as stub:
        first = judge(store, policy, stub.url)
        second = judge_candidates(store, policy, JudgeSettings(model="m2", base_url=stub.url), {}).stages[0]
        assert (first.judged, second.judged) == (2, 2)
    assert first.judge_id != second.judge_id


def test_any_prompt_can_be_rendered_again_from_what_the_database_holds(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=["cited", "candidate"])
    with serving(by_text) as stub:
        result = judge(store, policy, stub.url)
    config = json.loads(judge_configs(store)[result.judge_id])
    assert config["model"] == "m"
    sent = next(call for call in stub.calls if call.texts["candidate"] == "candidate").body["messages"]
    again = messages(config["prompt"], policy, anchor="query 0", chunk="candidate", reference="cited")
    assert list(again) == sent
    request = Request("m", again, REQUEST.schema, REQUEST.loose_schema, {})
    assert request.prompt_id in {row["prompt_id"] for row in rows(store)}


def test_costs_count_cached_tokens_at_their_own_price(store: Store) -> None:
    policy = put_pairs(store, anchors=1, chunks=2)
    with serving([labelled("helps"), completion("no", usage={"prompt_tokens": 100, "completion_tokens": 10})]) as stub:
        result = judge(store, policy, stub.url, prices={"m": Price(input=2.0, output=10.0, cached=0.5)})
    # (100 fresh * 2 + 400 cached * 0.5 + 40 * 10) + (100 * 2 + 10 * 10), in millionths of a dollar
    assert result.cost_usd == pytest.approx((200 + 200 + 400 + 200 + 100) / 1e6)
    assert (result.prompt_tokens, result.cached_tokens, result.completion_tokens) == (600, 400, 50)
    assert sum(float(str(row["cost_usd"])) for row in rows(store)) == pytest.approx(result.cost_usd)


def test_a_cost_that_cannot_be_known_is_not_zero(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=1)
    with serving([labelled("helps"), completion("no", usage=None)]) as stub:
        assert judge(store, policy, stub.url, limit=1).cost_usd is None  # no price
        assert judge(store, policy, stub.url, prices={"m": Price(input=1, output=1)}).cost_usd is None  # no tokens


@pytest.mark.parametrize("usage", [None, [], *({"prompt_tokens": odd} for odd in ("many", -1, True, 10**30))])
def test_a_servers_odd_usage_does_not_cost_an_answer(store: Store, usage: object) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([completion('{"quote": "", "label": "helps", "reason": ""}', usage=usage)]) as stub:
        assert judge(store, policy, stub.url).labels == {"helps": 1}
    assert rows(store)[0]["prompt_tokens"] is None


@pytest.mark.parametrize(
    ("quote", "found"),
    [("Turn the  KNOB", True), ("turn the\nknob", True), ("press the knob", False), ("", None), ("  ", None)],
)
def test_a_quote_is_looked_up_in_the_chunk(store: Store, quote: str, found: bool | None) -> None:
    policy = put_pairs(store, anchors=1, chunks=["Now turn the knob."])
    with serving([labelled("helps", quote=quote)]) as stub:
        result = judge(store, policy, stub.url)
    assert rows(store)[0]["quote_found"] is found
    assert result.quotes_missing == (found is False)


def test_the_key_is_sent_and_never_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    policy = put_pairs(store, anchors=1, chunks=6)
    echo = f"I was sent Bearer {KEY}"
    script = [
        labelled("helps", quote=echo, reason=echo),
        completion(echo),
        completion(None, refusal=echo),
        failing(400, echo),
        Response(body=echo, content_type="text/html"),
        failing(401, echo),
    ]
    with serving(script) as stub:
        with pytest.raises(ProviderError) as caught:
            judge(store, policy, stub.url, concurrency=1, record_to=store.path.with_name("recorded.jsonl"))
    assert {call.headers["authorization"] for call in stub.calls} == {f"Bearer {KEY}"}
    shown = f"{caught.value.message} {caught.value.hint} {capfd.readouterr()}"
    assert KEY not in shown
    assert "[key]" in shown
    assert [row["error"] for row in rows(store)] == [None, "malformed", "refusal", "bad_request", "bad_response"]
    store.close()
    for file in store.path.parent.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_without_key_and_endpoint_it_says_what_to_set_and_offers_triage(store: Store) -> None:
    policy = put_pairs(store)
    with pytest.raises(MissingError, match=r"OPENAI_API_KEY.*--base-url") as caught:
        judge_candidates(store, policy, JudgeSettings(model="m"), {})
    assert "uncited triage --policy helps" in str(caught.value.hint)


def test_without_model_it_says_where_to_name_one(store: Store) -> None:
    policy = put_pairs(store)
    with pytest.raises(UsageError, match=r"\[judge\].*--model"):
        judge_candidates(store, policy, JudgeSettings(base_url="http://localhost:1/v1"), {})


@pytest.mark.parametrize("url", ["localhost:8080", "http://me:secret@localhost/v1", "ftp://host/v1"])
def test_a_base_url_that_cannot_work_or_would_be_stored_with_a_password_is_refused(store: Store, url: str) -> None:
    policy = put_pairs(store)
    with pytest.raises(UsageError, match="base URL") as caught:
        judge_candidates(store, policy, JudgeSettings(model="m", base_url=url), {})
    assert "secret" not in str(caught.value)


def test_the_sdks_own_variable_for_the_endpoint_is_obeyed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    with serving([labelled("helps")]) as stub:
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        assert judge_candidates(store, policy, JudgeSettings(model="m"), {}).judged == 1


def test_progress_tells_the_total_and_every_pair(store: Store) -> None:
    class Watch:
        def __init__(self) -> None:
            self.started: list[tuple[str, int | None]] = []
            self.steps = 0

        def start(self, description: str, total: int | None) -> None:
            self.started.append((description, total))

        def advance(self, steps: int = 1, note: str = "") -> None:
            assert "/s" in note
            self.steps += steps

    policy = put_pairs(store, anchors=2, chunks=5)
    watch = Watch()
    with serving(by_text) as stub:
        judge(store, policy, stub.url, limit=7, progress=watch)
    assert watch.started == [("judging with m", 7)]
    assert watch.steps == 7


def test_many_pairs_are_asked_at_a_time_and_no_more_than_allowed(store: Store) -> None:
    policy = put_pairs(store, anchors=4, chunks=10)
    with serving(lambda call: labelled("helps", delay_s=0.05)) as stub:
        judge(store, policy, stub.url, concurrency=10)
    arrivals = [call.arrived_at for call in stub.calls]
    # Ten at a time and 50 ms each: an eleventh never arrives within 45 ms of the first of ten.
    assert all(later - earlier > 0.045 for earlier, later in zip(arrivals[1:], arrivals[11:], strict=False))


def test_a_reply_names_what_came_over_the_wire(store: Store) -> None:
    async def ask(url: str) -> Reply | Failure:
        async with Endpoint(url, None, timeout_s=5, concurrency=1) as endpoint:
            return await ChatModel(store, endpoint, "m").ask(REQUEST)

    with serving([completion("x", finish_reason="stop", model="really-m-2026")]) as stub:
        reply = asyncio.run(ask(stub.url))
    assert isinstance(reply, Reply)
    assert (reply.content, reply.model, reply.finish_reason) == ("x", "really-m-2026", "stop")


def test_only_the_pairs_that_were_named_are_judged(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    everything = [str(row["pair_id"]) for row in store.rows("SELECT pair_id FROM pairs ORDER BY pair_id")]
    with serving(by_text) as stub:
        result = judge(store, policy, stub.url, pairs=everything[:2])
        assert (result.judged, result.remaining) == (2, 0)
        assert judge(store, policy, stub.url, pairs=[]).judged == 0
        assert judge(store, policy, stub.url).judged == 4
    assert set(labels(store)) == set(everything)


class Pool:
    """Two examples for the first query, none for others."""

    example_set_id = "examples_1"

    def nearest(self, anchor: str) -> tuple[Example, ...]:
        if anchor != "query 0":
            return ()
        return (Example("how to shut a door", "Push it.", "helps"), Example("why?", "</x> Because.", "unsure", "thin"))


def test_examples_of_people_are_shown_before_the_anchor_and_make_another_judge(store: Store) -> None:
    policy = put_pairs(store, anchors=2, chunks=["cited", "one", "two"])
    with serving(by_text) as stub:
        without = judge(store, policy, stub.url)
        plain = {call.texts["anchor"] + call.texts["candidate"]: call.body["messages"] for call in stub.calls}
        stub.calls.clear()
        few_shot = judge(store, policy, stub.url, examples=Pool())
        shown = {call.texts["anchor"] + call.texts["candidate"]: call.body["messages"] for call in stub.calls}
    assert without.judge_id != few_shot.judge_id
    assert json.loads(judge_configs(store)[few_shot.judge_id])["examples"]["set"] == "examples_1"
    assert "examples" not in json.loads(judge_configs(store)[without.judge_id])
    assert shown["query 1one"] == plain["query 1one"]  # nothing is near it
    system, user = shown["query 0one"]
    assert system == plain["query 0one"][0]
    before, after = user["content"].split("<anchor-", 1)[0], user["content"][-len(plain["query 0one"][1]["content"]) :]
    assert before.startswith("People have judged")
    assert after == plain["query 0one"][1]["content"]
    assert 'Right: {"label": "unsure", "reason": "thin"}' in user["content"]
    shared = {shown[f"query 0{chunk}"][1]["content"].split("<candidate-")[:3][-1] for chunk in ("one", "two")}
    assert len(shared) == 1  # a prefix that a server may cache


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 1.0), ("2", 2.0), ("0.25", 0.25), ("-5", 0.0), ("soon", 1.0), ("999", 120.0), ("nan", 1.0)],
)
def test_retry_after_is_read_as_seconds_within_reason(header: str | None, seconds: float) -> None:
    assert wait_s(header) == pytest.approx(seconds, abs=0.1)


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert 27 < wait_s(format_datetime(later, usegmt=True)) <= 30
