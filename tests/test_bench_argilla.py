"""The benchmark of the local Argilla server runs and tells what it should; the figures of the processor are robust."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_BENCH = Path(__file__).parents[1] / "bench" / "argilla.py"


@pytest.mark.slow
def test_the_benchmark_compares_the_local_server_with_the_stock_one() -> None:
    command = [sys.executable, str(_BENCH), "--records", "1000", "--stock-records", "500", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["local"]["records"], result["stock_figures"]["records"]) == (1000, 500)
    assert result["push_ratio"]["records_each"] == 500
    assert result["push_ratio"]["by_cpu"] > 2.5
    assert {search["search"] for search in result["searches"]} >= {"the queue: pending", "similar", "least similar"}
    assert all(search["found"] and search["cpu_ms"] < 300 for search in result["searches"])
    assert result["goals"]["memory under 1 GB"]
