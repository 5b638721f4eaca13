"""A teacher's scores reach the losses that learn from them, and are asked for once."""

import dataclasses
import math
from pathlib import Path

import pytest

from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError, UserError
from store.ids import pair_id
from store.progress import silent
from tests.labelled_store import POLICY, fill, judge_pairs
from tests.training import split_of
from train import teacher, trainer
from train.kinds import load
from train.recipe import LOSSES, Kind, Recipe
from train.rows import read_training_split, rows_for
from train.sweep_file import read_plan
from train.teacher import with_teacher
from train.trials import checked
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = [(f"{animal} {animal[::-1]}?", f"the {animal} answers", f"nothing of {animal}") for animal in ("flea", "newt")]
SPLIT = split_of(PAIRS)
TAUGHT = dataclasses.replace(
    SPLIT,
    scores={(row["anchor_id"], row["chunk_id"]): 2.0 if row["relevance"] else -1.0 for row in SPLIT.labels.to_pylist()},
)
DISTILLING = [(kind, loss) for kind, losses in LOSSES.items() for loss, reads in losses.items() if reads.distills]


def test_rows_hold_the_teachers_scores_on_the_students_scale() -> None:
    def labels(kind: Kind, loss: str = "") -> list[object]:
        return list(
            rows_for(TAUGHT, Recipe(kind=kind, base_model="m", loss=loss, teacher="t").complete()).columns["label"]
        )

    likely = [1 / (1 + math.exp(-2)), 1 / (1 + math.e)]
    assert labels("bi-encoder") == [pytest.approx(likely)] * 2, "cosines differ by two at most"
    assert labels("bi-encoder", "distill-kl") == labels("sparse") == labels("multi-vector") == [[2.0, -1.0]] * 2
    assert sorted(labels("reranker")) == pytest.approx(sorted(likely * 2)), "soft labels"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(loss="margin-mse"), "learns from the scores of a teacher"),
        (Recipe(loss="gist", teacher="judge"), "learns from no teacher"),
        (Recipe(kind="reranker", loss="lambda", teacher="judge"), "learns from no teacher"),
    ],
)
def test_a_teacher_and_a_loss_that_do_not_go_together_are_refused(recipe: Recipe, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.complete()


def test_an_experiment_has_no_teacher_and_says_so(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("seeds: 2\nlosses: [multiple-negatives, margin-mse]\n")
    with pytest.raises(InvalidDataError, match=r":2: losses: 'margin-mse' learns from a teacher, and a sweep has none"):
        read_plan(plan)
    with pytest.raises(UsageError, match="'distill-kl' learns from a teacher, and an experiment has none"):
        checked(Recipe(kind="sparse", loss="distill-kl"), "nDCG@10", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss"), DISTILLING)
def test_every_kind_that_embeds_learns_from_scores(kind: Kind, loss: str, minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(kind=kind, base_model=minilm, loss=loss, batch_size=2, max_steps=2, teacher="judge")
    run = trainer.train(TAUGHT, recipe, out=tmp_path / "model").run
    assert run["steps"] == 2
    assert run["settings"]["teacher"] == "judge"


def test_a_student_comes_near_the_margins_of_its_teacher(minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(base_model=minilm, batch_size=2, max_steps=6, learning_rate=3e-4, teacher="judge")
    losses = [loss for _, loss in trainer.train(TAUGHT, recipe, out=tmp_path / "model").run["losses"]]
    assert losses[-1] < losses[0] / 2


def test_a_reranker_scores_each_pair_once_whoever_asks_again(
    store: Store, minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.manual_seed(0)
    reranker = load("reranker", minilm)
    reranker.save_pretrained(str(tmp_path / "teacher"))
    split = read_training_split(store, build(store, fill(store, 4)).build)

    def full(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as patched:
        patched.setattr(teacher, "load", full)
        with pytest.raises(UserError, match=r"memory ran out while the teacher .* scored pairs") as error:
            with_teacher(store, split, str(tmp_path / "teacher"))
    assert error.value.hint == "--teacher SMALLER_RERANKER, or --teacher judge"
    taught = with_teacher(store, split, str(tmp_path / "teacher"), progress=silent)
    triplet = split.triplets.to_pylist()[0]
    expected = reranker.predict([(triplet["anchor"], triplet["negative"])], activation_fn=torch.nn.Identity())[0]
    assert taught.scores[triplet["anchor_id"], triplet["negative_id"]] == pytest.approx(float(expected), abs=1e-4)
    assert taught.scores.keys() == {(row["anchor_id"], row["chunk_id"]) for row in split.labels.to_pylist()}
    monkeypatch.setattr(teacher, "load", None)
    assert with_teacher(store, split, str(tmp_path / "teacher")).scores == taught.scores
    with pytest.raises(UsageError, match="does not read query and chunk together"):
        with_teacher(store, split, minilm)


def test_the_judge_teaches_by_its_confidence_and_people_overrule_it(store: Store) -> None:
    split = read_training_split(store, build(store, fill(store, 4)).build)
    with pytest.raises(MissingError, match="no judge told its confidence"):
        with_teacher(store, split, "judge")
    good, bad = (next(row for row in split.labels.to_pylist() if row["relevance"] == wanted) for wanted in (1, 0))
    said = {pair_id(row["anchor_id"], row["chunk_id"]): "yes" for row in (good, bad)}
    judge_pairs(store, POLICY, said, {"model": "m", "prompt": "P"}, confidence=0.75)
    scores = with_teacher(store, split, "judge").scores
    assert scores[good["anchor_id"], good["chunk_id"]] == pytest.approx(math.log(3))
    assert scores[bad["anchor_id"], bad["chunk_id"]] == pytest.approx(-math.log(49)), "people said no"
    assert len(scores) == split.labels.num_rows
