import json
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from mining import read_batches
from mining.import_log import import_files
from mining.in_processes import in_processes
from store.database import Store
from store.errors import InvalidDataError, UserError

ROOT = Path(__file__).resolve().parents[1]


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


def test_answers_come_in_the_order_of_the_items_and_nothing_stays_behind() -> None:
    before = _children()
    with in_processes(partial(operator.mul, 3), iter(range(50)), 2) as answers:
        assert len(_children() - before) == 2
        assert list(answers) == [3 * number for number in range(50)]
    assert _children() == before


def test_items_are_taken_as_answers_are_read() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with in_processes(operator.neg, items(), 2) as answers:
        assert next(answers) == 0
        assert len(taken) == 3
    assert len(taken) == 3


def test_what_the_function_raises_is_raised_and_ends_the_processes() -> None:
    before = _children()
    with pytest.raises(ZeroDivisionError), in_processes(partial(operator.truediv, 1), iter([1, 0, 1]), 2) as answers:
        list(answers)
    assert _children() == before


def test_a_process_that_is_killed_is_told_with_what_to_do() -> None:
    before = _children()
    with in_processes(time.sleep, iter([0.0, 0.0, 0.0, 30.0, 30.0, 0.0]), 2) as answers:
        next(answers)
        for pid in _children() - before:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(UserError, match="ended by itself") as error:
            list(answers)
    assert error.value.hint
    assert _children() == before


def test_the_processes_end_with_whoever_started_them() -> None:
    script = """
import operator, psutil, time
from mining.in_processes import in_processes
with in_processes(operator.neg, iter(range(9)), 2) as answers:
    next(answers)
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
    assert not alive


# --------------------------------------------------------------------------------------------------------- the importer


def _log(file: Path, lines: int, *, bad: int | None = None) -> Path:
    with file.open("w", encoding="utf-8") as out:
        for n in range(lines):
            retrieved = [{"chunk_id": f"c{n}-{k}", "rank": k, "text": f"Chunk {n % 40} {k}."} for k in range(1, 6)]
            line = {"query": f"query {n % 50}", "time": "2026-03-01T00:00:00Z", "retrieved": retrieved, "answer": "[2]"}
            cited = {} if n == bad else {"cited": [f"c{n}-2"]}
            out.write(json.dumps({**line, **cited}) + "\n")
    return file


def _content(store: Store) -> dict[str, list[dict[str, object]]]:
    return {
        table: sorted(store.rows(f"FROM {table}"), key=str)
        for table in ("anchors", "chunks", "chunk_names", "interactions", "retrievals", "signals")
    }


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import small files as large ones are."""
    monkeypatch.setattr(read_batches, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(read_batches, "_BATCH_INTERACTIONS", 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_an_import_in_processes_stores_what_one_in_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: None
) -> None:
    log = _log(tmp_path / "log.jsonl", 200, bad=123)
    for citations in (None, "markers"):
        with Store(tmp_path / f"here-{citations}.duckdb") as store, monkeypatch.context() as patch:
            patch.setattr(read_batches, "_WORTH_PROCESSES", 1 << 40)
            here = import_files(store, [log], skip_invalid=True, citations=citations)
            expected = _content(store)
        with Store(tmp_path / f"there-{citations}.duckdb") as store:
            assert import_files(store, [log], skip_invalid=True, citations=citations) == here
            assert _content(store) == expected
        assert here.interactions == (200 if citations else 199)


def test_a_bad_line_that_a_process_finds_is_named_and_nothing_is_imported(
    store: Store, tmp_path: Path, processes: None
) -> None:
    log = _log(tmp_path / "log.jsonl", 100, bad=70)
    with pytest.raises(InvalidDataError, match=r"log\.jsonl:71: cited: missing"):
        import_files(store, [log])
    assert not any(_content(store).values())
