"""Both controls of the whole way from labels to verdict: what can be learned is, and of chance nothing is claimed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from store.workspace import Workspace, create_workspace
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY
from train.evaluate import evaluate
from train.evaluation import Metric
from train.evaluation_file import evaluation_file, write_evaluation
from train.recipe import Recipe
from train.rows import read_training_split
from train.trainer import train
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "w")


def evaluated(workspace: Workspace, minilm: str) -> tuple[dict[str, Metric], str]:
    """Build, train, evaluate and report; return what the headline says of each metric, and what the report says."""
    with workspace.open() as store:
        built = build(store, POLICY, test_share=0.4).build
        recipe = Recipe(base_model=minilm, batch_size=16, epochs=4, learning_rate=1e-4)
        run = train(read_training_split(store, built), recipe, out=workspace.root / "run").model
        found = evaluate(store, built, {"base": minilm, "tuned": str(run)})
    write_evaluation(evaluation_file(run, built.build_id), found)
    words = ["report", str(run), "--workspace", str(workspace.root), "--json"]
    done = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)
    assert f": {done['headline']}</title>" in Path(done["page"]).read_text(encoding="utf-8")
    return {metric.name: metric for metric in found.labelled.metrics}, done["headline"]


@pytest.mark.slow
def test_a_policy_that_the_base_has_backwards_is_learned(workspace: Workspace, minilm: str) -> None:
    with workspace.open() as store:
        tastes(store)
    found, reported = evaluated(workspace, minilm)
    assert found["Accuracy@1"].values["base"] < 0.1
    assert found["Accuracy@1"].values["tuned"] > 0.9
    for name in ("Accuracy@1", "MRR@10", "nDCG@10"):
        assert found[name].differences["base"].verdict == "gain"
    assert reported.startswith("nDCG@10 rose by 0.")


@pytest.mark.slow
def test_of_shuffled_labels_nothing_is_claimed(workspace: Workspace, minilm: str) -> None:
    with workspace.open() as store:
        tastes(store, shuffled_by=0)
    found, reported = evaluated(workspace, minilm)
    for metric in found.values():
        assert metric.differences["base"].verdict.startswith("no claim"), metric
    assert reported.startswith("No claim: nDCG@10 changed by ")
