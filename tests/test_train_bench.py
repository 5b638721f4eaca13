"""The benchmarks of training run both sides and say what each took."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from train.models import computes_in_bfloat16

BENCH = Path(__file__).resolve().parents[1] / "bench" / "train.py"


@pytest.mark.slow
def test_both_sides_train_and_are_measured(minilm: str) -> None:
    command = [sys.executable, str(BENCH), "--rows", "32", "--words", "8", "--rounds", "1", "--model", minilm]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(found["taken"]) == {"uncited", "script"}
    assert all(run["cpu_seconds"] > 0 for runs in found["taken"].values() for run in runs)
    assert {run["steps"] for runs in found["taken"].values() for run in runs} == {2}
    # At this size loading and saving count most; the overhead that is promised is of runs of minutes.
    assert found["overhead"]["cpu_seconds"] < 2
    assert found["overhead"]["outside_steps"] < 2


@pytest.mark.slow
def test_the_same_steps_are_measured_in_both_precisions(minilm: str) -> None:
    command = [sys.executable, str(BENCH), "--precision", "--rows", "32", "--words", "8", "--rounds", "1"]
    found = json.loads(subprocess.run([*command, "--model", minilm], capture_output=True, text=True, check=True).stdout)
    if not computes_in_bfloat16("cpu"):
        assert "no instructions for bfloat16" in found["why_not"]
        return
    (whole,), (less,) = (found["cpu_seconds_of_a_step"][precision] for precision in ("float32", "bfloat16"))
    assert found["steps"] == 2
    assert found["ratio"] == pytest.approx(less / whole)
    assert less > 0
    assert less != whole
