"""The gate: which models may replace which, and why not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from commands.evaluating import _print_gate
from printing import Output
from store.workspace import create_workspace
from tests.labelled_store import POLICY
from tests.test_cli import from_json, run
from tests.test_evaluate import moods
from train import trainer
from train.evaluate import compare
from train.evaluation import Compared, Cost, Evaluation, Metric, Ranking, SeedSpread, Slice, Spread, System
from train.evaluation_file import read_evaluation
from train.gate import GateResult, gate, measured_before, system_of
from train.held_out import HeldOut
from train.ranking import BM25
from train.recipe import Recipe
from train.rows import read_training_split
from train.triplets import build


def difference(
    value: float | None, low: float | None, high: float | None, *, changed: int = 20, p: float = 0.001
) -> Compared:
    return Compared(value, low, high, p, p, 30, changed, "")


GAIN = difference(0.05, 0.02, 0.08)


def ranking(found: Compared) -> Ranking:
    return Ranking(30, 30, (Metric("nDCG@10", True, {}, {}, {"old": found}),), {})


def checked(
    found: Compared = GAIN,
    *,
    parts: Mapping[str, Compared] | None = None,
    seeds: Sequence[float] = (),
    min_gain: float = 0.01,
) -> GateResult:
    cost = Cost("cpu", 0, None, None, None)
    system = System("tuned", "m", "m@1", "bi-encoder", None, 384, cost)
    spread = None
    if seeds:
        mean = sum(seeds) / len(seeds)
        sd = (sum((gain - mean) ** 2 for gain in seeds) / (len(seeds) - 1)) ** 0.5
        spread = SeedSpread(("a", "b", "c"), "old", {"nDCG@10": Spread(tuple(seeds), mean, sd, min(seeds), max(seeds))})
    evaluation = Evaluation(
        build_id="build_1",
        policy="answers",
        subject="tuned",
        systems=(system,),
        labelled=ranking(found),
        collection=ranking(found),
        synthetic=None,
        sizes=(),
        slices=tuple(Slice("chunk kind", name, ranking(part)) for name, part in (parts or {}).items()),
        per_query=(),
        rank_shift=None,
        seeds=spread,
        labels=60,
        human_share=1.0,
        left_out=0,
        pool=100,
        warnings=("beware",),
        settings={},
    )
    return gate(evaluation, "old", min_gain=min_gain, metric="nDCG@10")


def failed(found: GateResult) -> dict[str, str]:
    assert found.passed is not any(check.passed is False for check in found.checks)
    return {check.name: check.why for check in found.checks if check.passed is False}


def test_a_sure_and_large_gain_passes_and_what_was_not_checked_is_said() -> None:
    found = checked()
    assert found.passed
    assert found.warnings == ("beware",)
    assert [check.passed for check in found.checks] == [True, True, None, None]
    assert "--runs" in found.checks[3].why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (difference(0.05, -0.01, 0.11), "does not lie above zero"),
        (difference(0.05, 0.0, 0.1), "does not lie above zero"),
        (difference(0.05, 0.02, 0.08, changed=5), "only 5 of 30 query groups differ"),
        (difference(0.05, 0.02, 0.08, p=0.06), "chance alone gives such a gain too often (p = 0.06)"),
        (difference(0.05, None, None), "too few test queries for an interval"),
        (difference(None, None, None), "too few test queries for an interval"),
    ],
)
def test_a_gain_that_is_not_sure_fails(found: Compared, why: str) -> None:
    assert why in failed(checked(found))["gain above zero"]


def test_a_gain_below_what_is_asked_for_fails() -> None:
    assert not failed(checked(min_gain=0.05))
    assert failed(checked(min_gain=0.051)) == {
        "gain large enough": "the gain is +0.0500, less than the 0.051 asked for"
    }


def test_a_part_that_surely_falls_fails_and_others_whose_mean_falls_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    falls, may_fall = difference(-0.1, -0.2, -0.01), difference(-0.1, -0.2, 0.01)
    few = difference(-0.1, -0.2, -0.01, changed=5)
    found = checked(parts={"text": GAIN, "code": may_fall, "table": few})
    assert not failed(found)
    assert [(part.name, part.difference, part.certain) for part in found.fell] == [
        ("code", may_fall, False),
        ("table", few, False),
    ]
    assert found.checks[2].why.endswith("; the mean fell in 2 of them")
    found = checked(parts={"text": GAIN, "table": few, "code": falls})
    assert failed(found) == {"no part falls": "the interval lies below zero in chunk kind 'code' (-0.200 to -0.010)"}
    _print_gate(Output(as_json=False, quiet=True), found)
    said = capsys.readouterr().out
    assert said.index("Warning: parts in which the mean fell") < said.index("The gate is closed")
    listed = [line.strip("│ ").split(" │ ") for line in said.splitlines() if line.startswith("│ chunk kind")]
    assert [[cell.strip() for cell in row] for row in listed] == [
        ["chunk kind", "table", "30", "-0.100", "-0.200 to -0.010", "no"],
        ["chunk kind", "code", "30", "-0.100", "-0.200 to -0.010", "yes"],
    ]


def test_seeds_that_scatter_more_than_they_gain_fail() -> None:
    assert not failed(checked(seeds=(0.04, 0.05, 0.06)))
    assert "less than its standard deviation" in failed(checked(seeds=(0.09, 0.0, 0.0)))["seeds agree"]
    assert "seeds agree" in failed(checked(seeds=(-0.04, -0.05, -0.06)))


def test_a_kept_evaluation_stands_for_the_gate_and_says_the_same(minilm: str, tmp_path: Path) -> None:
    young = {"cat": "kittens", "dog": "puppies", "horse": "foals", "cow": "calves", "sheep": "lambs", "hen": "chicks"}
    asked = {animal: f"what kind of animal is a {animal}" for animal in young}
    qrels = {animal: {young[animal]: 1, f"tax {animal}": 0} for animal in young}
    pool = {text: text for text in young.values()} | {f"tax {one}": f"what kind of tax is on {one[0]}" for one in young}
    test = HeldOut("build_1", asked, asked, qrels, pool, 12)
    kept = compare(test, {"base": minilm, "BM25": BM25, "tuned": minilm}, named_beforehand=["MRR@10", "nDCG@10"])
    anew = compare(test, {BM25: BM25, "tuned": minilm}, named_beforehand=["nDCG@10"])
    standing = measured_before(kept, test, BM25, minilm)
    assert standing
    assert system_of(standing, BM25) == "BM25"
    same = replace(gate(standing, "BM25", min_gain=0.01, metric="nDCG@10"), against=BM25)
    assert same == gate(anew, BM25, min_gain=0.01, metric="nDCG@10")
    assert same.difference.value != 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    relabelled = test._replace(qrels=qrels | {"cat": {"kittens": 0, "tax cat": 1}})
    assert measured_before(kept, test._replace(pool={}), BM25, minilm), "the collection has grown"
    assert not measured_before(None, test, BM25, minilm)
    assert not measured_before(kept, relabelled, BM25, minilm)
    assert not measured_before(kept, test._replace(segments={"query source": dict.fromkeys(asked, "a")}), BM25, minilm)
    assert not measured_before(kept, test, BM25, minilm, seed=1)
    assert not measured_before(kept, test, BM25, str(other))
    assert not measured_before(kept, test, str(other), minilm)
    assert not measured_before(kept, test, BM25, minilm, runs=[minilm, minilm])
    older = replace(kept, settings={**kept.settings, "versions": {"uncited": "0"}})
    assert not measured_before(older, test, BM25, minilm)


@pytest.mark.slow
def test_the_commands_compare_keep_and_decide(tmp_path: Path, minilm: str) -> None:
    workspace = create_workspace(tmp_path)
    with workspace.open() as store:
        moods(store)
        chosen = build(store, POLICY, test_share=0.5).build
        split = read_training_split(store, chosen)
    folder = workspace.model_folder("answers", chosen.build_id)
    assert "no model at" in run("evaluate", "-p", "answers", cwd=tmp_path, status=4).stderr
    recipe = Recipe(base_model=minilm, batch_size=10, epochs=4, learning_rate=2e-4)
    trainer.train(split, recipe, out=folder)
    told = from_json("evaluate", "-p", "answers", cwd=tmp_path)
    assert told == json.loads((folder / "evaluation.json").read_text())
    kept = read_evaluation(folder / "evaluation.json")
    assert kept is not None
    assert [system.name for system in kept.systems] == ["base", "BM25", "tuned"]
    assert kept.labelled.metric("nDCG@10").differences["base"].verdict == "gain"
    assert "| nDCG@10 |" in (folder / "README.md").read_text(), "the model card has the results"
    closed = run("gate", "-p", "answers", "--against", folder, cwd=tmp_path, status=3)
    assert "FAILS  gain above zero" in closed.stdout
    assert "The gate is closed." in closed.stdout
    alone = run("gate", "-p", "answers", cwd=tmp_path, status=2).stderr
    assert "Try:   uncited gate --policy answers --against FOLDER_OR_NAME" in alone
    (tmp_path / "uncited.toml").write_text(f'[evaluate]\ndeployed = {{ answers = "{minilm}" }}\n')
    opened = run("gate", "-p", "answers", "--min-gain", "0.1", cwd=tmp_path)
    assert f"nDCG@10 against {minilm}" in opened.stdout
    assert "The gate is open." in opened.stdout
    assert "Measured before" in opened.stderr, "the base of the evaluation is the model in use"
    (folder / "evaluation.json").unlink()
    measured = run("gate", "-p", "answers", "--min-gain", "0.1", cwd=tmp_path)
    assert measured.stdout == opened.stdout
    assert "Measured before" not in measured.stderr
