"""Several processes train one model: one reads, writes and speaks, and none gets in another's way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from store.database import Store
from store.errors import UsageError
from tests.labelled_store import fill
from tests.test_cli import REPOSITORY, run
from train.processes import from_first, is_first, processes
from train.triplets import build


def test_a_process_alone_makes_what_it_needs_itself() -> None:
    def refuse() -> None:
        raise UsageError("no")

    assert (processes(), is_first(), from_first(lambda: 3)) == (1, True, 3)
    with pytest.raises(UsageError):
        from_first(refuse)


@pytest.mark.slow
def test_two_processes_train_one_model_and_one_of_them_speaks(minilm: str, tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    workspace = tmp_path / "w"
    with Store(workspace / "uncited.duckdb") as store:
        build(store, fill(store, 40), test_share=0.1)

    def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cli"]
        options = ("--policy", "answers", "--base-model", minilm, "--batch-size", "4", "--max-steps", "3")
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [*start, "train", *options, *map(str, words)]
        return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=400)

    done = torchrun("--validation-share", 0.2, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["is_new"], told["run"]["steps"], told["run"]["settings"]["processes"]) == (True, 3, 2)
    assert told["run"]["validation"]["queries"] >= 5
    assert not list((workspace / "models").glob(".*"))
    again = torchrun("--validation-share", 0.2)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("was trained before") == 1
    wrong = torchrun("--build", "nope")
    assert wrong.returncode != 0
    assert wrong.stderr.count("no build with an id that begins") >= 1
