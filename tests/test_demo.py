"""The newcomer's first command, as a newcomer runs it."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from examples.pandas_docs.demo import command_here
from labeling import local_argilla

REPOSITORY = Path(__file__).resolve().parents[1]
CPU_S = 2 * 600  # ten minutes of two cores, after installation; what else the machine does is not counted


def run(*words: object, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", "COLUMNS": "160"}
    command = [sys.executable, "-m", "cli", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_next_commands_can_be_typed_where_the_tool_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / "bin" / "uncited"
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(installed.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_here() == "bin/uncited"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert command_here() == "uncited"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_demo_goes_the_whole_way_and_again_changes_nothing(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = run("demo", "--stop-argilla", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < CPU_S
    assert local_argilla.status(tmp_path / "demo" / "argilla") is None
    for said in ("64 logged questions", "answers submitted", "triplets_train", "of the 352 test labels", "no claim"):
        assert said in first
    assert "reviewed uncited chunks turned out relevant" in first
    status = json.loads(run("status", "--json", "--workspace", "demo", cwd=tmp_path))
    assert {p["policy"]: p["builds"] for p in status["policies"]} == {"answers-the-question": 1, "same-operation": 1}
    page = next((tmp_path / "demo" / "models").glob("answers-*/report.html"))
    assert f"Open it in a browser: {page.as_uri()}" in first
    manifest = (tmp_path / "demo" / "export" / "manifest.json").read_text()

    second = run("demo", "--stop-argilla", cwd=tmp_path)
    assert "0 answers submitted" in second
    assert "was trained before" in second
    assert json.loads(run("status", "--json", "--workspace", "demo", cwd=tmp_path)) == status
    assert (tmp_path / "demo" / "export" / "manifest.json").read_text() == manifest
