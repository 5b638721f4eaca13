"""Both controls of the whole way from labels to verdict: what can be learned is, and of chance nothing is claimed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.database import Store
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY
from train.evaluate import evaluate
from train.evaluation import Metric
from train.recipe import Recipe
from train.rows import read_training_split
from train.trainer import train
from train.triplets import build


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def evaluated(store: Store, minilm: str, out: Path) -> dict[str, Metric]:
    """Build, train and evaluate; return what the headline says of each metric."""
    built = build(store, POLICY, test_share=0.4).build
    recipe = Recipe(base_model=minilm, batch_size=16, epochs=4, learning_rate=1e-4)
    done = train(read_training_split(store, built), recipe, out=out)
    found = evaluate(store, built, {"base": minilm, "tuned": str(done.model)})
    return {metric.name: metric for metric in found.labelled.metrics}


@pytest.mark.slow
def test_a_policy_that_the_base_has_backwards_is_learned(store: Store, minilm: str, tmp_path: Path) -> None:
    tastes(store)
    found = evaluated(store, minilm, tmp_path / "model")
    assert found["Accuracy@1"].values["base"] < 0.1
    assert found["Accuracy@1"].values["tuned"] > 0.9
    for name in ("Accuracy@1", "MRR@10", "nDCG@10"):
        assert found[name].differences["base"].verdict == "gain"


@pytest.mark.slow
def test_of_shuffled_labels_nothing_is_claimed(store: Store, minilm: str, tmp_path: Path) -> None:
    tastes(store, shuffled_by=0)
    for metric in evaluated(store, minilm, tmp_path / "model").values():
        assert metric.differences["base"].verdict.startswith("no claim"), metric
