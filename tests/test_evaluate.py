import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from store.builds import build_labels
from store.database import Store
from store.errors import MissingError
from store.ids import chunk_id
from store.policies import add_policy
from store.progress import silent
from tests.labelled_store import POLICY, distinct, fill, judge, log, question, review
from train import trainer
from train.evaluate import compare, evaluate
from train.evaluation import Evaluation, Ranking
from train.held_out import HeldOut, read_held_out
from train.metrics import METRICS, per_query
from train.models import load_model
from train.ranking import rank_with_all
from train.recipe import Recipe
from train.rows import read_training_split
from train.statistics import MIN_CHANGED_GROUPS, Difference, clopper_pearson, paired_bootstrap
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


# Statistics


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (5, 20, 0.0865715, 0.4910459),  # R 4.3: binom.test(5, 20)$conf.int
        (0, 59, 0.0, 1 - 0.025 ** (1 / 59)),  # closed form without successes
        (7, 7, 0.025 ** (1 / 7), 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_clopper_pearson_gives_the_exact_interval(successes: int, trials: int, low: float, high: float) -> None:
    share = clopper_pearson(successes, trials)
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-6)
    assert share.value == successes / trials if trials else math.isnan(share.value)


@pytest.mark.parametrize("trials", [5, 20, 60])
def test_clopper_pearson_covers_every_true_share_as_often_as_it_says(trials: int) -> None:
    intervals = [clopper_pearson(k, trials) for k in range(trials + 1)]
    for true in np.linspace(0.01, 0.99, 99):
        covered = [k for k, interval in enumerate(intervals) if interval.low <= true <= interval.high]
        assert binom.pmf(covered, trials, true).sum() >= 0.95


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        clopper_pearson(3, 2)


def clustered(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, list[str]]:
    """Draw differences with true mean zero: 1 to 4 queries a group, alike within it."""
    sizes = rng.integers(1, 5, groups)
    values = np.concatenate([rng.normal() + rng.normal(size=size) for size in sizes])
    return values[:, None], [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("groups", [12, 40])
def test_the_bootstrap_covers_the_true_difference_about_as_often_as_it_says(groups: int) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        (found,) = paired_bootstrap(*clustered(rng, groups), rng=rng, resamples=1000)
        covered += found.low <= 0 <= found.high
    # 400 trials at 95 % scatter by 1.1 %; a dozen groups of unequal size cost some coverage.
    assert 0.90 <= covered / 400 <= 0.98


def test_ignoring_the_groups_would_claim_too_much() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        values, groups = clustered(rng, 40)
        (found,) = paired_bootstrap(values, [str(i) for i in range(len(groups))], rng=rng, resamples=1000)
        covered += found.low <= 0 <= found.high
    assert covered / 300 < 0.90


@pytest.mark.parametrize("queries", [8, 18, 40])
@pytest.mark.parametrize("changing", [0.1, 0.3])
def test_hits_that_move_by_chance_are_seldom_called_a_gain_or_a_loss(queries: int, changing: float) -> None:
    rng = np.random.default_rng(7)
    groups = [str(i) for i in range(queries)]
    claims = 0
    for _ in range(300):
        moved = rng.choice([-1.0, 0.0, 1.0], p=[changing / 2, 1 - changing, changing / 2], size=(queries, 1))
        (found,) = paired_bootstrap(moved, groups, rng=rng, resamples=1000)
        claims += not found.verdict.startswith("no claim")
    assert claims / 300 <= 0.07


def test_the_bootstrap_is_paired_repeatable_and_blind_to_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, size=(30, 2))
    groups = [f"g{i % 11}" for i in range(30)]
    first = paired_bootstrap(values, groups, rng=np.random.default_rng(1))
    assert first == paired_bootstrap(values, groups, rng=np.random.default_rng(1))
    order = rng.permutation(30)
    shuffled = paired_bootstrap(values[order], [groups[i] for i in order], rng=np.random.default_rng(1))
    for one, two in zip(first, shuffled, strict=True):
        assert one == pytest.approx(two)
        assert one.low < one.value < one.high
        assert one.groups == 11
    moved = paired_bootstrap(values + 1, groups, rng=np.random.default_rng(1))
    assert moved[0].low == pytest.approx(first[0].low + 1)


def test_many_groups_are_resampled_in_parts_without_changing_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.statistics._CELLS", 100)
    values = np.random.default_rng(0).normal(size=(30, 1))
    (found,) = paired_bootstrap(values, [str(i) for i in range(30)], rng=np.random.default_rng(1), resamples=999)
    assert found.low < found.value < found.high


@given(st.integers(0, 12), st.integers(0, 12))
def test_no_claim_is_made_where_the_interval_spans_zero_or_few_differ(better: int, worse: int) -> None:
    values = np.array([[1.0]] * better + [[-1.0]] * worse + [[0.0]] * 5)
    groups = [str(i) for i in range(len(values))]
    (found,) = paired_bootstrap(values, groups, rng=np.random.default_rng(0), resamples=500)
    if found.low <= 0 <= found.high or better + worse < MIN_CHANGED_GROUPS:
        assert found.verdict.startswith("no claim (")
    else:
        assert found.verdict == ("gain" if better > worse else "loss")
    if better == worse:
        assert found.verdict.startswith("no claim (")


def test_verdicts_say_why_there_is_no_claim() -> None:
    assert Difference(0.1, 0.01, 0.2, 20, 9).verdict == "gain"
    assert Difference(-0.1, -0.2, -0.01, 20, 9).verdict == "loss"
    assert Difference(0.1, 0.0, 0.2, 20, 9).verdict == "no claim (interval spans zero)"
    assert Difference(0.1, 0.01, 0.2, 20, 5).verdict == "no claim (only 5 of 20 query groups differ)"
    assert Difference(0.1, math.nan, math.nan, 1, 1).verdict == "no claim (too few queries for an interval)"
    (one,) = paired_bootstrap(np.array([[0.5]]), ["g"], rng=np.random.default_rng(0))
    assert (one.value, one.verdict) == (0.5, "no claim (too few queries for an interval)")
    (none,) = paired_bootstrap(np.zeros((0, 1)), [], rng=np.random.default_rng(0))
    assert math.isnan(none.value)


# Metrics


def test_the_metrics_are_those_of_the_definitions() -> None:
    # Ranking: c0 (no label), c1 (relevant), c2 (not), c3 (relevant); c4 is relevant and not retrieved.
    run = {"q": {"c0": 0.9, "c1": 0.8, "c2": 0.7, "c3": 0.6}, "r": {"c1": 0.9}}
    qrels = {"q": {"c1": 1, "c2": 0, "c3": 1, "c4": 1}, "r": {"c5": 1}}
    found = per_query(qrels, run, ["q", "r"])
    dcg, ideal = 1 / math.log2(3) + 1 / math.log2(5), 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert list(METRICS) == [
        *("Accuracy@1", "Accuracy@3", "Precision@5", "Precision@10", "Recall@5", "Recall@10", "MRR@10", "nDCG@10"),
    ]
    assert found[0] == pytest.approx([0, 1, 2 / 5, 2 / 10, 2 / 3, 2 / 3, 1 / 2, dcg / ideal, 3 / 4])
    assert found[1] == pytest.approx([0] * 9)


def held_out(qrels: Mapping[str, Mapping[str, int]], pool: Mapping[str, str], human_labels: int = 0) -> HeldOut:
    queries = {query: query for query in qrels}
    return HeldOut("build_1", queries, queries, qrels, pool, human_labels)


def test_chunks_are_ranked_by_cosine_and_only_labelled_ones_in_the_headline(minilm: str) -> None:
    texts = [
        "cats purr",
        "dogs bark",
        "stocks fell",
        "a recipe for bread",
        "the moon",
        "rain",
        *map(distinct, "abcdef"),
    ]
    pool = {f"c{i:02}": text for i, text in enumerate(texts)}
    test = held_out({"which animals make noise?": {"c02": 0, "c01": 1}}, pool)
    ranked = rank_with_all(test, list(test.queries), [minilm], silent)[minilm]
    model = load_model(minilm)
    similar = model.similarity(model.encode(list(test.queries)), model.encode(texts))[0].tolist()
    expected = dict(zip(pool, similar, strict=True))
    best = sorted(expected, key=lambda chunk: -expected[chunk])
    (collection,), (labelled,) = ranked.collection.values(), ranked.labelled.values()
    assert sorted(collection, key=lambda chunk: -collection[chunk]) == best
    assert collection == pytest.approx({chunk: expected[chunk] for chunk in best}, abs=1e-5)
    assert labelled == pytest.approx({chunk: expected[chunk] for chunk in ("c01", "c02")}, abs=1e-5)


def test_a_model_is_no_better_than_itself(minilm: str) -> None:
    pool = {f"c{i}": distinct("c", i) for i in range(30)}
    qrels = {f"ask {i}": {f"c{i}": 1, f"c{i + 1}": 0, f"c{i + 2}": 0} for i in range(12)}
    found = compare(held_out(qrels, pool, 30), {"base": minilm, "tuned": minilm})
    assert found.human_share == 30 / 36
    assert (found.labelled.queries, found.labelled.groups, found.pool) == (12, 12, 30)
    for ranking in (found.labelled, found.collection):
        for metric in ranking.metrics:
            assert metric.values["base"] == metric.values["tuned"]
            difference = metric.differences["base"]
            assert (difference.value, difference.low, difference.high, difference.changed) == (0, 0, 0, 0)
            assert difference.p == 1
            assert difference.verdict.startswith("no claim")
    assert found.labelled.judged == {"base": 1, "tuned": 1}
    judged = found.collection.judged["base"]
    assert judged is not None
    assert judged <= 3 / 10


def test_queries_count_where_their_labels_can_tell(minilm: str) -> None:
    pool = {f"c{i}": distinct("c", i) for i in range(4)}
    qrels = {"both": {"c0": 1, "c1": 0}, "only good": {"c2": 1}, "only bad": {"c3": 0}}
    found = compare(held_out(qrels, pool), {"base": minilm})
    assert (found.labelled.queries, found.collection.queries, found.left_out, found.labels) == (1, 2, 1, 4)
    assert all(metric.differences == {} for metric in found.labelled.metrics)


def test_without_a_contested_query_the_headline_is_empty_and_not_perfect(minilm: str) -> None:
    found = compare(held_out({"only good": {"c0": 1}}, {"c0": "text"}), {"base": minilm, "tuned": minilm})
    assert found.labelled.queries == 0
    assert all(metric.values["base"] is None for metric in found.labelled.metrics)
    assert all(metric.differences["base"].verdict.startswith("no claim") for metric in found.labelled.metrics)
    assert found.collection.queries == 1


# From a store


def test_the_held_out_part_is_the_test_split_and_what_has_no_label_is_absent(store: Store) -> None:
    policy = fill(store, 10)
    for i in range(10):
        unlabelled, judged = distinct("unlabelled", i), distinct("judged", i)
        log(store, question(i), [unlabelled, judged])
        judge(store, question(i), {judged: "no"})
    result = build(store, policy, judge_labels=True, uncertified=True)
    test = read_held_out(store, result.build)
    rows = [row for row in build_labels(store, result.build.build_id).to_pylist() if row["split"] == "test"]
    assert test.qrels == {
        query: {row["chunk_id"]: int(row["role"] == "positive") for row in rows if row["anchor_id"] == query}
        for query in {row["anchor_id"] for row in rows}
    }
    assert test.human_labels == 4 * len(test.queries) == 12
    assert len(test.pool) == 10 * 6
    assert all(chunk_id(text) == name for name, text in test.pool.items())


def test_a_small_pool_holds_every_labelled_chunk_and_the_same_others_each_time(store: Store) -> None:
    result = build(store, fill(store, 10))
    needed = set().union(*read_held_out(store, result.build).qrels.values())
    smallest = read_held_out(store, result.build, pool_size=1)
    assert set(smallest.pool) == needed
    larger = read_held_out(store, result.build, pool_size=len(needed) + 5)
    assert len(larger.pool) == len(needed) + 5
    assert set(larger.pool) > needed
    assert larger == read_held_out(store, result.build, pool_size=len(needed) + 5)


def test_without_a_test_split_or_a_model_the_next_command_is_named(store: Store, minilm: str) -> None:
    policy = fill(store, 4)
    with pytest.raises(MissingError, match="holds back no query") as error:
        evaluate(store, build(store, policy, test_share=0).build, {"base": minilm})
    assert error.value.hint == f"uncited build --policy {policy.name} --test-share 0.3"
    with pytest.raises(MissingError, match="no model at 'nowhere'") as error:
        evaluate(store, build(store, policy).build, {"base": minilm, "tuned": "nowhere"})
    assert "--base-model" not in str(error.value.hint), "it may have been given by any option"


# Both controls: what can be learned is found to be, what cannot is not claimed

_NAMED = (
    "coffee tea rain snow jazz opera chess football gardening cooking hiking swimming painting poetry mathematics"
    " history cats dogs trains bicycles mountains beaches cities forests museums theatre films novels comics puzzles"
    " bread cheese chocolate apples oranges soup salad pasta curry honey"
)
THINGS = _NAMED.split()


def moods(store: Store, *, shuffled: bool = False) -> None:
    """Log a policy under which the same mood is similar and the same thing is not; a base model has it backwards.

    Shuffled, the labels of half the queries are the other way round, so there is nothing to learn.
    """
    add_policy(store, POLICY)
    for i, thing in enumerate(THINGS):
        other = THINGS[(i + 7) % len(THINGS)]
        liked, disliked = f"I love {thing}", f"I hate {thing}"
        query = liked if i % 2 else disliked
        same_mood = f"{other} is {'wonderful' if i % 2 else 'terrible'}"
        same_thing = f"{thing} is {'terrible' if i % 2 else 'wonderful'}"
        if shuffled and i % 4 < 2:
            same_mood, same_thing = same_thing, same_mood
        log(store, query, [same_thing, same_mood], cited=[same_mood])
        review(store, query, {same_mood: "yes", same_thing: "no"})


def tuned(store: Store, minilm: str, out: Path) -> tuple[Evaluation, dict[str, str]]:
    result = build(store, POLICY, test_share=0.5)
    recipe = Recipe(base_model=minilm, batch_size=10, epochs=8, learning_rate=2e-4)
    trained = trainer.train(read_training_split(store, result.build), recipe, out=out)
    models = {"base": minilm, "tuned": str(trained.model)}
    found = evaluate(store, result.build, models)
    return found, {metric.name: metric.differences["base"].verdict for metric in found.labelled.metrics}


def value(ranking: Ranking, metric: str, system: str) -> float:
    found = ranking.metric(metric).values[system]
    assert found is not None
    return found


def test_what_can_be_learned_is_found_to_be_a_gain(store: Store, minilm: str, tmp_path: Path) -> None:
    moods(store)
    found, verdicts = tuned(store, minilm, tmp_path / "model")
    assert value(found.labelled, "Accuracy@1", "base") < 0.2
    assert value(found.labelled, "Accuracy@1", "tuned") > 0.8
    assert verdicts["Accuracy@1"] == verdicts["MRR@10"] == verdicts["nDCG@10"] == "gain"
    assert found.human_share == 1


@pytest.mark.slow
def test_where_there_is_nothing_to_learn_nothing_is_claimed(store: Store, minilm: str, tmp_path: Path) -> None:
    moods(store, shuffled=True)
    found, verdicts = tuned(store, minilm, tmp_path / "model")
    assert all(verdict.startswith("no claim") for verdict in verdicts.values()), found
