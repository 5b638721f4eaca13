"""Questions that a model writes about chunks, against a real HTTP endpoint."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from labeling.synthesis import BUDGET_SPENT, SynthesisResult, synthesize
from labeling.synthesis_estimate import estimate_synthesis
from mining.round_trip import retriever
from store.database import Store
from store.errors import MissingError, ProviderError, UsageError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, add_interactions
from store.judge_costs import judge_costs
from store.policies import Policy, add_policy
from store.synthetic import Purpose, synthetic_counts, synthetic_purposes
from store.workspace import JudgeSettings, MineSettings, Price, SynthesisSettings
from tests.judge_stub import Call, Response, Stub, completion, failing, labelled, serving
from tests.judging import POLICY

PRICE = Price(input=100.0, output=100.0)


def word(text: str) -> str:
    """A word of its own for a text."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in chunk_id(text)[6:16])


def chunk(number: int) -> str:
    """A chunk with words that no other has."""
    words = [word(f"{number}/{place}") for place in range(12)]
    return f"To {words[0]} it, take {' and '.join(words[1:])} to hand."


def question(text: str, place: int = 0) -> str:
    """A question that retrieval answers with this chunk, in an order of words that is not the chunk's."""
    words = [w for w in text.split() if len(w) == 10]
    return f"why {words[3 * place + 2]} before {words[3 * place]} or {words[3 * place + 1]}?"


def is_writing(call: Call) -> bool:
    return "Write 3 different anchors" in call.body["messages"][0]["content"]


def answer(call: Call) -> Response:
    """Write three good questions; agree with all."""
    text = call.texts["candidate"]
    if is_writing(call):
        return completion(json.dumps({"questions": [question(text, place) for place in range(3)]}))
    return labelled("helps")


def fill(store: Store, chunks: int | Sequence[str] = 30, policy: Policy = POLICY) -> Policy:
    """Store one logged query with these chunks retrieved."""
    texts = [chunk(number) for number in range(chunks)] if isinstance(chunks, int) else chunks
    retrieved = tuple(Retrieved(f"c{n}", n + 1, text, document=f"d{n}") for n, text in enumerate(texts))
    with store.transaction():
        add_interactions(store, [Interaction("what was logged", retrieved, (), 1)], import_id="test")
    return add_policy(store, policy)[0]


def run(
    store: Store,
    policy: Policy,
    stub: Stub,
    purpose: Purpose = "evaluation",
    *,
    budget: float | None = None,
    prices: dict[str, Price] | None = None,
    model: str = "",
    **options: object,
) -> SynthesisResult:
    settings = SynthesisSettings(model="m", base_url=stub.url, concurrency=4)
    return synthesize(
        store,
        policy,
        purpose,
        settings,
        JudgeSettings(),
        prices or {},
        retrieve=retriever(store, policy, dense=MineSettings(model=model) if model else None),
        budget_usd=budget,
        **options,
    )


def accepted(store: Store) -> list[dict[str, object]]:
    return store.rows("SELECT * FROM synthetic_anchors JOIN anchors USING (anchor_id) WHERE accepted ORDER BY text")


def test_accepted_questions_are_candidates_with_their_chunk_and_nothing_more(store: Store) -> None:
    policy = fill(store)
    with serving(answer) as stub:
        result = run(store, policy, stub, count=5)
    assert (result.accepted, result.new, result.stopped) == (5, 5, None)
    rows = accepted(store)
    assert len({row["chunk_id"] for row in rows}) == 5, "for evaluation, one question a chunk"
    candidates = store.rows("FROM candidates ORDER BY pair_id")
    assert {(c["source"], c["proposed"], c["interaction_id"]) for c in candidates} == {("synthetic", "positive", "")}
    assert sorted(str(c["pair_id"]) for c in candidates) == sorted(
        pair_id(str(row["anchor_id"]), str(row["chunk_id"])) for row in rows
    )
    assert store.count("SELECT count(*) FROM reviews") == 0
    judgments = store.rows("FROM judgments")
    assert {j["label"] for j in judgments} == {"helps"}
    assert {str(j["pair_id"]) for j in judgments} == {str(c["pair_id"]) for c in candidates}
    trips = store.rows("FROM round_trips")
    assert {(t["bm25_rank"], t["dense_rank"], t["label"], t["rejected"]) for t in trips} == {(1, None, "helps", None)}


def test_the_same_command_again_asks_nothing_and_a_larger_count_asks_for_the_rest(store: Store) -> None:
    policy = fill(store)
    with serving(answer) as stub:
        run(store, policy, stub, count=5)
        calls = len(stub.calls)
        again = run(store, policy, stub, count=5)
        assert (again.accepted, again.new, len(stub.calls)) == (5, 0, calls)
        more = run(store, policy, stub, count=8)
        assert (more.accepted, more.new) == (8, 3)
        written = [call.texts["candidate"] for call in stub.calls if is_writing(call)]
    assert len(written) == len(set(written))


def test_no_two_purposes_share_a_question_or_a_chunk(store: Store) -> None:
    policy = fill(store)

    def repeating(call: Call) -> Response:
        """One question is the same for all chunks."""
        text = call.texts["candidate"]
        if is_writing(call):
            return completion(json.dumps({"questions": ["how about zebras?", question(text), question(text, 1)]}))
        return labelled("helps")

    with serving(repeating) as stub:
        for purpose in ("evaluation", "few-shot", "training"):
            run(store, policy, stub, purpose, count=6)
    rows = accepted(store)
    assert Counter(row["purpose"] for row in rows) == {"evaluation": 6, "few-shot": 6, "training": 6}
    assert len({row["text"] for row in rows}) == 18
    of_chunk: dict[object, set[object]] = {}
    for row in rows:
        of_chunk.setdefault(row["chunk_id"], set()).add(row["purpose"])
    assert {len(purposes) for purposes in of_chunk.values()} == {1}
    assert store.count("SELECT count(*) FROM synthetic_questions WHERE removed = 'repeats another question'") > 0


def test_what_is_no_good_is_removed_and_the_reason_is_kept(store: Store) -> None:
    texts = [chunk(number) for number in range(8)]
    policy = fill(store, texts)
    copied = " ".join(texts[0].split()[2:14])
    said = {
        texts[0]: [f"{copied}?", "What was logged?", "According to the passage, which tool is it?"],
        texts[1]: [question(texts[1]), question(texts[1]).upper(), "x"],
        texts[2]: ["who paints grey elephants on sundays?", question(texts[2]), question(texts[2], 1)],
    }

    def mixed(call: Call) -> Response:
        text = call.texts["candidate"]
        if is_writing(call):
            return completion(json.dumps({"questions": said.get(text, [question(text)])}))
        return labelled("does-not-help" if text == texts[3] else "helps")

    with serving(mixed) as stub:
        result = run(store, policy, stub, count=8)
    assert result.stopped == "all chunks have been asked about"
    reasons = {str(r["text"]): r["removed"] for r in store.rows("FROM synthetic_questions")}
    assert reasons[f"{copied}?"] == "copies its chunk"
    assert reasons["What was logged?"] == "repeats another question"
    assert reasons["According to the passage, which tool is it?"] == "speaks of the text before it"
    assert reasons[question(texts[1]).upper()] == "repeats another question"
    assert reasons["x"] == "too short"
    rejected = {str(r["text"]): r["rejected"] for r in store.rows("FROM round_trips JOIN anchors USING (anchor_id)")}
    assert rejected["who paints grey elephants on sundays?"] == "not found by retrieval"
    assert rejected[question(texts[3])] == "the judge says does-not-help"
    assert result.accepted == 5
    assert result.not_accepted["one question a chunk is enough"] == 2
    standing = store.rows("SELECT anchor_id FROM candidates JOIN pairs USING (pair_id)")
    assert {row["anchor_id"] for row in standing} == {row["anchor_id"] for row in accepted(store)}
    assert anchor_id(question(texts[3])) in synthetic_purposes(store), "a rejected question was written by a model too"


def test_a_chunk_that_nearly_repeats_another_is_not_asked_about(store: Store) -> None:
    text = chunk(1)
    policy = fill(store, [text, text.upper(), f"{text} {text} Now.", chunk(2)])
    with serving(answer) as stub:
        run(store, policy, stub, count=4)
        run(store, policy, stub, "training", count=4)
    assert store.count("SELECT count(DISTINCT chunk_id) FROM generations") == 2


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (completion("I would rather not."), "malformed"),
        (completion(None, refusal="no"), "refusal"),
        (completion('{"questions": ["a', finish_reason="length"), "length"),
        (completion("", finish_reason="content_filter"), "content_filter"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_and_is_not_asked_for_again(
    store: Store, response: Response, error: str
) -> None:
    policy = fill(store, 3)
    with serving(lambda call: response) as stub:
        result = run(store, policy, stub, count=2)
        assert result.accepted == 0
        assert result.written.failed == {error: 3}
        assert result.stopped
        calls = len(stub.calls)
        run(store, policy, stub, count=2)
        assert len(stub.calls) == calls == 3
    assert {row["error"] for row in store.rows("FROM generations")} == {error}


def test_a_server_that_fails_is_asked_again_by_the_next_run(store: Store) -> None:
    policy = fill(store, 6)
    seen: Counter[str] = Counter()

    def failing_once(call: Call) -> Response:
        text = call.texts["candidate"]
        seen[text] += is_writing(call)
        return failing(500) if is_writing(call) and text == chunk(2) and seen[text] <= 3 else answer(call)

    with serving(failing_once) as stub:
        first = run(store, policy, stub, count=6)
        assert first.accepted == 6, "the next round asks again"
    errors = store.rows("SELECT error, count(*) AS n FROM generations GROUP BY error ORDER BY error")
    assert [(row["error"], row["n"]) for row in errors] == [("server_error", 1), (None, 6)]


def test_a_server_that_is_not_there_is_named(store: Store) -> None:
    policy = fill(store, 6)
    with serving([]) as stub:
        gone = stub.url
    with pytest.raises(ProviderError, match=r"no questions from http://127\.0\.0\.1"):
        run(store, policy, Stub(gone), count=2)


def test_the_answers_form_is_found_out_as_for_the_judge(store: Store) -> None:
    policy = fill(store, 6)

    def plain(call: Call) -> Response:
        if "response_format" in call.body:
            return failing(400, "response_format is not supported", param="response_format")
        text = call.texts["candidate"]
        if is_writing(call):
            listed = "\n".join(f"{n}. {question(text, n)}" for n in range(3))
            return completion(f"Sure, here they are:\n\n{listed}\n\nAnything else?")
        return labelled("helps")

    with serving(plain) as stub:
        assert run(store, policy, stub, count=3).accepted == 3
    (form,) = store.rows("FROM endpoint_forms")
    assert form["answer_form"] == "text"


def test_a_budget_holds_over_writing_and_judging_and_the_next_run_goes_on(store: Store) -> None:
    policy = fill(store)
    with serving(answer) as stub:
        result = run(store, policy, stub, count=20, budget=1.6, prices={"m": PRICE})
        assert result.stopped == BUDGET_SPENT
        assert result.cost_usd is not None
        assert 0.3 < result.cost_usd <= 1.6
        spent = "(SELECT sum(cost_usd) FROM generations) + coalesce((SELECT sum(cost_usd) FROM judgments), 0)"
        assert float(str(store.scalar(f"SELECT {spent}"))) == pytest.approx(result.cost_usd)
        done = run(store, policy, stub, count=20, budget=50.0, prices={"m": PRICE})
        assert done.accepted == 20
        asked = Counter((is_writing(c), c.texts.get("anchor"), c.texts["candidate"]) for c in stub.calls)
    assert set(asked.values()) == {1}


def test_a_budget_without_a_price_is_refused(store: Store) -> None:
    policy = fill(store)
    with pytest.raises(UsageError, match="no price is known for m"):
        run(store, policy, Stub("http://127.0.0.1:9/v1"), budget=1.0)


def test_without_chunks_the_next_command_is_named(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    with pytest.raises(MissingError) as raised:
        run(store, policy, Stub("http://127.0.0.1:9/v1"))
    assert raised.value.hint == "uncited import FILE"


def test_a_model_that_writes_nothing_good_is_not_asked_about_the_whole_corpus(store: Store) -> None:
    policy = fill(store, 90)
    with serving(lambda call: completion('{"questions": ["what?", "what was logged?"]}')) as stub:
        result = run(store, policy, stub, count=1)
    assert 50 <= len(stub.calls) < 70
    assert result.stopped == f"{len(stub.calls)} requests brought too few good questions"


def test_a_judge_that_cannot_be_asked_is_complained_of_before_anything_is_paid_for(store: Store) -> None:
    policy = fill(store, 5)
    with serving([]) as stub, pytest.raises(MissingError, match="no judge to ask"):
        synthesize(
            store,
            policy,
            "evaluation",
            SynthesisSettings(model="m", base_url=stub.url),
            JudgeSettings(model="another"),
            {},
            retrieve=retriever(store, policy),
        )


def test_a_dry_run_sends_nothing_and_its_first_round_is_what_is_then_asked(store: Store) -> None:
    policy = fill(store)
    settings = SynthesisSettings(model="m", base_url="http://127.0.0.1:9/v1")
    write, judge = estimate_synthesis(store, policy, "evaluation", settings, JudgeSettings(), {"m": PRICE}, count=8)
    assert (write.task, judge.task, judge.requests) == ("write", "judge", 8)
    assert write.cost_usd is not None
    with serving(answer) as stub:
        run(store, policy, stub, count=8)
    (row,) = store.rows("SELECT count(*) AS n, sum(prompt_characters)::BIGINT AS characters FROM generations")
    assert write.requests == row["n"]
    assert write.prompt_tokens == pytest.approx(int(str(row["characters"])) / 4, rel=0.01)
    assert estimate_synthesis(store, policy, "evaluation", settings, JudgeSettings(), {}, count=8)[0].requests == 0


def test_policy_persona_difficulty_and_kind_shape_what_is_asked(store: Store) -> None:
    said_of = {
        "code": "is program code",
        "Table": "is a table",
        "tool description": "describes a tool",
        "image_summary": "describes an image",
        "text": None,
        "-": None,
    }
    retrieved = tuple(Retrieved(f"c{n}", n + 1, chunk(n), kind=kind) for n, kind in enumerate(said_of))
    with store.transaction():
        add_interactions(store, [Interaction("what was logged", retrieved, (), 1)], import_id="test")
    policy, _ = add_policy(store, POLICY)
    with serving(answer) as stub:
        run(store, policy, stub, count=6)
        prompts = [c.body["messages"] for c in stub.calls if is_writing(c)]
    system = prompts[0][0]["content"]
    assert all(part in system for part in (policy.question, policy.anchor, policy.candidate, "it says how"))
    users = "\n".join(messages[1]["content"] for messages in prompts)
    by_chunk = {n: u for n in range(6) for u in (m[1]["content"] for m in prompts) if chunk(n) in u}
    found = [re.findall(r"The candidate (is program code|is a \w+|describes an? \w+)", by_chunk[n]) for n in range(6)]
    assert found == [[says] if says else [] for says in said_of.values()]
    rows = store.rows("SELECT persona, difficulty, writer, answered_model FROM generations")
    assert {row["answered_model"] for row in rows} == {"stub-1"}
    assert all(str(row["persona"]) in users for row in rows)
    assert len({(row["persona"], row["difficulty"]) for row in rows}) > 1
    assert json.loads(str(rows[0]["writer"]))["model"] == "m"


def test_chunks_of_kinds_that_the_policy_does_not_cover_are_left_out(store: Store) -> None:
    from dataclasses import replace

    policy = fill(store, 3, replace(POLICY, kinds=("code",)))
    with pytest.raises(MissingError, match="kinds code"):
        run(store, policy, Stub("http://127.0.0.1:9/v1"))


@pytest.mark.slow
def test_a_dense_model_finds_chunks_too_and_its_rank_is_kept(store: Store, minilm: str) -> None:
    texts = [
        "Cats sleep for most of the day and hunt at night.",
        "The stock exchange opens at nine o'clock on weekdays.",
        "Sourdough needs a starter of flour and water that ferments.",
    ]
    policy = fill(store, texts)
    asked = {
        texts[0]: "when is my feline pet awake?",
        texts[1]: "from which hour can shares be traded?",
        texts[2]: "what makes bread rise without yeast from a packet?",
    }

    def writing(call: Call) -> Response:
        said = [asked[call.texts["candidate"]]]
        return completion(json.dumps({"questions": said})) if is_writing(call) else labelled("helps")

    with serving(writing) as stub:
        assert run(store, policy, stub, count=3, model=minilm).accepted == 3
    rows = store.rows("SELECT dense_rank, dense_model FROM round_trips")
    assert {row["dense_rank"] for row in rows} == {1}
    assert all("@" in str(row["dense_model"]) for row in rows)


def test_answers_of_the_judge_that_cannot_be_used_are_counted_and_accept_nothing(store: Store) -> None:
    policy = fill(store, 3)
    with serving(lambda call: answer(call) if is_writing(call) else completion("no idea")) as stub:
        result = run(store, policy, stub, count=2)
    assert result.accepted == 0
    assert result.judge_errors == {"malformed": 3}
    assert result.not_accepted["no usable answer of the judge: malformed"] == 3


def test_what_it_cost_to_write_questions_is_among_the_costs(store: Store) -> None:
    policy = fill(store)
    with serving(answer) as stub:
        result = run(store, policy, stub, count=2, prices={"m": PRICE})
    rows = {row["purpose"]: row for row in judge_costs(store, policy.name)}
    assert (rows["synthesize"]["model"], rows["synthesize"]["calls"]) == ("m", result.written.requests)
    assert rows["synthesize"]["cost_usd"] == pytest.approx(result.written.cost_usd)
    assert sum(float(str(row["cost_usd"])) for row in rows.values()) == pytest.approx(result.cost_usd)
    assert judge_costs(store, "other") == []


def test_counts_tell_what_became_of_everything(store: Store) -> None:
    policy = fill(store)
    with serving(answer) as stub:
        run(store, policy, stub, count=4, prices={"m": PRICE})
    (count,) = synthetic_counts(store)
    assert (count.policy, count.purpose, count.requests, count.written, count.accepted) == (
        policy.name,
        "evaluation",
        5,
        15,
        4,
    )
    assert count.written == count.removed + count.rejected + count.waiting + count.accepted
    assert count.cost_usd == pytest.approx(5 * 540 * 100 / 1e6)


SYNTHESIZE = """
import sys
from pathlib import Path
from labeling.synthesis import synthesize
from mining.round_trip import retriever
from store.database import Store
from store.policies import get_policy
from store.workspace import JudgeSettings, SynthesisSettings
with Store(Path(sys.argv[1])) as store:
    policy = get_policy(store, "helps")
    settings = SynthesisSettings(model="m", base_url=sys.argv[2], concurrency=4)
    done = synthesize(store, policy, "training", settings, JudgeSettings(concurrency=4), {},
                      retrieve=retriever(store, policy), count=60)
print(done.accepted, done.stopped)
"""


def start(database: Path, stub: Stub) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SYNTHESIZE, str(database), stub.url]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it does not get under way"
        time.sleep(0.01)


def slowly(call: Call) -> Response:
    time.sleep(0.03)
    return answer(call)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_like_an_undisturbed_run_and_pays_little_twice(tmp_path: Path) -> None:
    databases = [tmp_path / "undisturbed.duckdb", tmp_path / "killed.duckdb"]
    for database in databases:
        with Store(database) as store:
            fill(store, 40)
    with serving(slowly) as stub:
        out, err = start(databases[0], stub).communicate(timeout=120)
        assert out == "60 None\n", err
        undisturbed = len(stub.calls)
    rng = random.Random(20261121)
    with serving(slowly) as stub:
        allowed = 0
        for _ in range(3):
            before = len(stub.calls)
            process = start(databases[1], stub)
            wait_until(lambda before=before: len(stub.calls) >= before + rng.randint(5, 25))
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGINT]))
            process.communicate(timeout=60)
            killed_at = time.monotonic()
            # In flight, and what arrived within the last second before the kill (and a little for a slow machine).
            allowed += 4 + sum(killed_at - call.arrived_at < 1.3 for call in stub.calls[before:])
        out, err = start(databases[1], stub).communicate(timeout=120)
        assert out == "60 None\n", err
        assert len(stub.calls) - undisturbed <= allowed
    ends = []
    for database in databases:
        with Store(database) as store:
            ends.append([(row["anchor_id"], row["purpose"], row["number"]) for row in accepted(store)])
    assert ends[0] == ends[1]
