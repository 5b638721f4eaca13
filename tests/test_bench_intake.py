"""The benchmark of import and mining, at a scale that proves only that it still runs, and what its log is like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow  # eight processes that import DuckDB or pandas
def test_the_benchmark_runs_both_sides_over_the_same_log() -> None:
    command = [sys.executable, "bench/intake.py", "--interactions", "30", "--json"]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["interactions"] == 30
    assert 15_000 < found["bytes"] / 30 < 30_000
    assert found["product"].keys() == {"import", "mine", "mine again"}
    assert found["pandas"].keys() == {"import", "mine"}
    for costs in (found["product"], found["pandas"]):
        assert all(cost["seconds"] > 0 and cost["processor_seconds"] > 0 for cost in costs.values())
        assert all(cost["memory_mib"] > 20 for cost in costs.values())
