"""A sweep on a Ray cluster of this machine: what comes out is what comes out without one."""

import dataclasses
from pathlib import Path

import pytest

from store.database import Store
from store.errors import MissingError, UserError
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY
from tests.test_experiments import nothing_trains as nothing_trains
from train.held_out import HeldOut, read_held_out
from train.rows import TrainingSplit, read_training_split
from train.sweep import Sweep, sweep
from train.sweep_file import Plan
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def split_and_test(store: Store) -> tuple[TrainingSplit, HeldOut]:
    tastes(store)
    built = build(store, POLICY, test_share=0.4).build
    return read_training_split(store, built), read_held_out(store, built)


def plan(minilm: str, *rates: float) -> Plan:
    return Plan(models=(minilm,), learning_rates=rates, batch_size=16)


def without_times(found: Sweep) -> Sweep:
    return dataclasses.replace(found, tried=tuple(dataclasses.replace(one, seconds=0.0) for one in found.tried))


@pytest.mark.slow
def test_a_sweep_on_ray_finds_what_it_finds_without_and_is_not_run_again(
    minilm: str,
    split_and_test: tuple[TrainingSplit, HeldOut],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    wanted = plan(minilm, 1e-6, 2e-4)
    found = sweep(*split_and_test, wanted, folder=tmp_path / "ray", ray="local")
    assert capsys.readouterr().out == ""
    assert [tried.learning_rate for tried in found.tried] == [2e-4, 1e-6]
    alone = sweep(*split_and_test, wanted, folder=tmp_path / "alone")
    assert without_times(found) == without_times(alone)
    request.getfixturevalue("nothing_trains")
    assert sweep(*split_and_test, wanted, folder=tmp_path / "ray") == found
    assert sweep(*split_and_test, wanted, folder=tmp_path / "ray", ray="no cluster is asked") == found


@pytest.mark.slow
def test_a_model_that_fails_on_ray_is_told_and_the_others_are_kept(
    minilm: str, split_and_test: tuple[TrainingSplit, HeldOut], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"1 of 2 models could not be trained on Ray; .*1e\+30.*loss") as told:
        sweep(*split_and_test, plan(minilm, 1e30, 2e-4), folder=tmp_path, ray="local")
    assert told.value.hint
    assert len(list((tmp_path / "trials").glob("*.json"))) == 1


def test_without_a_cluster_the_next_command_is_named(
    minilm: str, split_and_test: tuple[TrainingSplit, HeldOut], tmp_path: Path
) -> None:
    for address in ("auto", "127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"):
        with pytest.raises(MissingError, match=f"no Ray cluster at '{address}'") as told:
            sweep(*split_and_test, plan(minilm, 2e-4), folder=tmp_path, ray=address)
        assert told.value.hint
        assert "ray start --head" in told.value.hint
