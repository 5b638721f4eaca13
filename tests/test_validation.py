"""Queries that are held back choose the weights that are kept, and are never trained on."""

from pathlib import Path

import pytest

from store.errors import UsageError
from tests.training import split_of
from train import trainer
from train.recipe import Recipe
from train.runs import validation_score
from train.validation import hold_back

pytestmark = pytest.mark.usefixtures("one_thread")

# Each query is answered by what has none of its words; its negative repeats them. MiniLM has this the wrong way round.
WIDE = split_of([(f"{n}{n}{n} what?", f"reply {n}", f"{n}{n}{n} nothing") for n in range(100, 160)])


def test_whole_groups_are_held_back_the_same_for_one_seed_and_none_is_on_both_sides() -> None:
    rest, held, why_not = hold_back(WIDE, 0.2, seed=0)
    assert held is not None
    assert why_not == ""
    assert held.triplets.num_rows == 12
    assert rest.triplets.num_rows == 48
    sides = [set(part.labels["split_group"].to_pylist()) for part in (rest, held)]
    assert sides[0].isdisjoint(sides[1])
    again = hold_back(WIDE, 0.2, seed=0).held
    other = hold_back(WIDE, 0.2, seed=1).held
    assert again is not None
    assert other is not None
    assert again.triplets.equals(held.triplets)
    assert not other.triplets.equals(held.triplets)


def test_a_split_too_small_to_spare_queries_is_trained_on_whole_and_says_so() -> None:
    rest, held, why_not = hold_back(split_of([("a?", "b", "c"), ("d?", "e", "f")]), 0.5, seed=0)
    assert held is None
    assert rest.triplets.num_rows == 2
    assert "0.5 of 2 queries with a positive and a negative hold" in why_not
    assert hold_back(WIDE, 0, seed=0).why_not == "not asked for"


def test_the_best_weights_are_kept_and_the_run_says_what_validation_said(minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(base_model=minilm, batch_size=4, learning_rate=3e-4, validation_share=0.4, loss="triplet", seed=3)
    run = trainer.train(WIDE, recipe, out=tmp_path / "model").run
    told = run["validation"]
    assert (told["metric"], told["queries"], told["why_not"]) == ("nDCG@10", 24, "")
    steps = [step for step, _ in told["curve"]]
    assert steps == [0, 2, 4, 6, 8, 9]
    assert run["steps"] == 9
    assert told["ndcg"] == max(value for _, value in told["curve"][1:]) == validation_score(run)
    assert told["ndcg"] > told["base_ndcg"], "what MiniLM has the wrong way round is learned"
    assert run["settings"]["rows"] == 36
    assert sorted(path.name for path in (tmp_path / "model").glob("*") if path.name.startswith(("eval", "check"))) == []


@pytest.mark.slow
def test_few_queries_choose_by_their_loss_and_patience_ends_a_run_that_gets_worse(minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(
        base_model=minilm, batch_size=4, epochs=2, learning_rate=5e-2, validation_share=0.15, patience=1, seed=0
    )
    run = trainer.train(WIDE, recipe, out=tmp_path / "model").run
    told = run["validation"]
    assert (told["metric"], told["queries"]) == ("loss", 9)
    losses = dict(map(tuple, told["curve"]))
    assert losses[told["kept_step"]] == min(value for step, value in losses.items() if step)
    assert run["steps"] < 26, "training ended early"
    assert validation_score(run) is not None


@pytest.mark.parametrize(
    "wrong", [{"validation_share": 0.6}, {"patience": 2}, {"validation_share": 0.1, "patience": 0}]
)
def test_a_share_or_patience_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Recipe(**wrong).complete()


class Interrupting:
    """A progress that is interrupted at a step."""

    done = 0

    def start(self, description: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.done == 5:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_run_keeps_the_same_weights_as_an_undisturbed_one(minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(base_model=minilm, batch_size=4, max_steps=8, learning_rate=2e-4, validation_share=0.4, patience=4)
    undisturbed = trainer.train(WIDE, recipe, out=tmp_path / "undisturbed").run
    with pytest.raises(KeyboardInterrupt):
        trainer.train(WIDE, recipe, out=tmp_path / "out", progress=Interrupting())
    resumed = trainer.train(WIDE, recipe, out=tmp_path / "out").run
    assert resumed["resumed"]
    assert resumed["validation"] == undisturbed["validation"]
    assert resumed["model_sha256"] == undisturbed["model_sha256"]
