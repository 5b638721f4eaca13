"""Learning curve, label ablation and sweep: the statistics, what is trained on, and that nothing is trained twice."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cli import app
from commands.experiments import _print_curve
from printing import Output
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.workspace import create_workspace
from tests.constructed_tasks import tastes
from tests.labelled_store import POLICY, fill
from tests.training import split_of
from train import trials
from train.ablation import Ablation
from train.arms import Triplet
from train.crossed import Crossed
from train.experiment_plots import draw_learning_curve
from train.experiments import Estimate, Gain, MeasuredOn, read_result, result_file, write_result
from train.held_out import HeldOut, read_held_out
from train.learning_curve import (
    Forecast,
    LearningCurve,
    Point,
    PowerLaw,
    _law,
    _order,
    _part,
    default_sizes,
    learning_curve,
)
from train.power_law import fit_power_law, law_at
from train.recipe import Recipe
from train.rows import TrainingSplit, read_training_split
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid training and measuring."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was trained or measured")

    monkeypatch.setattr(trials, "train", fail)
    monkeypatch.setattr(trials, "load", fail)


# Intervals over queries and seeds


def measured(rng: np.random.Generator, groups: int, seeds: int, *, query: float, seed: float, both: float) -> Crossed:
    """Draw values with true mean zero and stated standard deviations: of queries, of seeds, and of the two together."""
    values = query * rng.normal(size=(groups, 1, 1)) + seed * rng.normal(size=(1, seeds, 1))
    return Crossed(values + both * rng.normal(size=(groups, seeds, 1)), [str(i) for i in range(groups)])


@pytest.mark.parametrize(("query", "seed", "both"), [(1, 0, 1), (1, 0.3, 1), (0.5, 0.1, 1), (1, 0, 0)])
def test_intervals_cover_the_truth_whether_queries_or_seeds_scatter(
    query: float, seed: float, both: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.crossed.RESAMPLES", 500)
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(150):
        found = measured(rng, 25, 3, query=query, seed=seed, both=both)
        low, high = found.bounds(found.draws[:, 0]) or (math.nan, math.nan)
        covered += low <= 0 <= high
    assert covered / 150 >= 0.9


def test_leaving_the_seeds_out_would_claim_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.crossed.RESAMPLES", 500)
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(150):
        values = 0.5 * rng.normal(size=(25, 1, 1)) + 0.5 * rng.normal(size=(1, 3, 1)) + np.zeros((25, 3, 1))
        found = Crossed(values.mean(axis=1, keepdims=True), [str(i) for i in range(25)])
        low, high = found.bounds(found.draws[:, 0]) or (math.nan, math.nan)
        covered += low <= 0 <= high
    assert covered / 150 < 0.8


def test_columns_see_the_same_draws_and_more_questions_widen() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.uniform(size=(12, 3, 1)), 2, axis=2)
    values[:, :, 1] += 0.1
    found = Crossed(values, [f"g{i // 2}" for i in range(12)])
    gain = found.gain(1, 0)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert gain.verdict == "gain"
    assert found.gain(0, 0).verdict.startswith("no claim")
    one, four = found.bounds(found.draws[:, 0]), found.bounds(found.draws[:, 0], questions=4)
    assert one
    assert four
    assert four[0] < one[0] < one[1] < four[1]
    alone = Crossed(values[:2], ["g", "g"])
    assert (alone.estimate(0).low, alone.gain(1, 0).verdict) == (None, "no claim (too few queries for an interval)")


# The law


def test_a_law_is_found_again_and_what_gets_worse_stays_worse() -> None:
    sizes = [100, 200, 400, 800, 1600]
    errors = np.array([[0.2 + 3 * n**-0.5 for n in sizes], [0.5 + 0.01 * i for i in range(5)], [8 / n for n in sizes]])
    laws = fit_power_law(sizes, errors)
    assert laws[0] == pytest.approx([0.2, 3, 0.5], abs=1e-6)
    assert law_at(laws, 6400)[0] == pytest.approx(0.2 + 3 / 80)
    assert laws[1][1] < 0, "an error that grows is given a law that grows"
    assert (laws[:, 0] >= 0).all()


def crossed_curve(errors: Sequence[float], noise: float = 0.002) -> Crossed:
    rng = np.random.default_rng(1)
    level = 0.05 * rng.normal(size=(40, 1, 1))
    values = 1 - np.array(errors)[None, None, :] + level + noise * rng.normal(size=(40, 3, len(errors)))
    return Crossed(values, [str(i) for i in range(40)])


def test_a_law_that_holds_says_what_more_labels_would_buy() -> None:
    sizes = [100, 200, 500, 1000, 2000]
    law, why_not, ahead = _law(crossed_curve([0.3 + 4 * n**-0.6 for n in sizes]), sizes)
    assert law
    assert not why_not
    assert [forecast.examples for forecast in ahead] == [4000, 8000]
    true = 4 * 2000**-0.6 - 4 * 4000**-0.6
    gain = ahead[0].gain
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < true < gain.high
    assert gain.verdict == "gain"
    assert 1 - law.metric(4000) == pytest.approx(0.3 + 4 * 4000**-0.6, abs=0.02)


@pytest.mark.parametrize(
    ("errors", "sizes", "why"),
    [
        ([0.5, 0.4, 0.3], [100, 200, 400], "3 sizes are too few"),
        ([0.5, 0.5, 0.5, 0.5], [100, 200, 400, 800], "no claim"),
        ([0.3, 0.4, 0.5, 0.6], [100, 200, 400, 800], "a loss"),
        ([0.6, 0.6, 0.55, 0.05], [100, 200, 400, 800], "it would miss the point at"),
    ],
)
def test_a_law_is_refused_where_it_would_say_nothing(errors: list[float], sizes: list[int], why: str) -> None:
    law, why_not, ahead = _law(crossed_curve(errors), sizes)
    assert (law, ahead) == (None, ())
    assert why in why_not


# The learning curve


def test_the_sizes_are_round_numbers_or_halves_where_there_are_few() -> None:
    assert default_sizes(3000) == (100, 200, 500, 1000, 2000)
    assert default_sizes(160) == (10, 20, 40, 80)
    assert default_sizes(40) == (10, 20)


def test_parts_are_nested_whole_queries_first_and_the_same_each_time() -> None:
    split = split_of([(f"ask {i}", f"good {i}", f"bad {i} {j}") for i in range(10) for j in range(3)])
    order = _order(split, 0)
    parts = [_part(split, order, size) for size in (5, 11, 20)]
    names = [set(zip(*(p.triplets[c].to_pylist() for c in Triplet._fields), strict=True)) for p in parts]
    assert [len(some) for some in names] == [5, 11, 20]
    assert names[0] < names[1] < names[2]
    assert [len(set(p.triplets["anchor_id"].to_pylist())) for p in parts] == [2, 4, 7]
    assert all(set(p.labels["anchor_id"].to_pylist()) == set(p.triplets["anchor_id"].to_pylist()) for p in parts)
    assert parts[0].labels.num_rows == 5 + 2
    unpaired = split_of([("only positive", "good", "bad")]).labels.slice(0, 1)
    whole = _part(dataclasses.replace(split, labels=pa.concat_tables([split.labels, unpaired])), order, 30)
    assert whole.triplets == split.triplets
    assert whole.labels == split.labels, "every part has as many labels a triplet"
    assert (order == _order(split, 0)).all()
    assert (order != _order(split, 1)).any()


def test_a_split_is_known_by_its_rows_however_they_came_in_pieces() -> None:
    split = split_of([(f"ask {i}", f"good {i}", f"bad {i}") for i in range(4)])
    pieces = pa.concat_tables([split.triplets.slice(0, 1), split.triplets.slice(1)])
    assert trials._split_id(dataclasses.replace(split, triplets=pieces)) == trials._split_id(split)
    fewer = dataclasses.replace(split, triplets=split.triplets.slice(1))
    assert trials._split_id(fewer) != trials._split_id(split)


def curve(split: TrainingSplit, test: HeldOut, minilm: str, folder: Path, **more: object) -> LearningCurve:
    recipe = Recipe(base_model=minilm, batch_size=8, learning_rate=1e-4)
    return learning_curve(split, test, recipe, folder=folder, **{"seeds": 1, **more})


def test_a_curve_is_measured_kept_and_not_measured_again(
    store: Store, minilm: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tastes(store, 16)
    built = build(store, POLICY, test_share=0.4).build
    split, test = read_training_split(store, built), read_held_out(store, built)
    found = curve(split, test, minilm, tmp_path, sizes=[8])
    total = split.triplets.num_rows
    assert [point.examples for point in found.points] == [8, total]
    assert found.test.human_share == 1
    assert found.base.value < found.points[-1].value.value + 1e-9
    assert found.no_law.startswith("2 sizes are too few")
    file = result_file(tmp_path, "learning-curve", built.build_id)
    write_result(file, found)
    assert read_result(file, LearningCurve) == found
    kept = sorted((tmp_path / "trials").iterdir())
    assert {path.suffix for path in kept} == {".json"}, "the models are thrown away"
    for path in kept:  # as left by a run that was killed while it threw a model away
        if json.loads(path.read_text())["steps"]:
            path.with_suffix(".model").mkdir()
            path.with_name(f".{path.stem}.model.unfinished-run_1").mkdir()
    request.getfixturevalue("nothing_trains")
    assert curve(split, test, minilm, tmp_path, sizes=[8]) == found
    assert sorted((tmp_path / "trials").iterdir()) == kept
    assert curve(split, test, minilm, tmp_path, sizes=[8], metric="MRR@10").metric == "MRR@10"
    with pytest.raises(AssertionError, match="was trained"):
        curve(split, test, minilm, tmp_path, sizes=[9])


@pytest.mark.slow
def test_a_learning_curve_is_typed_and_says_what_more_labels_would_buy(
    minilm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = create_workspace(tmp_path / "w")
    with workspace.open() as store:
        tastes(store, 16)
        built = build(store, POLICY, test_share=0.4).build
        total = read_training_split(store, built).triplets.num_rows
    options = ["--sizes", "8", "--seeds", "2", "--base-model", minilm, "--build", built.build_id]
    options += ["--workspace", str(workspace.root)]
    done = CliRunner().invoke(app, ["learning-curve", "--policy", "answers", *options], catch_exceptions=False)
    assert done.exit_code == 0
    found = read_result(result_file(workspace.experiments, "learning-curve", built.build_id), LearningCurve)
    assert found
    assert [(point.examples, len(point.by_seed)) for point in found.points] == [(8, 2), (total, 2)]
    lines = done.stdout.splitlines()
    assert lines[0] == f"Learning curve of {built.build_id}"
    rows = [re.findall(r"\d+\.?\d*", line) for line in lines if line.startswith("│")]
    assert [row[:3] for row in rows] == [
        ["0", "0", f"{found.base.value:.3f}"],
        *([str(p.examples), str(round(p.queries)), f"{p.value.value:.3f}"] for p in found.points),
    ]
    spread = found.points[0].by_seed
    assert rows[1][-2:] == [f"{min(spread):.3f}", f"{max(spread):.3f}"]
    said = " ".join(done.stdout.split())
    assert f"From 8 triplets to {total}: {found.learnt.value:+.3f} (" in said
    assert "No power law is fitted, so nothing is said of more labels: 2 sizes are too few" in said
    assert f"{found.test.queries} test queries in {found.test.groups} groups; 100.0 % of the" in said
    assert f"uncited ablation --policy answers --build {built.build_id}" in " ".join(done.stderr.split())

    ahead = (Forecast(2 * total, Estimate(0.7, 0.65, 0.75), Gain(0.1, 0.05, 0.15, "gain")),)
    with_law = dataclasses.replace(found, law=PowerLaw(0.3, 2.0, 0.5), no_law="", forecasts=ahead)
    _print_curve(Output(as_json=False, quiet=False), with_law)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 - nDCG@10 = 0.300 + 2.000 x triplets ^ -0.50" in said
    assert f"{2 * total} triplets would give 0.700 (0.650 to 0.750): +0.100 (+0.050 to +0.150), gain" in said
    assert "No power law" not in said


def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    store: Store, minilm: str, tmp_path: Path, nothing_trains: None
) -> None:
    built = build(store, fill(store, 12)).build
    split, test = read_training_split(store, built), read_held_out(store, built)
    for wrong, what in (
        ({"metric": "F1"}, "no metric is called 'F1'"),
        ({"seeds": 0}, "0 seeds"),
        ({"sizes": [999]}, "999"),
    ):
        with pytest.raises(UsageError, match=what):
            curve(split, test, minilm, tmp_path, **wrong)
    with pytest.raises(MissingError, match="a curve takes 16 or more"):
        curve(split_of([("a", "b", "c")]), test, minilm, tmp_path)
    alike = test._replace(qrels={query: dict.fromkeys(labels, 1) for query, labels in test.qrels.items()})
    with pytest.raises(MissingError, match="every order is as good"):
        curve(split, alike, minilm, tmp_path)


def test_a_curve_is_drawn_whole_with_its_forecasts_and_over_an_older_picture(tmp_path: Path) -> None:
    value = Estimate(0.6, 0.55, 0.65)
    gain = Gain(0.1, 0.05, 0.15, "gain")
    points = tuple(Point(size, size / 2, value, (0.59, 0.61)) for size in (100, 200, 500, 1000))
    test = MeasuredOn(40, 30, 200, 1.0)
    bare = LearningCurve("build_1", {}, "nDCG@10", (0, 1), test, value, points, gain, None, "too few", ())
    ahead = (Forecast(2000, value, gain), Forecast(4000, Estimate(0.7, None, None), gain))
    picture = tmp_path / "curve.svg"
    draw_learning_curve(bare, picture)
    assert "<!-- forecast -->" not in picture.read_text()
    draw_learning_curve(dataclasses.replace(bare, law=PowerLaw(0.3, 2.0, 0.5), no_law="", forecasts=ahead), picture)
    drawn = picture.read_text()
    assert "<!-- forecast -->" in drawn
    assert drawn.endswith("</svg>\n")
    assert list(tmp_path.iterdir()) == [picture]


def test_a_file_of_another_kind_is_no_result(tmp_path: Path) -> None:
    assert read_result(tmp_path / "none.json", Ablation) is None
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InvalidDataError, match="is no result of this version"):
        read_result(tmp_path / "other.json", Ablation)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_result(tmp_path / "file" / "below.json", Estimate(1, None, None))
