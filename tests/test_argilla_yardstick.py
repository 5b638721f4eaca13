"""Argilla's own unit tests as the yardstick of the local server, and the yardstick itself."""

import subprocess
from pathlib import Path

import pytest

from labeling.local_argilla import environment
from store.errors import ProviderError
from store.progress import silent
from tests import argilla_yardstick
from tests.argilla_yardstick import complaints, expected_failures

_ENGINE = "tests/unit/search_engine/test_commons.py::test_{}"
_ENOUGH = {_ENGINE.format(n): "passed" for n in range(100)} | {f"tests/unit/test_{n}": "passed" for n in range(1400)}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_argillas_own_tests_fail_just_where_expected_without_the_speed_patch_and_with_it() -> None:
    try:
        reports = argilla_yardstick.run()
    except ProviderError as error:
        pytest.fail(str(error), pytrace=False)
    assert {name: report.complaints for name, report in reports.items()} == {
        name: [] for name in argilla_yardstick.RUNS
    }
    without, patched = reports.values()
    passing = {test for test, outcome in without.outcomes.items() if outcome == "passed"}
    assert passing <= {test for test, outcome in patched.outcomes.items() if outcome == "passed"}


def test_what_newly_fails_newly_passes_or_no_longer_runs_is_complained_of() -> None:
    expected = {"tests/a": "a reason", "tests/b[*": "another"}
    fine = _ENOUGH | {"tests/a": "failed", "tests/b[1]": "failed", "tests/b[2]": "skipped"}
    assert complaints(fine, expected) == []
    assert complaints(fine | {"tests/c": "failed"}, expected) == ["newly fails: tests/c"]
    assert complaints(fine | {"tests/a": "passed"}, expected) == ["newly passes: tests/a"]
    assert complaints(fine | {"tests/b[3]": "passed"}, expected) == ["newly passes: tests/b[3]"]
    assert complaints(_ENOUGH, expected) == ["was not run: tests/a", "was not run: tests/b[*"]


def test_a_run_in_which_little_ran_is_complained_of() -> None:
    few = {test: outcome for test, outcome in _ENOUGH.items() if test < _ENGINE.format(2)}
    assert len(few) < 91
    assert [complaint.split(" ")[0] for complaint in complaints(few, {})] == ["only", "only"]
    assert len(complaints({}, {})) == 2


def test_every_expected_failure_has_its_reason() -> None:
    listed = expected_failures(argilla_yardstick.EXPECTED_FAILURES.read_text())
    assert len(listed) > 20
    assert all(test.startswith("tests/unit/") and len(reason) > 10 for test, reason in listed.items())


def test_a_source_that_pip_cannot_fetch_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ProviderError, match=r"(?s)2\.8\.0 could not be fetched\..*No matching distribution"):
        argilla_yardstick.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("version", "applied"), [("2.8.0", True), ("2.8.1", False)])
def test_the_speed_patch_is_for_one_version_and_says_so_where_it_stays_off(
    tmp_path: Path, version: str, applied: bool
) -> None:
    tried = f"""
import argilla_server._version
argilla_server._version.__version__ = {version!r}
from uncited_argilla import background_jobs
background_jobs.replace_redis()
from argilla_server.contexts import records
from argilla_server.models import Question
before = Question.parsed_settings, records.notify_record_event_v1
from uncited_argilla import speed
applied = speed.apply()
assert (before != (Question.parsed_settings, records.notify_record_event_v1)) is applied
print(applied)
"""
    done = subprocess.run(
        [environment.ensure(silent), "-c", tried],
        env={
            "PYTHONPATH": str(environment.SERVER_CODE),
            "ARGILLA_HOME_PATH": str(tmp_path),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "300",  # Argilla's log breaks lines otherwise
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith(f"{applied}\n"), done.stderr
    assert (f"argilla-server is {version}: the speed patch, written for 2.8.0, stays off" in done.stdout) is not applied
