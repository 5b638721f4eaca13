"""The judge against a real llama.cpp server. The model is far too small to judge: only shapes are asserted."""

from collections.abc import Iterator

import pytest

from labeling.dry_run import estimate_run
from labeling.endpoint import ANSWERED
from labeling.judge import judge_candidates
from labeling.judge_run import StageResult
from labeling.synthesis import synthesize
from mining.round_trip import retriever
from store.database import Store
from store.endpoint_forms import known_form
from store.workspace import JudgeSettings, SynthesisSettings
from tests.judging import put_pairs
from tests.local_model import local_model

pytestmark = pytest.mark.slow

CHUNKS = ["Turn the knob to the left until it clicks.", "Bread is baked in an oven.", "The knob is on the left side."]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Base URL of the server."""
    with local_model() as (url, _):
        yield url


def judge(store: Store, url: str, **settings: object) -> StageResult:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    given = JudgeSettings.model_validate({"model": "no-such-name", "base_url": url, "timeout_s": 600} | settings)
    return judge_candidates(store, policy, given, {}).stages[0]


def test_a_real_server_answers_in_the_shape_that_is_asked_for(store: Store, server: str) -> None:
    result = judge(store, server, concurrency=2)
    assert result.judged + result.errors.total() == 3
    assert set(result.errors) <= set(ANSWERED)
    assert result.judged > 0, result.errors
    form = known_form(store, server, "no-such-name")
    assert form is not None
    assert (form.answer_form, form.dropped) == ("json_schema", frozenset())
    for row in store.rows("FROM judgments"):
        assert (row["label"] is None) != (row["error"] is None)
        assert row["raw_answer"]
        assert row["answered_model"]  # llama.cpp takes any name and tells its own
        assert row["answered_model"] != "no-such-name"
        assert 100 < int(str(row["prompt_tokens"])) < 2000
        assert 0 < int(str(row["completion_tokens"])) <= 400
        assert row["cached_tokens"] is not None
        assert row["duration_ms"]
        if row["label"]:
            assert row["label"] in ("helps", "does-not-help", "unsure")
            assert 0 < float(str(row["confidence"])) <= 1
    # The second pair of an anchor shares all but its candidate with the first.
    assert store.count("SELECT max(cached_tokens)::BIGINT FROM judgments") > 100


def test_an_answer_that_the_server_cuts_short_is_no_label(store: Store, server: str) -> None:
    result = judge(store, server, max_tokens=16)
    assert result.judged == 0
    assert result.errors == {"length": 3}


def test_a_dry_run_after_it_counts_tokens_as_the_server_does(store: Store, server: str) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS)
    given = JudgeSettings(model="m", base_url=server, timeout_s=600)
    judge_candidates(store, policy, given, {}, limit=1)
    (stage,) = estimate_run(store, policy, given, {})
    judge_candidates(store, policy, given, {})
    taken = store.count(
        "SELECT sum(prompt_tokens)::BIGINT FROM (FROM judgments ORDER BY judged_at DESC LIMIT 2)",
    )
    assert stage.learned
    assert stage.prompt_tokens == pytest.approx(taken, rel=0.1)


def test_a_real_server_writes_questions_in_the_shape_that_is_asked_for(store: Store, server: str) -> None:
    policy = put_pairs(store, anchors=1, chunks=["Turn the knob to the left once a day until it clicks."])
    settings, judge = SynthesisSettings(model="m", base_url=server, timeout_s=600), JudgeSettings(timeout_s=600)
    result = synthesize(store, policy, "evaluation", settings, judge, {}, retrieve=retriever(store, policy), count=1)
    assert result.written.requests == 1
    assert set(result.written.failed) <= set(ANSWERED)
    (row,) = store.rows("FROM generations")
    assert row["answered_model"] != "m"
    assert 100 < int(str(row["prompt_tokens"])) < 2000
    assert 0 < int(str(row["completion_tokens"])) <= 600
    read = store.count("SELECT count(*) FROM synthetic_questions")
    assert 1 <= read <= 3 or row["error"], "the schema asks for three texts; a small model leaves some of them empty"
    form = known_form(store, server, "m")
    assert form is not None
    assert form.answer_form == "json_schema"
