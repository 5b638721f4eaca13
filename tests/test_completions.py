"""Asking a model in plain text: each prompt once, a few at a time, within a budget, whatever the server does."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from labeling.completions import BUDGET_SPENT, INTERRUPTED, AskedModel, Spent, asked_model, estimate_work
from labeling.completions import work_with_model as work_with
from store.completions import Ask, Completion, CompletionFile, NoAnswer, Prompt
from store.database import Store
from store.errors import InvalidDataError, MissingError, ProviderError, UsageError
from store.workspace import AnswerSettings, JudgeSettings, Price
from tests.judge_stub import Answer, Call, Response, Stub, completion, failing
from tests.judge_stub import judge_stub as judge_stub

Serving = Callable[[Answer | Sequence[Response]], Stub]
PRICES = {"m": Price(input=100.0, output=100.0)}


def echo(call: Call) -> Response:
    return completion(call.body["messages"][0]["content"].upper())


def asked_at(url: str, prices: dict[str, Price] | None = None, **settings: object) -> AskedModel:
    settings = {"model": "m", "base_url": url, "max_tokens": 64, **settings}
    return asked_model(AnswerSettings(**settings), JudgeSettings(), prices or {}, section="answers")


def asking(*prompts: Prompt | str) -> Callable[[Ask], Awaitable[list[str]]]:
    """Work that asks all at once; a prompt without an answer gives the kind of its failure."""

    async def one(ask: Ask, prompt: Prompt) -> str:
        try:
            return await ask(prompt)
        except NoAnswer as error:
            return f"no answer: {error.kind}"

    async def work(ask: Ask) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(ask, Prompt(p) if isinstance(p, str) else p)) for p in prompts]
        return [task.result() for task in tasks]

    return work


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers" / "replies.jsonl"


def ask_all(
    store: Store, asked: AskedModel, file: Path, *prompts: Prompt | str, budget: float | None = None
) -> tuple[list[str] | None, Spent]:
    with CompletionFile(file) as kept:
        return work_with(store, asked, kept, asking(*prompts), budget_usd=budget)


def test_what_was_said_is_not_asked_again_and_equal_prompts_are_one(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    stub = judge_stub(echo)
    asked = asked_at(stub.url, PRICES)
    said, spent = ask_all(store, asked, file, "a", "b", "a")
    assert said == ["A", "B", "A"]
    assert (spent.requests, spent.reused, len(stub.calls)) == (2, 0, 2)
    assert spent.cost_usd == spent.total_cost_usd == pytest.approx(2 * 540 * 100 / 1e6)
    said, spent = ask_all(store, asked, file, "a", "b", "c")
    assert said == ["A", "B", "C"]
    assert (spent.requests, spent.reused, len(stub.calls)) == (1, 2, 3)
    assert spent.total_cost_usd == pytest.approx(3 * 540 * 100 / 1e6)


def test_a_repeat_and_another_temperature_are_other_prompts(store: Store, judge_stub: Serving, file: Path) -> None:
    stub = judge_stub(echo)
    ask_all(store, asked_at(stub.url), file, "a", Prompt("a", repeat=1), Prompt("a", temperature=0.3))
    assert sorted((call.body["seed"], call.body["temperature"]) for call in stub.calls) == [(1, 0), (1, 0.3), (2, 0)]


def test_a_request_is_plain_text_and_holds_no_schema(store: Store, judge_stub: Serving, file: Path) -> None:
    stub = judge_stub(echo)
    ask_all(store, asked_at(stub.url), file, "a")
    assert stub.calls[0].body.keys() == {"model", "messages", "temperature", "max_tokens", "seed"}


def test_no_more_requests_are_in_flight_than_allowed_and_the_first_goes_alone(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    flying, most = [0], [0]

    def slow(call: Call) -> Response:
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        assert len(stub.calls) > 1 or flying[0] == 1
        time.sleep(0.02)
        flying[0] -= 1
        return echo(call)

    stub = judge_stub(slow)
    ask_all(store, asked_at(stub.url, concurrency=3), file, *map(str, range(12)))
    assert most[0] <= 3
    assert len(stub.calls) == 12


def test_replies_that_cannot_be_used_are_kept_as_such_and_failures_to_reply_are_not(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    broken = True

    def answer(call: Call) -> Response:
        text = call.body["messages"][0]["content"]
        if text == "down" and broken:
            return failing(500)
        return {
            "long": completion("abc", finish_reason="length"),
            "refused": completion(None, refusal="no"),
            "empty": completion("  "),
            "filtered": completion("", finish_reason="content_filter"),
        }.get(text, completion(f"<think>hm</think> {text}"))

    stub = judge_stub(answer)
    prompts = ("fine", "long", "refused", "empty", "filtered", "down")
    said, spent = ask_all(store, asked_at(stub.url), file, *prompts)
    kinds = ("length", "refusal", "malformed", "content_filter")
    assert said == ["fine", *(f"no answer: {kind}" for kind in kinds), "no answer: server_error"]
    assert spent.failed == {"server_error": 1}
    broken, calls = False, len(stub.calls)
    said, spent = ask_all(store, asked_at(stub.url), file, *prompts)
    assert said[-1] == "down"
    assert len(stub.calls) == calls + 1


def test_a_budget_is_never_crossed_and_the_same_run_goes_on(store: Store, judge_stub: Serving, file: Path) -> None:
    def answer(call: Call) -> Response:
        return completion("x", usage={"prompt_tokens": 10, "completion_tokens": 64})

    stub = judge_stub(answer)
    prompts = [f"prompt {i}" for i in range(20)]
    asked = asked_at(stub.url, PRICES)
    said, spent = ask_all(store, asked, file, *prompts, budget=0.15)
    assert said is None
    assert spent.stopped == BUDGET_SPENT
    assert 0 < spent.requests < 20
    assert spent.cost_usd == pytest.approx(74 * 100 / 1e6 * spent.requests)
    assert spent.cost_usd <= 0.15
    said, later = ask_all(store, asked, file, *prompts)
    assert said == ["x"] * 20
    assert later.requests == 20 - spent.requests
    assert len(stub.calls) == 20


def test_a_reply_that_was_paid_for_before_its_price_was_known_is_priced_later(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    stub = judge_stub(echo)
    _, spent = ask_all(store, asked_at(stub.url), file, "a")
    assert spent.cost_usd is spent.total_cost_usd is None
    _, spent = ask_all(store, asked_at(stub.url, PRICES), file, "a")
    assert (spent.cost_usd, spent.total_cost_usd) == (0, pytest.approx(540 * 100 / 1e6))
    assert len(stub.calls) == 1


def test_half_a_surrogate_pair_in_a_reply_can_be_sent_on(store: Store, judge_stub: Serving, file: Path) -> None:
    stub = judge_stub(lambda call: completion("half \ud83d of it"))
    (said,), _ = ask_all(store, asked_at(stub.url), file, "a")
    assert said == "half ? of it"
    assert ask_all(store, asked_at(stub.url), file, said)[0] == [said]


def test_a_budget_needs_a_price(store: Store, judge_stub: Serving, file: Path) -> None:
    with pytest.raises(UsageError, match=r'\[prices\."m"\]'):
        ask_all(store, asked_at(judge_stub(echo).url), file, "a", budget=1.0)


def test_a_wrong_key_a_missing_model_and_a_dead_server_end_the_run_with_a_reason(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    for status, message in ((401, "refused the key"), (404, "no such model"), (402, "no money left")):
        stub = judge_stub(lambda call, status=status: failing(status))
        with pytest.raises(ProviderError, match=message):
            ask_all(store, asked_at(stub.url), file, *"abcdefgh")
        assert len(stub.calls) == 1, "the first request goes alone"
    with pytest.raises(ProviderError, match="no answer from"):
        ask_all(store, asked_at("http://127.0.0.1:9/v1"), file, "a", "b")
    assert not file.exists()


def test_a_server_that_only_fails_is_given_up_with_what_it_said_kept(
    store: Store, judge_stub: Serving, file: Path
) -> None:
    def answer(call: Call) -> Response:
        return echo(call) if call.body["messages"][0]["content"] == "first" else failing(400, "bad")

    stub = judge_stub(answer)
    with pytest.raises(ProviderError, match="bad_request"):
        ask_all(store, asked_at(stub.url), file, "first", *map(str, range(100)))
    assert len(stub.calls) < 60
    assert len(file.read_text().splitlines()) == 1


def test_whom_to_ask_is_the_judge_where_nobody_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = JudgeSettings(model="j", base_url="http://localhost:1/v1")
    assert asked_model(AnswerSettings(), judge, {}, section="answers").model == "j"
    with pytest.raises(UsageError, match=r"\[answers\]"):
        asked_model(AnswerSettings(), JudgeSettings(), {}, section="answers")
    with pytest.raises(MissingError, match="OPENAI_API_KEY"):
        asked_model(AnswerSettings(model="m"), JudgeSettings(), {}, section="answers")
    assert asked_model(AnswerSettings(model="m"), JudgeSettings(), {}, section="answers", estimate=True).model == "m"


def test_an_estimate_counts_what_is_not_known_and_sends_nothing(store: Store, judge_stub: Serving, file: Path) -> None:
    stub = judge_stub(echo)
    asked = asked_at(stub.url, PRICES)
    ask_all(store, asked, file, "known")
    found = estimate_work(
        asked, CompletionFile(file), asking("known", "n" * 400, "n" * 400), stand_in=lambda prompt: "r" * 40
    )
    assert (found.requests, found.known, found.prompt_tokens, found.completion_tokens) == (1, 1, 100, 10)
    assert found.cost_usd == pytest.approx(110 * 100 / 1e6)
    assert len(stub.calls) == 1


# The file

REPLY = Completion("text\nwith lines  ", None, "m", 1, 0, 2, None, "2026-01-01T00:00:00+00:00")


def test_replies_come_back_as_they_were(file: Path) -> None:
    with CompletionFile(file) as kept:
        kept.put("one", REPLY)
    with CompletionFile(file) as kept:
        assert kept.get("one") == REPLY
        assert kept.get("two") is None


@pytest.mark.parametrize("half", [b'{"request_id": "tw', b'{"request_id": "two"}', b"\xff"])
def test_a_line_that_was_not_written_to_its_end_is_replaced(file: Path, half: bytes) -> None:
    with CompletionFile(file) as kept:
        kept.put("one", REPLY)
    with file.open("ab") as stream:
        stream.write(half)
    with CompletionFile(file) as kept:
        kept.put("two", REPLY)
    with CompletionFile(file) as kept:
        assert kept.get("one") == kept.get("two") == REPLY
    assert [json.loads(line)["request_id"] for line in file.read_text().splitlines()] == ["one", "two"]


def test_a_damaged_line_is_named(file: Path) -> None:
    with CompletionFile(file) as kept:
        kept.put("one", REPLY)
        kept.put("two", REPLY)
    lines = file.read_text().splitlines(keepends=True)
    for damaged in ("nonsense\n", "[]\n", '{"request_id": "a", "colour": 1}\n'):
        file.write_text(lines[0] + damaged + lines[1])
        with pytest.raises(InvalidDataError, match=r"replies.jsonl:2 is no reply"):
            CompletionFile(file)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot read .*replies.jsonl: Is a directory"):
        CompletionFile(file)


# Kill it

WORKER = """
import sys
from pathlib import Path
from store.completions import CompletionFile
from store.database import Store
from labeling.completions import work_with_model
from tests.test_completions import asked_at, asking
url, file, database, count = sys.argv[1:]
with Store(Path(database)) as store, CompletionFile(Path(file)) as kept:
    said, spent = work_with_model(store, asked_at(url, concurrency=2), kept, asking(*map(str, range(int(count)))))
    print(spent.stopped, spent.requests, spent.reused, flush=True)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT]
)
def test_a_run_that_is_killed_or_interrupted_pays_for_nothing_twice(
    tmp_path: Path, judge_stub: Serving, file: Path, number: signal.Signals
) -> None:
    """At most what was in flight at a kill is asked again; an interrupted run waits for that."""
    started = time.monotonic()

    def answer(call: Call) -> Response:
        if len(stub.calls) > 10 and not killed:
            while not killed and time.monotonic() < started + 60:
                time.sleep(0.01)
        return echo(call)

    killed: list[int] = []
    stub = judge_stub(answer)
    command = [sys.executable, "-c", WORKER, stub.url, str(file), str(tmp_path / "u.duckdb"), "30"]
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    while len(stub.calls) <= 10 and time.monotonic() < started + 60:
        time.sleep(0.01)
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait()
    killed.append(1)
    out, _ = process.communicate(timeout=30)
    in_flight = 2 if number == signal.SIGKILL else 0
    if number != signal.SIGKILL:
        assert out.startswith(INTERRUPTED), out
    second = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert second.stdout.startswith("None")
    assert 30 <= len(stub.calls) <= 30 + in_flight
