"""What a server takes is found out once, remembered in the store, and forgotten when it takes it no more."""

from pathlib import Path

import pytest

from labeling.judge import judge_candidates
from store.database import Store
from store.endpoint_forms import Form, known_form
from store.errors import ProviderError
from store.workspace import JudgeSettings
from tests.judge_stub import Call, Response, completion, failing, labelled, serving
from tests.judging import put_pairs

REFUSED = ("max_tokens", "temperature", "seed", "logprobs")


def picky(call: Call) -> Response:
    """Knows neither schemas nor old names."""
    for name in REFUSED:
        if name in call.body:
            return failing(400, f"Unsupported parameter: {name}", param=name, code="unsupported_parameter")
    if "response_format" in call.body:
        return failing(400, "response_format is not supported")
    return completion('{"quote": "", "label": "helps", "reason": ""}')


def judge(store: Store, url: str, **options: object) -> int:
    policy = put_pairs(store, anchors=2, chunks=6)
    settings = JudgeSettings(model=str(options.pop("model", "m")), base_url=url, concurrency=4)
    return judge_candidates(store, policy, settings, {}, **options).judged


def test_the_form_is_found_once_and_remembered_between_runs(tmp_path: Path) -> None:
    with serving(picky) as stub:
        with Store(tmp_path / "w.duckdb") as store:
            assert judge(store, stub.url, limit=4) == 4
            probes = len(stub.calls) - 4
            assert probes == len(REFUSED) + 3  # each parameter, and each form but the last
            assert known_form(store, stub.url, "m") == Form("text", frozenset(REFUSED))
        with Store(tmp_path / "w.duckdb") as store:
            before = len(stub.calls)
            assert judge(store, stub.url) == 8
            assert len(stub.calls) - before == 8
            assert judge(store, stub.url, model="other", limit=1) == 1  # another model is asked from the start
            assert len(stub.calls) - before == 8 + probes + 1


def test_a_form_that_works_no_more_is_found_anew(store: Store) -> None:
    def modern(call: Call) -> Response:
        if "max_completion_tokens" in call.body:
            return failing(400, "unknown field max_completion_tokens", param="max_completion_tokens")
        return labelled("helps") if "response_format" in call.body else failing(400, "give a response_format")

    answer = picky
    with serving(lambda call: answer(call)) as stub:
        judge(store, stub.url, limit=2)
        answer = modern
        before = len(stub.calls)
        assert judge(store, stub.url, limit=3) == 3
        assert len(stub.calls) - before == 1 + 3  # one refusal, then as if nothing were known
        assert known_form(store, stub.url, "m") == Form("json_schema")
        assert "temperature" in stub.calls[-1].body
        assert judge(store, stub.url) == 7


def test_nothing_is_remembered_of_a_server_that_never_answered(store: Store) -> None:
    with serving(lambda call: failing(400, "this JSON offends me")) as stub:
        assert judge(store, stub.url, limit=2) == 0
        assert known_form(store, stub.url, "m") is None


def test_a_server_that_refuses_every_request_is_given_up(store: Store) -> None:
    policy = put_pairs(store, anchors=3, chunks=20)
    with serving(lambda call: failing(400, "no")) as stub:
        with pytest.raises(ProviderError, match="20 times in a row"):
            judge_candidates(store, policy, JudgeSettings(model="m", base_url=stub.url, concurrency=1), {})
        assert len(stub.calls) == 20


def test_a_model_that_may_not_give_probabilities_is_asked_without(store: Store) -> None:
    def answer(call: Call) -> Response:
        if "logprobs" in call.body:
            return failing(403, "You are not allowed to request logprobs from this model")
        return labelled("helps")

    with serving(answer) as stub:
        assert judge(store, stub.url) == 12
        assert len(stub.calls) == 13
    assert store.count("SELECT count(confidence) FROM judgments") == 0


def test_probabilities_become_the_confidence_of_the_judgment(store: Store) -> None:
    tokens = [('{"quote": "", "label": "', -0.1), ("helps", -0.5), ('"', 0.0), (', "reason": ""}', -0.1)]
    content = [{"token": text, "logprob": chance, "top_logprobs": []} for text, chance in tokens]
    content[1]["top_logprobs"] = [{"token": "helps", "logprob": -0.5}, {"token": "unsure", "logprob": -1.5}]
    said = completion('{"quote": "", "label": "helps", "reason": ""}', logprobs={"content": content})
    with serving([said]) as stub:
        judge(store, stub.url, limit=1)
        assert stub.calls[0].body["logprobs"] is True
    assert store.scalar("SELECT confidence FROM judgments") == pytest.approx(1 / (1 + 2.718281828**-1))
