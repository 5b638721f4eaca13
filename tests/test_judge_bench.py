"""The benchmark of the judge runs, and what it says of the judge's own share of the work holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench" / "judge.py"


@pytest.mark.slow
def test_the_judge_adds_little_to_what_the_client_takes_and_holds_no_pairs_in_memory() -> None:
    command = [sys.executable, str(BENCH), "--pairs", "200", "--rounds", "1", "--memory", "20000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["share"] > 0
    assert len(found["judge_pairs_per_s"]) == 1
    # 0.13 to 0.16 ms where this was written; the client alone takes 2 ms.
    assert found["judge_alone_cpu_ms_a_pair"] < 0.6
    memory = found["memory_mib_at_each_tenth"]
    assert len(memory) == 10
    # Their prompts would be 26 MiB, the pairs and judgments as objects several times that.
    assert memory[-1] - memory[1] < 60
