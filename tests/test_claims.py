"""How often a gain is claimed where there is none, and the statistics behind that."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_evaluate import held_out
from train.compare import compared
from train.metrics import METRICS, NAMED_BEFOREHAND, Qrels, Run, highest, per_query
from train.statistics import holm, paired_bootstrap, sign_flip_p


def p_of(values: list[float], groups: list[str] | None = None) -> float:
    names = groups or [str(i) for i in range(len(values))]
    (p,) = sign_flip_p(np.array(values)[:, None], names, rng=np.random.default_rng(0))
    return p


def test_with_few_groups_every_way_to_flip_signs_is_gone_through() -> None:
    assert p_of([1, 1, 1, 1, 1]) == 2 / 32  # all heads or all tails
    assert p_of([3, 1]) == 2 / 4
    assert p_of([3, -1]) == 4 / 4  # 3 - 1 is reached or passed by each of +-3 +-1
    assert p_of([0, 0, 0]) == p_of([]) == 1
    assert p_of([1, 1, 1, 1], ["a", "a", "b", "b"]) == 2 / 4, "whole groups are flipped"


def test_with_many_groups_draws_stand_for_all_ways() -> None:
    # 20 coins, 15 of them heads: binom.test(15, 20)$p.value in R 4.3 is 0.04139
    assert p_of([1.0] * 15 + [-1.0] * 5) == pytest.approx(0.04139, abs=0.006)
    assert p_of([1.0] * 40) == 1 / 10_001


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_a_p_value_is_a_share_and_does_not_know_which_system_is_which(values: list[int]) -> None:
    p = p_of([float(v) for v in values])
    assert 0 < p <= 1
    assert p == p_of([float(-v) for v in values])


def test_holm_gives_the_published_values() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R 4.3
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def null_world(rng: np.random.Generator, kind: str, groups: int) -> tuple[np.ndarray, list[str]]:
    """Draw differences of three metrics that hang together, with true mean zero: 1 to 4 queries a group."""
    sizes = rng.integers(1, 5, groups)
    names = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    if kind == "normal":
        shared = np.repeat(rng.normal(size=groups), sizes)
        return shared[:, None] + rng.normal(size=(len(names), 3)), names
    hits = np.repeat(rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.7, 0.15], size=groups), sizes)
    return hits[:, None] * (rng.random((len(names), 3)) < 0.8), names


@pytest.mark.parametrize("kind", ["normal", "hits"])
@pytest.mark.parametrize("groups", [8, 15, 40])
def test_false_claims_are_no_more_than_the_nominal_rate(kind: str, groups: int) -> None:
    rng = np.random.default_rng(11)
    worlds, claims = 400, 0
    for _ in range(worlds):
        differences, names = null_world(rng, kind, groups)
        found = paired_bootstrap(differences, names, rng=np.random.default_rng(0), resamples=500)
        corrected = holm(sign_flip_p(differences, names, rng=np.random.default_rng(0), resamples=1000))
        pairs = zip(found, corrected, strict=True)
        claims += any(not one.verdict.startswith("no claim") and p <= 0.05 for one, p in pairs)
    # One or more of three claims is false in 5 % of all worlds at most; 400 worlds scatter by 1.1 %.
    assert claims / worlds <= 0.05 + 2 * 0.011


def test_without_the_correction_three_metrics_would_claim_too_much() -> None:
    rng = np.random.default_rng(11)
    claims = 0
    for _ in range(300):
        found = paired_bootstrap(*null_world(rng, "normal", 15), rng=np.random.default_rng(0), resamples=500)
        claims += any(not one.verdict.startswith("no claim") for one in found)
    assert claims / 300 > 0.08


def world(better: int, worse: int) -> tuple[Qrels, Run, Run]:
    """Make queries with one positive and one negative: base is wrong for the `better`, and right for the `worse`."""
    right, wrong = {"good": 1.0, "bad": 0.0}, {"good": 0.0, "bad": 1.0}
    queries = [f"q{i:02}" for i in range(better + worse)]
    base = {query: wrong if i < better else right for i, query in enumerate(queries)}
    tuned = {query: right if i < better else wrong for i, query in enumerate(queries)}
    return {query: {"good": 1, "bad": 0} for query in queries}, base, tuned


def verdicts(better: int, worse: int, named: tuple[str, ...] = NAMED_BEFOREHAND) -> dict[str, str]:
    qrels, base, tuned = world(better, worse)
    test = held_out(qrels, {"good": "", "bad": ""})
    ranking = compared(test, list(qrels), {"base": base, "tuned": tuned}, named=named, seed=0)
    return {metric.name: metric.differences["base"].verdict for metric in ranking.metrics}


def test_only_metrics_named_beforehand_are_claimed() -> None:
    found = verdicts(12, 0)
    assert {name for name, verdict in found.items() if verdict == "gain"} == set(NAMED_BEFOREHAND)
    assert found["Recall@5"] == "no claim (not named beforehand)"
    other = verdicts(12, 0, named=("MRR@10",))
    assert [name for name, verdict in other.items() if verdict == "gain"] == ["MRR@10"]


def test_a_claim_that_does_not_survive_the_correction_says_so() -> None:
    # 6 of 6 groups point one way: p = 2 / 64 alone, three times that among three metrics.
    assert verdicts(6, 0, named=("MRR@10",))["MRR@10"] == "gain"
    assert verdicts(6, 0)["MRR@10"] == "no claim (p = 0.09 after correction for 3 metrics)"
    assert verdicts(0, 12)["nDCG@10"] == "loss"


def test_a_query_for_which_nothing_is_found_counts_as_zero() -> None:
    qrels = {"found": {"a": 1}, "not": {"a": 1}}
    assert per_query(qrels, {"found": {"a": 1.0}, "not": {}}, ["found", "not"])[:, [0, -2, -1]].tolist() == [
        [1, 1, 1],
        [0, 0, 1],
    ]
    assert per_query(qrels, {"not": {}}, ["not"])[0, -1] == 1
    assert per_query(qrels, {}, []).shape == (0, len(METRICS) + 1)


def test_grades_count_for_ndcg_only() -> None:
    run = {"q": {"fair": 0.9, "best": 0.8, "poor": 0.7}}
    qrels = {"q": {"best": 1, "fair": 1, "poor": 0}}
    grades = {"q": {"best": 3, "fair": 2, "poor": 1}}
    plain = dict(zip(METRICS, per_query(qrels, run, ["q"])[0], strict=False))
    graded = dict(zip(METRICS, per_query(qrels, run, ["q"], grades)[0], strict=False))
    gained = 2 / 1 + 3 / math.log2(3) + 1 / 2
    ideal = 3 / 1 + 2 / math.log2(3) + 1 / 2
    assert plain["nDCG@10"] == 1
    assert graded["nDCG@10"] == pytest.approx(gained / ideal)
    assert {**plain, "nDCG@10": 0} == {**graded, "nDCG@10": 0}


@given(
    st.lists(st.sampled_from(["relevant", "not", "unknown"]), min_size=1, max_size=7),
    st.integers(0, 2),
    st.sampled_from([1, 3]),
)
def test_nothing_that_the_unlabelled_may_turn_out_to_be_exceeds_the_bound(
    told: list[str], missed: int, of_one_score: int
) -> None:
    run = {"q": {f"c{i}": float(-(i // of_one_score)) for i in range(len(told))}}
    labels = {f"c{i}": int(one == "relevant") for i, one in enumerate(told) if one != "unknown"}
    labels |= {f"missed{i}": 1 for i in range(missed)}
    if not any(labels.values()):
        labels["missed"] = 1
    most = highest({"q": labels}, run, ["q"])[0]
    unknown = [f"c{i}" for i, one in enumerate(told) if one == "unknown"]
    for pattern in range(2 ** len(unknown)):
        truth = labels | {chunk: pattern >> i & 1 for i, chunk in enumerate(unknown)}
        assert (per_query({"q": truth}, run, ["q"])[0, :-1] <= most + 1e-9).all()
    if not unknown:
        assert most == pytest.approx(per_query({"q": labels}, run, ["q"])[0, :-1])
