"""A judge that is stopped or killed in the middle of a run, and started again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from store.database import Store
from tests.judge_stub import Call, Response, Stub, labelled, serving
from tests.judging import put_pairs

REPOSITORY = Path(__file__).resolve().parents[1]
PAIRS = 120
CONCURRENCY = 4

JUDGE = f"""
import json, sys
from pathlib import Path
from labeling.judge import judge_candidates
from store.database import Store
from store.policies import get_policy
from store.workspace import JudgeSettings
with Store(Path(sys.argv[1])) as store:
    record_to = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    settings = JudgeSettings(model="m", base_url=sys.argv[2], concurrency={CONCURRENCY})
    result = judge_candidates(store, get_policy(store, "helps"), settings, {{}}, record_to=record_to)
print(json.dumps([result.judged, result.remaining, result.interrupted, result.errors]))
"""


def answer(call: Call) -> Response:
    number = int(call.texts["candidate"].split()[-2])
    return labelled(("helps", "does-not-help", "unsure")[number % 3], delay_s=0.05)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "uncited.duckdb"
    with Store(path) as store:
        put_pairs(store, anchors=6, chunks=PAIRS // 6)
    return path


def start(database: Path, stub: Stub, record_to: Path | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", JUDGE, str(database), stub.url, *([str(record_to)] if record_to else [])]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_calls(stub: Stub, calls: int) -> None:
    deadline = time.monotonic() + 60
    while len(stub.calls) < calls:
        assert time.monotonic() < deadline, "the judge does not get under way"
        time.sleep(0.01)


def finish(process: "subprocess.Popen[str]") -> list[object]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told: list[object] = json.loads(out)
    return told


def labels(database: Path) -> list[tuple[object, object]]:
    with Store(database) as store:
        found = store.rows("SELECT pair_id, label FROM judgments WHERE label IS NOT NULL ORDER BY pair_id")
    return [(row["pair_id"], row["label"]) for row in found]


def asked(stub: Stub) -> "Counter[tuple[str, str]]":
    return Counter((call.texts["anchor"], call.texts["candidate"]) for call in stub.calls)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_run_keeps_every_answer_and_the_next_asks_for_the_rest_only(
    database: Path, number: signal.Signals
) -> None:
    with serving(answer) as stub:
        process = start(database, stub)
        wait_for_calls(stub, 30)
        process.send_signal(number)
        judged, remaining, interrupted, errors = finish(process)
        assert (interrupted, errors) == (True, {})
        assert judged == len(stub.calls)  # those in flight were waited for
        assert remaining == PAIRS - len(stub.calls) > 0
        assert finish(start(database, stub)) == [remaining, 0, False, {}]
        assert set(asked(stub).values()) == {1}
    assert len(labels(database)) == PAIRS


def test_a_second_ctrl_c_ends_at_once_and_loses_what_was_in_flight_only(database: Path) -> None:
    def slow(call: Call) -> Response:
        return answer(call) if len(stub.calls) <= 20 else labelled("helps", delay_s=30.0)

    with serving(slow) as stub:
        process = start(database, stub)
        wait_for_calls(stub, 20 + CONCURRENCY)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert time.monotonic() - started < 2.5  # less than the time for which a run waits by itself
        assert process.returncode != 0
    assert len(labels(database)) == 20


def test_a_run_that_is_stopped_does_not_wait_for_a_server_that_hangs(database: Path) -> None:
    with serving(lambda call: labelled("helps", delay_s=30.0)) as stub:
        process = start(database, stub)
        wait_for_calls(stub, 1)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert finish(process) == [0, PAIRS, True, {}]
        assert time.monotonic() - started < 10


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_like_an_undisturbed_run(database: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed.duckdb"
    with Store(undisturbed) as store:
        put_pairs(store, anchors=6, chunks=PAIRS // 6)
    with serving(answer) as stub:
        finish(start(undisturbed, stub))
    rng = random.Random(20261121)
    with serving(answer) as stub:
        allowed = 0
        for _ in range(3):
            before = len(stub.calls)
            process = start(database, stub)
            wait_for_calls(stub, before + rng.randint(5, 35))
            time.sleep(rng.random() * 0.3)
            process.kill()
            process.wait()
            killed_at = time.monotonic()
            # In flight, and what arrived within the last second before the kill (and a little for a slow machine).
            allowed += CONCURRENCY + sum(killed_at - call.arrived_at < 1.3 for call in stub.calls[before:])
        finish(start(database, stub))
        counts = asked(stub)
    assert labels(database) == labels(undisturbed)
    assert len(counts) == PAIRS
    assert sum(counts.values()) - PAIRS <= allowed


def test_a_killed_recording_goes_on_without_asking_again_for_what_it_holds(database: Path, tmp_path: Path) -> None:
    file = tmp_path / "recorded.jsonl"
    with serving(answer) as stub:
        process = start(database, stub, file)
        wait_for_calls(stub, 60)
        process.kill()
        process.wait()
        held = len(file.read_text().splitlines()) - 1
        assert held > 0
        with file.open("a") as out:
            out.write('{"request": "torn')
        calls = len(stub.calls)
        database.unlink()  # the recording alone saves the second bill
        with Store(database) as store:
            put_pairs(store, anchors=6, chunks=PAIRS // 6)
        assert finish(start(database, stub, file)) == [PAIRS, 0, False, {}]
        assert len(stub.calls) - calls == PAIRS - held
    assert len(file.read_text().splitlines()) == PAIRS + 1
