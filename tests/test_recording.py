"""Recorded answers of a judge: the same checks as live ones, and no stale recording goes unnoticed."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.judge import judge_candidates
from labeling.judge_run import StageResult
from labeling.prompts import PROMPT, prompt_fingerprint
from labeling.recording import load_recording
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.policies import Policy
from store.workspace import JudgeSettings, Price
from tests.judge_stub import completion, failing, labelled, serving
from tests.judging import POLICY, put_pairs

SCRIPT = [labelled("helps", quote="turn"), completion("no JSON"), completion(None, refusal="no"), labelled("unsure")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of four of six pairs, whose fifth answer was an error of the server."""
    path = tmp_path / "recorded" / "helps.jsonl"
    with Store(tmp_path / "recorded.duckdb") as store, serving([*SCRIPT, failing(400)]) as stub:
        policy = put_pairs(store, anchors=2, chunks=3)
        settings = JudgeSettings(model="m", base_url=stub.url, concurrency=1)
        result = judge_candidates(store, policy, settings, {}, record_to=path, limit=5)
    assert result.errors == {"malformed": 1, "refusal": 1, "bad_request": 1}
    return path


def replay(store: Store, policy: Policy, file: Path, model: str | None = None) -> StageResult:
    prices = {"m": Price(input=1, output=1)}
    return judge_candidates(store, policy, JudgeSettings(model=model, max_tokens=77), prices, recording=file).stages[0]


def test_a_replay_gives_what_the_live_run_gave_and_leaves_the_rest_unjudged(
    store: Store, file: Path, tmp_path: Path
) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    result = replay(store, policy, file)
    assert result.labels == {"helps": 1, "unsure": 1}
    assert result.errors == {"malformed": 1, "refusal": 1}
    assert (result.not_recorded, result.remaining) == (2, 0)
    assert result.cost_usd is None  # nothing was paid for
    with Store(tmp_path / "recorded.duckdb") as live:
        recorded = live.rows("FROM judgments WHERE error IS DISTINCT FROM 'bad_request' ORDER BY judgment_id")
    assert store.rows("FROM judgments ORDER BY judgment_id") == recorded


def test_replaying_twice_changes_nothing(store: Store, file: Path) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    replay(store, policy, file)
    before = store.rows("FROM judgments ORDER BY judgment_id")
    again = replay(store, policy, file)
    assert (again.judged, again.errors, again.not_recorded) == (0, {}, 2)
    assert store.rows("FROM judgments ORDER BY judgment_id") == before


def test_a_compressed_recording_says_the_same(store: Store, file: Path) -> None:
    packed = file.with_name("helps.jsonl.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert load_recording(packed) == load_recording(file)
    assert replay(store, put_pairs(store, anchors=2, chunks=3), packed).judged == 2


def test_the_header_says_what_was_asked_of_whom(file: Path) -> None:
    header = json.loads(file.read_text().splitlines()[0])
    assert header["model"] == "m"
    assert header["policy"] == "helps"
    assert header["prompt_fingerprint"] == prompt_fingerprint(PROMPT, POLICY)
    assert header["sampling"] == {"temperature": 0, "max_tokens": 400, "seed": 1}
    assert len(header["recorded_on"]) == len("2026-11-21")


@pytest.mark.parametrize("model", [None, "another-one"])
def test_replaying_needs_no_key_or_endpoint_and_judges_as_the_recorded_model(
    store: Store, file: Path, model: str | None
) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    assert replay(store, policy, file, model=model).model == "m"


def test_a_recording_of_another_prompt_or_policy_is_refused(store: Store, file: Path) -> None:
    changed = put_pairs(store, policy=replace(POLICY, question="Is it short?"))
    with pytest.raises(InvalidDataError, match=r"another prompt or policy") as caught:
        replay(store, changed, file)
    assert f"--record {file}" in str(caught.value.hint)


def test_a_change_of_roles_alone_leaves_a_recording_usable(store: Store, file: Path) -> None:
    labels = (replace(POLICY.labels[0], role="excluded"), POLICY.labels[1])
    policy = put_pairs(store, anchors=2, chunks=3, policy=replace(POLICY, labels=labels, title="Another title"))
    assert replay(store, policy, file).judged == 2


@pytest.mark.parametrize("part", ["system", "user", "reference", "block", "label", "example"])
def test_every_text_of_the_prompt_is_in_its_fingerprint(part: str) -> None:
    changed = PROMPT.copy()
    changed[part] += " "
    assert prompt_fingerprint(changed, POLICY) != prompt_fingerprint(PROMPT, POLICY)


def test_a_damaged_line_is_named(store: Store, file: Path) -> None:
    lines = file.read_text().splitlines()
    lines[2] = lines[2].replace('"reply"', '"answer"')
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidDataError, match=rf"{file.name}:3: "):
        replay(store, put_pairs(store), file)


@pytest.mark.parametrize("content", [b"", b"not JSON\n", b"\xff\xfe", b"{}\n"])
def test_what_is_no_recording_is_refused(store: Store, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_bytes(content)
    with pytest.raises(InvalidDataError, match=file.name):
        replay(store, put_pairs(store), file)


def test_a_truncated_archive_is_refused(store: Store, file: Path) -> None:
    packed = file.with_name("cut.jsonl.gz")
    packed.write_bytes(gzip.compress(file.read_bytes())[:-20])
    with pytest.raises(InvalidDataError, match="cannot be read"):
        replay(store, put_pairs(store), packed)


def test_a_missing_recording_is_said_to_be_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no recording"):
        replay(store, put_pairs(store), tmp_path / "none.jsonl")


def test_recording_into_a_recording_of_something_else_is_refused(store: Store, file: Path) -> None:
    policy = put_pairs(store, anchors=2, chunks=3)
    before = file.read_bytes()
    for settings in (
        JudgeSettings(model="other", base_url="http://localhost:9/v1"),
        JudgeSettings(model="m", base_url="http://localhost:9/v1", max_tokens=50),
    ):
        with pytest.raises(UsageError, match="another model, prompt, policy or sampling"):
            judge_candidates(store, policy, settings, {}, record_to=file)
    assert file.read_bytes() == before
    assert store.count("SELECT count(*) FROM judges") == 0


def test_recording_and_replaying_at_once_is_refused(store: Store, file: Path) -> None:
    with pytest.raises(UsageError, match="--recording and --record"):
        judge_candidates(store, put_pairs(store), JudgeSettings(), {}, recording=file, record_to=file)


def test_a_recording_is_written_uncompressed(store: Store, tmp_path: Path) -> None:
    settings = JudgeSettings(model="m", base_url="http://localhost:9/v1")
    with pytest.raises(UsageError, match="uncompressed"):
        judge_candidates(store, put_pairs(store), settings, {}, record_to=tmp_path / "a.jsonl.gz")


def test_texts_with_unusual_line_ends_survive_a_recording(store: Store, tmp_path: Path) -> None:
    odd = "one\u2028two\x85three\x0cfour"
    policy = put_pairs(store, anchors=1, chunks=[odd])
    with serving([labelled("helps", quote=odd, reason=odd)]) as stub:
        settings = JudgeSettings(model="m", base_url=stub.url)
        judge_candidates(store, policy, settings, {}, record_to=tmp_path / "a.jsonl")
    with Store(tmp_path / "again.duckdb") as again:
        put_pairs(again, anchors=1, chunks=[odd])
        assert replay(again, policy, tmp_path / "a.jsonl").judged == 1
        assert again.scalar("SELECT quote FROM judgments") == odd
