"""What an evaluation tells besides its headline: slices, rank shift, sizes, cost, seeds, warnings, its file."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.example_sets import LabelledPair, put_example_set
from store.ids import anchor_id
from store.policies import Label, Policy, add_policy
from store.progress import silent
from tests.labelled_store import START, distinct, fill, judge, judge_pairs, log, pair, question, review
from tests.test_evaluate import held_out
from train import trainer
from train.evaluate import compare
from train.evaluation import Cost, Evaluation, Ranking
from train.evaluation_file import evaluation_file, read_evaluation, write_evaluation
from train.held_out import HeldOut, read_held_out
from train.kinds import load
from train.line_up import line_up, trained_sizes
from train.metrics import METRICS
from train.models import load_model
from train.rank_shift import rank_shift
from train.ranking import BM25, Ranked, rank_with_all
from train.recipe import Recipe
from train.rows import read_training_split
from train.runs import made_from, newest_alone
from train.seeds import check_runs, seed_spread
from train.slices import slices
from train.triplets import build
from train.warnings import warnings

pytestmark = pytest.mark.usefixtures("one_thread")

NOTHING = Cost("none", 0, None, None, None)
ANIMALS = ["cat", "dog", "owl", "whale", "horse", "spider", "eagle", "salmon"]
POOL = {f"c{i}": f"The {animal} is an animal that people know well." for i, animal in enumerate(ANIMALS)}


def ranked(places: dict[str, dict[str, int | None]]) -> Ranked:
    return Ranked({}, {}, places, "bi-encoder", NOTHING)


# Rank shift


def test_a_move_is_measured_by_its_factor_and_what_was_not_found_stood_last() -> None:
    relevant = {"near": 1, "far": 1, "lost": 1, "won": 1, "same": 1, "other": 0}
    test = held_out({"q": relevant}, {**{name: f"text {name}" for name in relevant}, "x": "x", "y": "y"})
    before: dict[str, dict[str, int | None]] = {
        "q": {"near": 4, "far": 8, "lost": 3, "won": None, "same": 2, "other": 1}
    }
    after: dict[str, dict[str, int | None]] = {
        "q": {"near": 1, "far": 6, "lost": None, "won": 5, "same": 2, "other": 7}
    }
    found = rank_shift(test, ["q"], "base", "tuned", {"base": ranked(before), "tuned": ranked(after)})
    assert {move.chunk_id: (move.before, move.after) for move in found.moves} == {
        chunk: (before["q"][chunk], after["q"][chunk]) for chunk in relevant if chunk != "other"
    }
    # By factor: near 4, won 9 / 5 (the pool holds 8, so it stood at 9), far 8 / 6; lost 3 / 9.
    assert [move.chunk for move in found.gains] == ["text near", "text won", "text far"]
    assert [(move.chunk, move.before, move.after) for move in found.losses] == [("text lost", 3, None)]
    assert (found.median_before, found.median_after) == (4, 5)
    first_5, first_10 = found.within
    assert (first_5.before, first_5.after, first_5.came_in, first_5.went_out) == (3, 3, 1, 1)
    assert (first_10.before, first_10.after, first_10.came_in, first_10.went_out) == (4, 4, 1, 1)


def test_where_most_are_not_found_there_is_no_median() -> None:
    test = held_out({"q": {"a": 1, "b": 1}}, {"a": "a", "b": "b"})
    lost: dict[str, dict[str, int | None]] = {"q": {"a": None, "b": None}}
    found = rank_shift(test, ["q"], "base", "tuned", {"base": ranked(lost), "tuned": ranked(lost)})
    assert (found.median_before, found.gains, found.losses) == (None, (), ())


def test_only_the_ten_largest_moves_are_shown() -> None:
    pool = {f"c{i:02}": f"text {i}" for i in range(30)}
    test = held_out({"q": dict.fromkeys(pool, 1)}, pool)
    order: dict[str, dict[str, int | None]] = {"q": {chunk: i + 1 for i, chunk in enumerate(pool)}}
    reverse: dict[str, dict[str, int | None]] = {"q": {chunk: 30 - i for i, chunk in enumerate(pool)}}
    found = rank_shift(test, ["q"], "base", "tuned", {"base": ranked(order), "tuned": ranked(reverse)})
    assert len(found.gains) == len(found.losses) == 10
    assert (found.gains[0].before, found.gains[0].after) == (30, 1)


# Slices


def parted(**parts: object) -> HeldOut:
    """Make two queries, each with a positive and a negative of either kind; people labelled those of the first."""
    qrels = {query: {"text+": 1, "text-": 0, "code+": 1, "code-": 0} for query in ("q1", "q2")}
    sources = {"q1": dict.fromkeys(qrels["q1"], "human"), "q2": dict.fromkeys(qrels["q2"], "judge")}
    test = held_out(qrels, dict.fromkeys(qrels["q1"], ""))
    told = {"kinds": {chunk: chunk[:4] for chunk in qrels["q1"]}, "sources": sources, **parts}
    return test._replace(**told)


def test_each_part_is_measured_by_its_own_labels() -> None:
    test = parted(segments={"query length": {"q1": "short", "q2": "short"}})
    good = {"text+": 4.0, "text-": 3.0, "code+": 2.0, "code-": 1.0}
    code_wrong = good | {"code+": 0.0}
    runs = {"base": {"q1": good, "q2": good}, "tuned": {"q1": code_wrong, "q2": good}}
    found = {(part.by, part.name): part.ranking for part in slices(test, ["q1", "q2"], runs, named=[], seed=0)}
    assert list(found) == [
        ("chunk kind", "code"),
        ("chunk kind", "text"),
        ("label source", "human"),
        ("label source", "judge"),
    ], "segments that are all one tell nothing"
    assert found["chunk kind", "text"].metric("MRR@10").values == {"base": 1, "tuned": 1}
    assert found["chunk kind", "code"].metric("MRR@10").values == {"base": 1, "tuned": 0.75}
    assert found["label source", "human"].queries == found["label source", "judge"].queries == 1
    assert found["label source", "judge"].metric("nDCG@10").differences["base"].value == 0


def test_a_part_in_which_no_query_can_tell_is_left_out() -> None:
    kinds = {"text+": "good", "code+": "good", "text-": "bad", "code-": "bad"}
    runs = {"tuned": {query: dict.fromkeys(kinds, 0.0) for query in ("q1", "q2")}}
    assert not [p for p in slices(parted(kinds=kinds, sources={}), ["q1", "q2"], runs, named=[], seed=0)]


# Sizes, places and cost, with real weights


def test_shorter_embeddings_are_cut_and_given_length_one_again(minilm: str) -> None:
    test = held_out({"Tell me of the whale.": {"c3": 1, "c0": 0}}, POOL)
    found = rank_with_all(test, list(test.queries), [minilm], silent, sizes={minilm: [64, 384, 999]})[minilm]
    assert found.shorter is not None
    assert list(found.shorter) == [64], "the whole length is no shorter one"
    model = load_model(minilm, truncate_dim=64)
    expected = model.similarity(model.encode(list(test.queries)), model.encode(list(POOL.values())))[0].tolist()
    assert list(found.shorter[64].collection["Tell me of the whale."].values()) == pytest.approx(
        [expected[list(POOL).index(chunk)] for chunk in found.shorter[64].collection["Tell me of the whale."]], abs=1e-5
    )
    assert (found.dimensions, found.shorter[64].dimensions) == (384, 64)
    assert found.cost.index_bytes == 8 * 384 * 4
    assert found.shorter[64].cost.index_bytes == 8 * 64 * 4
    assert found.cost.queries_timed == 1
    assert found.cost.median_ms is not None
    assert found.cost.median_ms > 0
    assert found.cost.search_ms is not None
    assert 0 < found.cost.search_ms < found.cost.median_ms, "encoding is the longer part"
    short = found.shorter[64].cost
    assert (short.queries_timed, short.median_ms) == (0, None), "encoding takes the same at any length"
    assert short.search_ms is not None
    assert short.search_ms > 0
    assert found.cost.device.startswith(load("bi-encoder", minilm).device.type)


def test_places_are_those_in_the_whole_pool_and_bm25_finds_only_shared_words() -> None:
    pool = {f"c{i:02}": "whale whale" if i < 3 else f"word{i} whale and more of it" for i in range(60)}
    pool["none"] = "nothing in common"
    test = held_out({"whale": {"c59": 1, "c02": 0, "none": 1}}, pool)
    found = rank_with_all(test, ["whale"], [BM25], silent)[BM25]
    assert len(found.collection["whale"]) == 40
    assert found.places["whale"] == {"c59": 60, "c02": 3, "none": None}
    assert "none" in found.labelled["whale"], "what is ranked is ranked, if only last"
    assert found.labelled["whale"]["none"] < found.labelled["whale"]["c59"]


# The whole


def test_an_evaluation_tells_of_every_system_and_survives_its_file(minilm: str, tmp_path: Path) -> None:
    qrels = {f"Tell me of the {animal}.": {f"c{i}": 1, f"c{(i + 1) % 8}": 0} for i, animal in enumerate(ANIMALS)}
    qrels["Only a positive"] = {"c1": 1}
    test = held_out(qrels, POOL)._replace(judges_of_both=("gpt-x",), synthetic=frozenset({"Only a positive"}))
    found = compare(test, {"base": minilm, "BM25": BM25, "tuned": minilm}, sizes=[32], named_beforehand=["MRR@10"])
    assert [(system.name, system.kind) for system in found.systems] == [
        ("base", "bi-encoder"),
        ("BM25", "bm25"),
        ("tuned", "bi-encoder"),
    ]
    assert found.subject == "tuned"
    assert set(found.labelled.metric("MRR@10").differences) == {"base", "BM25"}
    assert [size.dimensions for size in found.sizes] == [32]
    assert found.sizes[0].search_ms is not None
    assert [system.cost.search_ms is None for system in found.systems] == [False, True, False]
    assert found.labelled.queries == 8
    per_query = {one.query: one for one in found.per_query}
    assert per_query["Only a positive"].labelled == {}
    assert per_query["Only a positive"].synthetic
    mean = np.mean([one.labelled["BM25"]["MRR@10"] for one in found.per_query if one.labelled])
    assert found.labelled.metric("MRR@10").values["BM25"] == pytest.approx(mean)
    assert {name for one in found.per_query for name in one.collection["BM25"]} == {*METRICS, "Judged@10"}
    judged = [one.collection["base"]["Judged@10"] for one in found.per_query if not one.synthetic]
    assert found.collection.judged["base"] == pytest.approx(np.mean(judged))
    assert judged == [2 / 8] * 8, "two of the eight chunks have a label"
    assert found.rank_shift is not None
    assert len(found.rank_shift.moves) == 8
    assert "gpt-x labelled both" in found.warnings[0]
    assert "0 of the 17 test labels are people's" in found.warnings[1]
    file = tmp_path / "evaluation.json"
    assert read_evaluation(file) is None
    write_evaluation(file, found)
    assert read_evaluation(file) == found
    json.loads(file.read_text(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    file.write_text("{}")
    with pytest.raises(InvalidDataError, match="is no evaluation of this version") as error:
        read_evaluation(file)
    assert "uncited evaluate" in str(error.value.hint)


def test_what_nothing_was_measured_on_has_no_value_in_the_file(minilm: str, tmp_path: Path) -> None:
    found = compare(held_out({"only good": {"c0": 1}}, {"c0": "text"}), {"base": minilm, "tuned": minilm})
    assert "too few for any claim" in found.warnings[-1]
    write_evaluation(tmp_path / "evaluation.json", found)
    again = read_evaluation(tmp_path / "evaluation.json")
    assert again == found
    assert isinstance(again, Evaluation)
    assert again.labelled.metric("nDCG@10").values == {"base": None, "tuned": None}


def test_an_evaluation_on_another_build_has_a_file_of_its_own(tmp_path: Path) -> None:
    record(tmp_path, seed=0)
    assert evaluation_file(tmp_path, "build_1").name == "evaluation.json"
    assert evaluation_file(tmp_path, "build_abcdefgh12").name == "evaluation-abcdefgh.json"


# From a store


def test_the_test_split_knows_kinds_sources_segments_and_grades(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(
        name="graded",
        question="How well does the passage answer the question?",
        anchor="a question",
        candidate="a passage",
        labels=(Label("no", "no", "negative"), Label("half", "half", "positive"), Label("yes", "all", "positive")),
        signals={"cited": "yes"},
        scale="ordered",
    )
    monkeypatch.setattr("tests.labelled_store.POLICY", policy)
    graded, _ = add_policy(store, policy)
    for i in range(8):
        texts = [distinct("good0of", i), distinct("good1of", i), distinct("bad0of", i)]
        log(store, question(i), texts, cited=texts[:1])
        review(store, question(i), dict(zip(texts, ["yes", "half", "no"], strict=True)))
    test = read_held_out(store, build(store, graded).build)
    assert {tuple(sorted(grades.values())) for grades in test.grades.values()} == {(0, 1, 2)}
    assert {tuple(sorted(labels.values())) for labels in test.qrels.values()} == {(0, 1, 1)}
    assert set(test.kinds.values()) == {"text"}
    assert {source for told in test.sources.values() for source in told.values()} == {"human"}
    assert set(test.segments["query length"].values()) == {"1 to 3 words"}
    assert test.policy == "graded"
    assert read_held_out(store, build(store, graded).build, by="source").segments == {
        "query source": dict.fromkeys(test.queries, "not given")
    }
    with pytest.raises(UsageError, match="--by colour: no line of the logs holds colour"):
        read_held_out(store, build(store, graded).build, by="colour")


def test_the_judge_that_labelled_both_splits_is_named(store: Store) -> None:
    policy = fill(store, 10)
    assert read_held_out(store, build(store, policy).build).judges_of_both == ()
    for i in range(10):
        judged = distinct("judged", i)
        log(store, question(i), [judged])
        judge(store, question(i), {judged: "no"}, model="strict-7b")
        said = {pair(question(i), judged): "no"}
        judge_pairs(store, policy, said, {"model": "lenient-7b"}, judged_at=START - timedelta(days=1))
    found = build(store, policy, judge_labels=True, uncertified=True)
    assert read_held_out(store, found.build).judges_of_both == ("strict-7b",), "the other one only said the same"


def test_test_queries_that_a_judge_was_shown_as_examples_are_counted_and_told(store: Store) -> None:
    policy = fill(store, 10)
    known = LabelledPair(pair(question(0), distinct("good0of", 0)), anchor_id(question(0)), "", "", "yes")
    example_set = put_example_set(store, policy, {"shown": 1}, [known])
    for i in range(10):
        judged = distinct("judged", i)
        log(store, question(i), [judged])
        judge(store, question(i), {judged: "no"}, model=f"m with {example_set}")
    found = {}
    for seed in range(4):
        made = build(store, policy, judge_labels=True, uncertified=True, seed=seed).build
        test = read_held_out(store, made)
        found[anchor_id(question(0)) in test.queries] = test.shown_to_judges
        told = warnings(test, Ranking(9, 9, (), {}), {})
        assert sum("examples that a judge of this build was shown" in one for one in told) == test.shown_to_judges
        plain = build(store, policy, seed=seed).build
        assert not read_held_out(store, plain).shown_to_judges, "no label of the judge is in it"
    assert found == {True: 1, False: 0}


# Runs


def record(folder: Path, **settings: object) -> Path:
    """Write the record of a run, without its weights."""
    folder.mkdir(exist_ok=True)
    told = {"base_model": "m", "loss": "triplet", "rows_sha256": str(folder), **settings}
    (folder / "run.json").write_text(json.dumps({"build_id": "build_1", "settings_id": "run_1", "settings": told}))
    return folder


def test_runs_with_other_seeds_differ_in_nothing_else(tmp_path: Path) -> None:
    three = [record(tmp_path / f"seed-{seed}", seed=seed) for seed in range(3)]
    check_runs(three)
    with pytest.raises(UsageError, match="2 seeds say little of their spread"):
        check_runs(three[:2])
    with pytest.raises(UsageError, match="trained with the same seed, 1"):
        check_runs([*three, record(tmp_path / "again", seed=1)])
    with pytest.raises(UsageError, match="differ in more than their seed: loss"):
        check_runs([*three, record(tmp_path / "other", seed=4, loss="cosine")])
    with pytest.raises(MissingError, match="holds no run of"):
        check_runs([*three, tmp_path])


def test_a_model_of_another_build_is_named_since_it_may_know_the_test_queries(tmp_path: Path) -> None:
    nothing = Ranking(9, 9, (), {})
    test = held_out({"q": {"c": 1}}, {"c": ""}, human_labels=1)
    models = {"base": "org/base", "own": str(record(tmp_path / "own", seed=0)), "tuned": str(tmp_path / "own")}
    assert warnings(test, nothing, models) == ()
    (found,) = warnings(test._replace(build_id="build_2"), nothing, {"base": "org/base", "tuned": models["tuned"]})
    assert found.startswith("tuned was trained on another build (build_1)")


def test_the_newest_run_of_a_kind_on_one_policy_alone_is_found(tmp_path: Path) -> None:
    def told(*policies: str, kind: str = "bi-encoder") -> dict[str, object]:
        return {"builds": [{"policy": {"name": name}} for name in policies], "settings": {"kind": kind}}

    newest_first = {
        "joint": told("a", "b"),
        "other-kind": told("a", kind="sparse"),
        "of-another": told("b"),
        "early": {"builds": [{}], "settings": {"kind": "bi-encoder"}},
        "newer": told("a"),
        "older": told("a"),
    }
    runs = {tmp_path / name: record for name, record in newest_first.items()}
    assert newest_alone(runs, "a", "bi-encoder") == tmp_path / "newer"
    assert newest_alone(runs, "a", "reranker") is None


def test_a_model_that_learned_from_a_run_on_another_build_is_named_too(tmp_path: Path) -> None:
    first = record(tmp_path / "first")
    settings = {"base_model": str(first), "base_model_is": "first@1", "teacher": "org/teacher", "teacher_is": "t@1"}
    behind = made_from(settings)
    assert behind == [{"as": "base_model", "model": "first@1", "builds": ["build_1"], "judges": {}}]
    second = record(tmp_path / "second")
    told = json.loads((second / "run.json").read_text()) | {"build_id": "build_2", "made_from": behind}
    (second / "run.json").write_text(json.dumps(told))
    behind = made_from({"teacher": str(second), "teacher_is": "second@1"})
    assert [source["builds"] for source in behind] == [["build_2"], ["build_1"]]
    test = held_out({"q": {"c": 1}}, {"c": ""}, human_labels=1)._replace(build_id="build_2")
    (found,) = warnings(test, Ranking(9, 9, (), {}), {"tuned": str(second)})
    said = "tuned was made from first@1 (its base model), which was trained on another build (build_1): "
    assert found.startswith(said)


def test_a_model_that_learned_from_a_judge_of_the_test_set_is_named(store: Store, minilm: str, tmp_path: Path) -> None:
    policy = fill(store, 8, negatives=1)
    for i in range(8):
        judged = distinct("judged", i)
        log(store, question(i), [judged])
        judge(store, question(i), {judged: "no"}, model="strict-7b")
    own, other = (build(store, policy, judge_labels=True, uncertified=True, seed=seed).build for seed in (0, 1))
    recipe = Recipe(base_model=minilm, batch_size=4, max_steps=1)
    trained = trainer.train(read_training_split(store, own), recipe, out=tmp_path / "trained").model
    test, of_people = read_held_out(store, other), read_held_out(store, build(store, policy, seed=1).build)

    def said(test: HeldOut, model: Path) -> list[str]:
        found = warnings(test, Ranking(9, 9, (), {}), {"base": minilm, "tuned": str(model)})
        return [one for one in found if "judge's mistakes" in one and not one.startswith("strict-7b labelled both")]

    (found,) = said(test, trained)
    assert found.startswith("tuned was trained on labels of strict-7b, which labelled the test set too: a model that")
    second = record(tmp_path / "second", seed=0)
    behind = made_from({"teacher": str(trained), "teacher_is": "trained@1"})
    told = json.loads((second / "run.json").read_text()) | {"build_id": other.build_id, "made_from": behind}
    (second / "run.json").write_text(json.dumps(told))
    (found,) = said(test, second)
    assert found.startswith("tuned was made from trained@1 (a teacher), which was trained on labels of strict-7b, ")
    taught = record(tmp_path / "taught", teacher="judge")
    (found,) = said(test, taught)
    assert found.startswith("tuned learned from what a judge said (--teacher judge), and strict-7b labelled the test")
    assert not any(said(of_people, model) for model in (trained, second, taught))
    assert not said(test, record(tmp_path / "of-people", seed=0))
    assert not said(read_held_out(store, own), trained), "the splits of its own build are looked at themselves"


def test_the_spread_of_seeds_is_that_of_their_gains_over_the_base() -> None:
    right, wrong = {"good": 1.0, "bad": 0.0}, {"good": 0.0, "bad": 1.0}
    queries = ["q1", "q2", "q3", "q4"]
    test = held_out({query: {"good": 1, "bad": 0} for query in queries}, {"good": "", "bad": ""})
    runs = {f"seed-{n}": {query: right if i < n else wrong for i, query in enumerate(queries)} for n in (1, 2, 3)}
    labelled = {"base": dict.fromkeys(queries, wrong), "tuned": runs["seed-1"]}
    found = seed_spread(test, queries, "base", labelled, runs)
    accuracy = found.metrics["Accuracy@1"]
    assert accuracy.gains == (0.25, 0.5, 0.75)
    assert (accuracy.mean, accuracy.sd, accuracy.low, accuracy.high) == (0.5, 0.25, 0.25, 0.75)
    assert (found.runs, found.against) == (("seed-1", "seed-2", "seed-3"), "base")
    assert seed_spread(test, [], "base", labelled, runs).metrics == {}


def test_models_line_up_from_what_the_run_says(tmp_path: Path, minilm: str) -> None:
    run = record(tmp_path / "run", base_model=minilm, matryoshka=[128, 64])
    assert line_up(run) == {"base": minilm, "BM25": "bm25", "tuned": str(run)}
    assert trained_sizes(run) == (128, 64)
    found = line_up(run, base_model="org/base", deployed="org/old", others=["org/new", "else/new", "tuned"])
    assert list(found) == ["base", "BM25", "deployed", "new", "new 2", "tuned 2", "tuned"]
    with pytest.raises(UsageError, match="this model is a bi-encoder"):
        line_up(run, reranker=minilm)
    reranker = tmp_path / "reranker"
    reranker.mkdir()
    (reranker / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    orders_again = str(reranker)
    assert "base + reranker" in line_up(run, reranker=orders_again)
    of_reranker = record(tmp_path / "other", base_model=orders_again)
    (of_reranker / "config.json").write_text((reranker / "config.json").read_text())
    assert "BM25 + reranker" in line_up(of_reranker, reranker=orders_again)
    assert "model + reranker" in line_up(of_reranker, others=[minilm], reranker=orders_again), "what embeds retrieves"
    with pytest.raises(UsageError, match="does not tell what it was trained from") as error:
        line_up(tmp_path)
    assert error.value.hint == "--base-model FOLDER_OR_NAME"
    assert trained_sizes(tmp_path) == ()
