"""Models of every kind, of several seeds and of several policies are evaluated, as trained, on a real build."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from store.builds import Build
from store.database import Store
from store.workspace import create_workspace
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY, fill
from train import trainer
from train.evaluate import compare, evaluate
from train.evaluation_file import evaluation_file, read_evaluation
from train.held_out import read_held_out
from train.kinds import load
from train.line_up import line_up
from train.metrics import METRICS
from train.recipe import LOSSES, Kind, Recipe
from train.rows import read_training_split
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


def built(store: Store) -> Build:
    """Make a build of a few short texts."""
    tastes(store, 8)
    return build(store, POLICY, test_share=0.4).build


def trained(store: Store, made: Build, minilm: str, out: Path, kind: Kind = "bi-encoder", *, seed: int = 0) -> Path:
    recipe = Recipe(kind=kind, base_model=minilm, batch_size=4, max_steps=1, learning_rate=1e-4, seed=seed)
    return trainer.train(read_training_split(store, made), recipe, out=out).model


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind != "bi-encoder"])
def test_a_trained_model_of_every_other_kind_is_evaluated(
    kind: Kind, store: Store, minilm: str, tmp_path: Path
) -> None:
    made = built(store)
    model = trained(store, made, minilm, tmp_path / "model", kind)
    found = evaluate(store, made, line_up(model))
    tuned = found.system("tuned")
    assert (found.subject, tuned.kind) == ("tuned", kind)
    assert tuned.reorders == ("base" if kind == "reranker" else None)
    assert tuned.cost.queries_timed == found.collection.queries > 0
    for ranking in (found.labelled, found.collection):
        for metric in ranking.metrics:
            assert metric.values.keys() == {"base", "BM25", "tuned"}
            assert metric.differences.keys() == {"base", "BM25"}
            assert all(value is not None and 0 <= value <= 1 for value in metric.values.values())
    assert all(one.labelled["tuned"].keys() == {*METRICS, "Judged@10"} for one in found.per_query)


@pytest.mark.slow
def test_other_seeds_and_a_reranker_behind_the_base_are_measured_too(store: Store, minilm: str, tmp_path: Path) -> None:
    made = built(store)
    tuned, other = (trained(store, made, minilm, tmp_path / f"seed-{seed}", seed=seed) for seed in (0, 1))
    load("reranker", minilm).save_pretrained(str(tmp_path / "reranker"))
    systems = line_up(tuned, others=[str(other)], reranker=str(tmp_path / "reranker"))
    found = compare(read_held_out(store, made), systems, runs=[str(other), minilm])
    assert [system.name for system in found.systems] == ["base", "BM25", "seed-1", "base + reranker", "tuned"]
    assert found.system("base + reranker").reorders == "base"
    assert found.labelled.metric("nDCG@10").differences.keys() == {"base", "BM25", "seed-1", "base + reranker"}
    assert found.seeds is not None
    assert [name.partition("@")[0] for name in found.seeds.runs[:2]] == ["seed-0", "seed-1"]
    ndcg = found.labelled.metric("nDCG@10")
    before, of_first, of_second = (ndcg.values[name] for name in ("base", "tuned", "seed-1"))
    assert before is not None
    assert of_first is not None
    assert of_second is not None
    gains = found.seeds.metrics["nDCG@10"].gains
    assert gains == pytest.approx((of_first - before, of_second - before, 0)), "what was not trained has gained nothing"
    assert found.seeds.metrics["nDCG@10"].mean == pytest.approx(sum(gains) / 3)


@pytest.mark.slow
def test_a_joint_model_is_evaluated_under_each_policy_beside_the_one_of_that_policy_alone(
    minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = create_workspace(tmp_path / "w")
    other = dataclasses.replace(POLICY, name="taste", question="Is the passage to the taste of who asks?")
    with workspace.open() as store:
        tastes(store, 8)
        builds = {"answers": build(store, POLICY).build}
        monkeypatch.setattr("tests.labelled_store.POLICY", other)
        builds["taste"] = build(store, fill(store, 6, negatives=1)).build
    monkeypatch.chdir(workspace.root)

    def typed(*words: str) -> tuple[str, list[str]]:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout, re.findall(r"^Next: uncited (evaluate .*)$", done.stderr, re.MULTILINE)

    recipe = ("--base-model", minilm, "--batch-size", "4", "--max-steps", "2", "--validation-share", "0")
    typed("train", "--policy", "taste", *recipe)
    alone = workspace.model_folder("taste", builds["taste"].build_id)
    joint = workspace.joint_model_folder({name: made.build_id for name, made in builds.items()})
    _, commands = typed("train", "--policy", "answers", "--policy", "taste", *recipe)
    assert commands == [
        f"evaluate --policy answers --model models/{joint.name}",
        f"evaluate --policy taste --model models/{joint.name} --with models/{alone.name}",
    ]
    for (policy, made), command, beside in zip(builds.items(), commands, ([], [alone.name]), strict=True):
        said, _ = typed(*shlex.split(command), "--json")
        assert [system["name"] for system in json.loads(said)["systems"]] == ["base", "BM25", *beside, "tuned"]
        found = read_evaluation(evaluation_file(joint, made.build_id))
        assert found is not None
        assert (found.policy, found.build_id) == (policy, made.build_id)
        assert found.labelled.queries > 0
        assert found.labelled.metric("nDCG@10").differences.keys() == {"base", "BM25", *beside}
        assert not any("another build" in warning for warning in found.warnings), "it was trained on both"
