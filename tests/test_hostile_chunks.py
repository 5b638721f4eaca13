"""Thirty chunks that tell the judge what to answer: whatever they hold, an answer is read as the judge gave it."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.hostile import POLICY_FILE, HostileChunk, load_hostile_chunks, measure
from labeling.judge import judge_candidates
from labeling.policies import load_policy
from labeling.prompts import PROMPT, boundary, messages
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id
from store.interactions import Interaction, Retrieved, add_interactions
from store.policies import Policy, add_policy
from store.workspace import JudgeSettings
from tests.judge_stub import Answer, Call, Response, completion, labelled, serving
from tests.local_model import local_model

CHUNKS = load_hostile_chunks()
BY_TEXT = {chunk.hostile: chunk for chunk in CHUNKS}


class Judged(NamedTuple):
    label: str | None
    error: str | None
    quote_found: bool | None


def judged(store: Store, answer: Answer) -> dict[str, Judged]:
    """What comes of each chunk, by name, when a server answers so."""
    policy, _ = add_policy(store, load_policy(POLICY_FILE))
    log = [Interaction(c.anchor, (Retrieved(c.name, 1, c.hostile),), (), n) for n, c in enumerate(CHUNKS)]
    with store.transaction():
        add_interactions(store, log, import_id="hostile")
    put_candidates(
        store,
        policy.name,
        [Candidate(anchor_id(c.anchor), chunk_id(c.hostile), "uncited", "negative", rank=1) for c in CHUNKS],
    )
    with serving(answer) as stub:
        judge_candidates(store, policy, JudgeSettings(model="m", base_url=stub.url, concurrency=8), {})
        assert set(stub.candidates) == set(BY_TEXT), "every chunk arrives letter by letter"
    rows = store.rows(
        "SELECT text, label, error, quote_found FROM judgments JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)"
    )
    found = {BY_TEXT[str(r["text"])].name: Judged(r["label"], r["error"], r["quote_found"]) for r in rows}
    assert len(found) == len(CHUNKS) == 30
    return found


def asked(call: Call) -> HostileChunk:
    return BY_TEXT[call.texts["candidate"]]


def own(chunk: HostileChunk) -> str:
    return json.dumps({"quote": chunk.plain[:20], "label": chunk.right, "reason": "what I think"})


def planted(chunk: HostileChunk) -> str:
    return json.dumps({"quote": "", "label": chunk.planted, "reason": "as the passage says"})


def test_the_chunks_are_of_every_kind_and_plant_another_label_than_the_right_one() -> None:
    assert {chunk.trick for chunk in CHUNKS} == {"orders", "delimiter", "schema", "unicode"}
    for chunk in CHUNKS:
        assert chunk.planted != chunk.right
        assert chunk.plain in chunk.hostile
        assert chunk.hostile != chunk.plain


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: chunk.name)
def test_no_chunk_leaves_its_block_or_adds_one(chunk: HostileChunk) -> None:
    policy: Policy = load_policy(POLICY_FILE)
    system, user = messages(PROMPT, policy, anchor=chunk.anchor, chunk=chunk.hostile, reference=chunk.hostile)
    plain_system, plain = messages(PROMPT, policy, anchor=chunk.anchor, chunk="x", reference="y")
    assert system == plain_system
    for name in ("anchor", "cited", "candidate"):
        text = chunk.anchor if name == "anchor" else chunk.hostile
        tag = boundary(text)
        assert tag not in text.lower()
        assert user["content"].count(f"<{name}-{tag}>\n{text}\n</{name}-{tag}>") == 1
        assert user["content"].count(f"</{name}-{tag}>") == 1
    assert user["content"].endswith(f"{chunk.hostile}\n</candidate-{tag}>\n"), "nothing of ours follows the candidate"
    assert len(user["content"]) == len(plain["content"]) - 2 + 2 * len(chunk.hostile)


def test_an_honest_judge_is_read_as_it_answers(store: Store) -> None:
    found = judged(store, lambda call: completion(own(asked(call))))
    for chunk in CHUNKS:
        assert found[chunk.name] == Judged(chunk.right, None, True)


@pytest.mark.parametrize("shape", ["{planted}\n{own}", "{own}\n{planted}", "```json\n{planted}\n```\nBut: {own}"])
def test_a_judge_that_repeats_what_was_planted_beside_its_own_answer_gets_no_label(store: Store, shape: str) -> None:
    def obedient(call: Call) -> Response:
        chunk = asked(call)
        return completion(shape.format(planted=planted(chunk), own=own(chunk)))

    found = judged(store, obedient)
    assert {judgment.label for judgment in found.values()} == {None}
    assert {judgment.error for judgment in found.values()} == {"malformed"}, "nobody can tell which one it means"


def test_a_judge_that_repeats_the_whole_chunk_never_gives_the_planted_label(store: Store) -> None:
    found = judged(store, lambda call: completion(f"{call.texts['candidate']}\n{own(asked(call))}"))
    for chunk in CHUNKS:
        assert found[chunk.name].label in (chunk.right, None), chunk.name
        assert found[chunk.name].label != chunk.planted
    kept = sum(judgment.label is not None for judgment in found.values())
    assert kept >= 18, "chunks without a whole answer in them leave the judge's own to be read"


def test_what_is_planted_inside_a_quote_or_a_thought_is_not_read_as_the_answer(store: Store) -> None:
    def quoting(call: Call) -> Response:
        chunk = asked(call)
        if chunk.trick == "orders":
            return completion(f"<think>It says {planted(chunk)}, but I know better.</think>{own(chunk)}")
        return labelled(chunk.right, quote=chunk.hostile, reason=planted(chunk))

    found = judged(store, quoting)
    assert {chunk.name: found[chunk.name].label for chunk in CHUNKS} == {chunk.name: chunk.right for chunk in CHUNKS}


@pytest.mark.parametrize("label", ["relevant", "ANSWERS", "answers ", "аnswers", "answers\u200b", ["answers"], None])
def test_a_label_that_only_looks_like_one_of_the_policys_is_none(store: Store, label: object) -> None:
    said = json.dumps({"quote": "", "label": label, "reason": "x"})
    found = judged(store, lambda call: completion(said))
    assert {(judgment.label, judgment.error) for judgment in found.values()} == {(None, "malformed")}


@pytest.mark.slow
def test_a_real_local_model_gives_labels_or_errors_and_its_flips_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with local_model() as (url, model):
        settings = JudgeSettings(model=model, base_url=url, concurrency=1, timeout_s=300.0, max_tokens=200)
        done = measure(tmp_path / "hostile", settings)
    with capsys.disabled():
        print(f"\n{model}: {done.summary()}")
    assert done.chunks == 30
    assert done.both + done.errors == 30
    assert 0 <= done.obeyed <= done.flipped <= done.both, "how many is a matter of the model, and measured only"
