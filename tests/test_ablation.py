"""The label ablation and the sweep: what each arm is made of, what a plan may say, and both as they are typed."""

import dataclasses
import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from commands.experiments import _options_of_winner
from store.builds import build_labels
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import anchor_id, chunk_id
from store.policies import add_policy
from store.progress import Progress
from store.workspace import create_workspace
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY, distinct, judge, log, question, review
from tests.test_experiments import nothing_trains as nothing_trains
from train.ablation import Ablation, ablation, labelled_by_people
from train.arms import (
    CERTIFIED,
    NAIVE,
    PROMOTED,
    RANDOM,
    Triplet,
    arm_triplets,
    margin_filtered,
    read_material,
    split_of_arm,
)
from train.experiments import Estimate, read_result
from train.held_out import read_held_out
from train.recipe import Recipe
from train.rows import TrainingSplit, read_training_split
from train.sweep import Sweep, Tried, sweep
from train.sweep_file import Plan, read_plan, recipes
from train.trials import Laboratory, Trial
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


def logged(store: Store, queries: int = 12, *, relevant_uncited: bool = True) -> None:
    """Log queries with a cited chunk, an uncited one that is relevant all the same, an irrelevant and an unseen one."""
    add_policy(store, POLICY)
    for i in range(queries):
        names = ("cited", "hidden", "bad", "unseen") if relevant_uncited else ("cited", "bad", "unseen")
        chunks = [distinct(name, i) for name in names]
        log(store, question(i), chunks, cited=chunks[:1])
        labels = {chunks[0]: "yes", distinct("bad", i): "no"}
        review(store, question(i), labels | ({distinct("hidden", i): "yes"} if relevant_uncited else {}))


def test_arms_differ_in_their_negatives_and_keep_test_texts_and_own_positives_out(store: Store) -> None:
    logged(store)
    # A cited text of query 0 with a word more, which nobody has looked at, and a chunk that a test query has too.
    copied = f"{distinct('cited', 0)} more"
    log(store, question(0), [distinct("cited", 0), copied], cited=[distinct("cited", 0)])
    built = build(store, POLICY, test_share=0.4).build
    labels = build_labels(store, built.build_id).to_pylist()
    tested = {row["chunk_id"] for row in labels if row["split"] == "test"}
    train = {row["anchor_id"] for row in labels if row["split"] == "train"}
    material = read_material(store, built)
    for i in range(12):
        anchor = anchor_id(question(i))
        cited, hidden, bad, unseen = (chunk_id(distinct(name, i)) for name in ("cited", "hidden", "bad", "unseen"))
        if anchor not in train:
            assert all(anchor not in of_anchor for of_anchor in material.negatives.values())
            continue
        assert material.cited[anchor] == [cited]
        assert set(material.positives[anchor]) == {cited, hidden}
        assert material.negatives[NAIVE][anchor] == [hidden, bad, unseen]
        assert material.negatives[CERTIFIED][anchor] == [bad]
        drawn = set(material.negatives[RANDOM][anchor])
        assert drawn
        assert drawn.isdisjoint({cited, hidden, bad, unseen, *tested})


def test_the_margin_is_below_the_lowest_positive(store: Store) -> None:
    logged(store, 4)
    built = build(store, POLICY, test_share=0.3).build
    material = read_material(store, built)
    anchor = next(iter(material.cited))
    hidden, bad, unseen = material.negatives[NAIVE][anchor]
    scores = {a: dict.fromkeys([*material.cited[a], *chunks], 0.8) for a, chunks in material.negatives[NAIVE].items()}
    scores[anchor] |= {hidden: 0.77, bad: 0.75, unseen: 0.9}
    assert margin_filtered(material, scores) == {a: [bad] if a == anchor else [] for a in material.negatives[NAIVE]}


def test_the_first_triplets_are_spread_over_queries_and_positives() -> None:
    found = arm_triplets({"a": ["p", "q"], "b": ["r"], "c": ["s"]}, {"a": ["1", "2", "3"], "b": ["4"]}, 2)
    assert len(found) == 5
    assert {triplet[:2] for triplet in found[:3]} == {("a", "p"), ("a", "q"), ("b", "r")}
    assert {triplet for triplet in found if triplet.positive_id == "q"} == {
        Triplet("a", "q", "3"),
        Triplet("a", "q", "1"),
    }


def test_an_arm_knows_its_own_labels_only(store: Store) -> None:
    logged(store)
    built = build(store, POLICY, test_share=0.4).build
    material, split = read_material(store, built), read_training_split(store, built)
    arm = split_of_arm(material, arm_triplets(material.cited, material.negatives[NAIVE], 16), split)
    told = dict(zip(arm.labels["chunk_id"].to_pylist(), arm.labels["relevance"].to_pylist(), strict=True))
    hidden = {chunk_id(distinct("hidden", i)) for i in range(12)} & told.keys()
    assert hidden
    assert {told[chunk] for chunk in hidden} == {0.0}, "to the naive arm what was not cited is not relevant"


def test_only_what_people_labelled_is_measured(store: Store) -> None:
    logged(store)
    for i in range(12):
        judge(store, question(i), {distinct("unseen", i): "no"})
    built = build(store, POLICY, test_share=0.4, judge_labels=True, uncertified=True).build
    test = read_held_out(store, built)
    people = labelled_by_people(test)
    assert sum(map(len, test.qrels.values())) == 4 * len(test.queries)
    assert sum(map(len, people.qrels.values())) == people.human_labels == 3 * len(test.queries)
    with pytest.raises(MissingError, match="no label of the test split") as error:
        labelled_by_people(
            test._replace(sources={q: dict.fromkeys(known, "judge") for q, known in test.sources.items()})
        )
    assert error.value.hint == "uncited review push --policy answers"


def test_an_arm_that_is_not_there_is_said_to_be_and_a_second_call_trains_nothing(
    store: Store, minilm: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    logged(store, relevant_uncited=False)
    built = build(store, POLICY, test_share=0.4).build
    split, test, material = read_training_split(store, built), read_held_out(store, built), read_material(store, built)
    recipe = Recipe(base_model=minilm, batch_size=8)
    found = ablation(material, split, test, recipe, folder=tmp_path, triplets=6, seeds=1)
    arms = {arm.name: arm for arm in found.arms}
    assert found.triplets == 6
    assert arms["certified + promoted"].unavailable == "the build has no positives but the cited ones"
    assert arms["certified + promoted"].value is None
    naive, certified, drawn = arms["naive"], arms["certified"], arms["random"]
    assert (naive.available, certified.available) == (14, 7)
    assert (certified.known, certified.relevant, drawn.known) == (6, 0, 0)
    assert naive.against_naive is None
    assert certified.against_naive is not None
    assert certified.value is not None
    request.getfixturevalue("nothing_trains")
    assert ablation(material, split, test, recipe, folder=tmp_path, triplets=6, seeds=1) == found
    with pytest.raises(UsageError, match="from 1 to 7 triplets"):
        ablation(material, split, test, recipe, folder=tmp_path, triplets=8)


def test_every_arm_is_trained_on_equally_many_triplets_by_one_recipe_with_the_same_seeds(
    store: Store, minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(store)
    built = build(store, POLICY, test_share=0.4).build
    split, test, material = read_training_split(store, built), read_held_out(store, built), read_material(store, built)
    asked: list[tuple[TrainingSplit, Recipe]] = []

    def recorded(place: Laboratory, arm: TrainingSplit, recipe: Recipe, progress: Progress) -> Trial:
        asked.append((arm, recipe))
        return place.untrained(recipe, progress)

    monkeypatch.setattr(Laboratory, "trained", recorded)
    found = ablation(material, split, test, Recipe(base_model=minilm, seed=5), folder=tmp_path, seeds=2)
    trained = {arm.name: arm.available for arm in found.arms if not arm.unavailable}
    assert {NAIVE, CERTIFIED, PROMOTED, RANDOM} <= trained.keys()
    assert found.triplets == min(trained.values()) < trained[NAIVE]
    assert [arm.triplets.num_rows for arm, _ in asked] == [found.triplets] * 2 * len(trained)
    assert [recipe.seed for _, recipe in asked] == [5, 6] * len(trained)
    assert len({dataclasses.replace(recipe, seed=0) for _, recipe in asked}) == 1
    first, second = asked[::2], asked[1::2]
    assert [arm.triplets for arm, _ in first] == [arm.triplets for arm, _ in second]
    taught = {name: {*arm.triplets["negative"].to_pylist()} for name, (arm, _) in zip(trained, first, strict=True)}
    assert {text[:3] for text in taught[CERTIFIED]} == {"bad"}
    assert not taught[NAIVE] <= taught[CERTIFIED]


def test_without_uncited_chunks_there_is_nothing_to_compare_with(
    store: Store, minilm: str, tmp_path: Path, nothing_trains: None
) -> None:
    add_policy(store, POLICY)
    for i in range(8):
        good, bad = distinct("good", i), distinct("bad", i)
        log(store, question(i), [good, bad], cited=[good, bad])
        review(store, question(i), {good: "yes", bad: "no"})
    built = build(store, POLICY, test_share=0.4).build
    split, test, material = read_training_split(store, built), read_held_out(store, built), read_material(store, built)
    with pytest.raises(MissingError, match="no triplets for the arm 'naive'") as error:
        ablation(material, split, test, Recipe(base_model=minilm), folder=tmp_path)
    assert error.value.hint == "uncited mine --policy answers"


# The plan of a sweep


def test_a_plan_is_read_and_every_combination_is_tried_once(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("losses: [multiple-negatives, triplet]\nlearning_rates: [2e-5, 5e-5]\nnegatives: [1, 4]\n")
    found = recipes(read_plan(file))
    named = [(recipe.loss, recipe.learning_rate, recipe.negatives) for recipe in found]
    assert len(named) == len(set(named)) == 6
    assert ("triplet", 5e-5, 1) in named, "a loss that takes one negative is tried once"
    assert ("triplet", 5e-5, 4) not in named
    file.write_text("{}")
    assert [recipe.base_model for recipe in recipes(read_plan(file))] == [Recipe().complete().base_model]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seeds: 2\nloses: [triplet]\n", ":2: loses: unknown entry; there are kind, models, losses"),
        ("kind: sparse\nlosses:\n  - triplet\n", ":2: losses: no loss 'triplet'; there are multiple-negatives"),
        ("negatives:\n  - 1\n  - none\n", ":3: negatives.1: input should be a valid integer"),
        ("learning_rates: [1e-5, -1]\n", ":1: learning_rates.1: input should be greater than 0"),
        ("metric: F1\n", ":1: metric: no such metric; there are Accuracy@1"),
        ("models: []\n", ":1: models: tuple should have at least 1 item"),
        ("seeds: 2\nseed: 1\nseeds: 3\n", ":3: seeds: stands here a second time"),
        ("kind: [\n", ":2: not YAML"),
        ("- seeds\n", ":1: a plan is a mapping with kind, models"),
        ("", ":1: a plan is a mapping with kind, models"),
    ],
)
def test_a_wrong_plan_is_answered_with_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(InvalidDataError) as error:
        read_plan(file)
    assert f"plan.yaml{complaint}" in error.value.message


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no plan .*nowhere\.yaml"):
        read_plan(tmp_path / "nowhere.yaml")


def test_too_few_queries_to_choose_by_are_said_to_be(store: Store, tmp_path: Path, nothing_trains: None) -> None:
    logged(store, 8)
    built = build(store, POLICY, test_share=0.4).build
    split, test = read_training_split(store, built), read_held_out(store, built)
    with pytest.raises(MissingError, match=r"nothing can be held back .* fewer than 5") as error:
        sweep(split, test, Plan(), folder=tmp_path)
    assert error.value.hint == "uncited review push --policy answers"


# As they are typed


def test_the_next_command_trains_the_model_that_won() -> None:
    plan = Plan(models=("my models/base",), losses=("triplet",), learning_rates=(1.23456789e-5,), epochs=2, seed=3)
    (tried,) = recipes(plan)
    best = Tried(tried.base_model, tried.loss, tried.learning_rate, 1, Estimate(0.5, None, None), 0.5, 1.0)
    said = shlex.split(_options_of_winner(plan, best))
    given = {name[2:].replace("-", "_"): value for name, value in zip(said[::2], said[1::2], strict=True)}
    trained = {name: type(getattr(tried, name))(value) for name, value in given.items()}
    assert Recipe(**trained).complete() == tried


@pytest.mark.slow
def test_ablation_and_sweep_run_are_drawn_and_cost_nothing_the_second_time(
    minilm: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    workspace = create_workspace(tmp_path / "w")
    with workspace.open() as store:
        tastes(store, relevant_uncited=True)
        built = build(store, POLICY, test_share=0.4).build
    (tmp_path / "plan.yaml").write_text(
        f"models: ['{minilm}']\nlearning_rates: [1e-6, 2e-4]\nbatch_size: 16\nseeds: 1\n", encoding="utf-8"
    )
    place = ["--policy", "answers", "--workspace", str(workspace.root)]
    asked = {
        "ablation": ["--base-model", minilm, "--batch-size", "16", "--seeds", "1"],
        "sweep": [str(tmp_path / "plan.yaml")],
    }

    def typed(command: str, *more: str) -> str:
        done = CliRunner().invoke(app, [command, *asked[command], *place, *more], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    first = {command: typed(command, "--plot", str(tmp_path / f"{command}.svg")) for command in asked}
    for arm in ("naive", "margin-filtered", "certified", "certified + promoted", "random"):
        assert f"\n{arm}: " in first["ablation"]
    assert "Winner: model, multiple-negatives, 0.0002. On the test queries: " in first["sweep"]
    assert all((tmp_path / f"{command}.svg").read_text().startswith("<?xml") for command in asked)
    name = built.build_id.removeprefix("build_")[:8]
    assert read_result(workspace.experiments / f"ablation-{name}.json", Ablation)
    swept = read_result(workspace.experiments / f"sweep-{name}.json", Sweep)
    assert swept
    assert [tried.learning_rate for tried in swept.tried] == [2e-4, 1e-6]
    assert swept.tried[0].value.value > swept.tried[1].value.value + 0.1
    assert swept.gain.verdict == "gain"
    request.getfixturevalue("nothing_trains")
    assert json.loads(typed("sweep", "--json"))["gain"]["verdict"] == "gain"
    assert len(json.loads(typed("ablation", "--json"))["arms"]) == 5


@pytest.mark.parametrize("command", ["learning-curve", "ablation", "sweep"])
def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_else(tmp_path: Path, command: str) -> None:
    (tmp_path / "plan.yaml").write_text("{}")
    plan = [str(tmp_path / "plan.yaml")] if command == "sweep" else []
    for name in ("curve.foo", "nowhere/curve.png"):
        done = CliRunner().invoke(app, [command, *plan, "--policy", "answers", "--plot", str(tmp_path / name)])
        assert isinstance(done.exception, UsageError)
        assert "cannot draw" in done.exception.message
