import json
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.calibration import calibrate, curve, equal_mass_bins
from labeling.judge_calibration import calibrate_judges, calibrated_relevance, draw
from labeling.judge_quality import Verdicts, claim, gain, quality, relevance
from labeling.judgment_history import pair_history
from labeling.query_bootstrap import Estimate
from store.database import Store
from store.errors import MissingError, UsageError
from store.judgment_history import find_pair
from store.judgments import Judgment, add_judge, add_judgments
from store.policies import Policy, add_policy
from store.reviews import Review, add_reviews
from tests.labelled_store import POLICY, START, distinct, log, pair, question


def sigmoid(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-score))


def simulated(
    seed: int, says: Callable[[np.ndarray], np.ndarray], *, pairs: int = 500, queries: int = 60
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A judge that sees the true log-odds of relevance, which cluster by query, and says `says` of them."""
    rng = np.random.default_rng(seed)
    member = rng.integers(0, queries, pairs)
    score = rng.normal(0, 1.5, pairs) + rng.normal(0, 0.8, queries)[member]
    return says(score), rng.random(pairs) < sigmoid(score), [f"q{query}" for query in member]


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    assert estimate.value is not None
    return estimate.value


@pytest.mark.parametrize(
    "says",
    [
        lambda s: sigmoid(3 * s),
        lambda s: sigmoid(s + 2),
        lambda s: np.round(sigmoid(4 * s), 1),
        lambda s: sigmoid(s) ** 4,
    ],
    ids=["overconfident", "lenient", "in steps", "harsh"],
)
def test_a_miscalibrated_judge_becomes_calibrated(says: Callable[[np.ndarray], np.ndarray]) -> None:
    found = calibrate(*simulated(1, says), rng=np.random.default_rng(0))
    assert found.recalibration.method in ("logistic", "isotonic"), found.reason
    assert value(found.ece) > 0.1
    assert value(found.ece_after) < value(found.ece) / 2
    assert value(found.brier_after) < value(found.brier)
    fresh_says, fresh_truth, _ = simulated(2, says, pairs=5000)
    mapped = found.recalibration(fresh_says)
    gaps = [abs(b.predicted - b.relevant) for b in curve(mapped, fresh_truth)]
    assert np.mean(gaps) < 0.06, "what it learned holds for pairs that it never saw"


def test_a_calibrated_judge_is_left_alone() -> None:
    methods = [
        calibrate(*simulated(seed, sigmoid), rng=np.random.default_rng(0)).recalibration.method for seed in range(20)
    ]
    assert methods.count("as it is") >= 19


def test_an_uninformative_judge_is_pulled_to_the_base_rate() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(600) < 0.3
    found = calibrate(rng.random(600), truth, [f"q{n % 60}" for n in range(600)], rng=rng)
    mapped = found.recalibration(np.array([0.05, 0.5, 0.95]))
    assert np.all(np.abs(mapped - 0.3) < 0.12), mapped


def test_too_few_reviews_change_nothing_and_say_so() -> None:
    said, truth, queries = simulated(1, lambda s: sigmoid(s + 3), pairs=30)
    found = calibrate(said, truth, queries, rng=np.random.default_rng(0))
    assert found.recalibration.method == "as it is"
    assert "too few" in found.reason
    assert found.ece_after is None
    one_answer = calibrate([0.5] * 100, [True] * 100, [f"q{n}" for n in range(100)], rng=np.random.default_rng(0))
    assert "one answer only" in one_answer.reason


def test_brier_and_calibration_error_are_those_of_the_textbook() -> None:
    said = [0.2] * 30 + [0.8] * 30
    truth = [True] * 9 + [False] * 21 + [True] * 18 + [False] * 12  # 30 % and 60 %
    found = calibrate(said, truth, [str(n) for n in range(60)], rng=np.random.default_rng(0))
    assert value(found.brier) == pytest.approx((9 * 0.64 + 21 * 0.04 + 18 * 0.04 + 12 * 0.64) / 60)
    assert value(found.ece) == pytest.approx((0.1 + 0.2) / 2)
    assert [(b.pairs, b.relevant) for b in found.curve] == [(30, 0.3), (30, 0.6)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_bins_are_of_like_mass_and_never_part_equal_probabilities(said: list[float]) -> None:
    bins = equal_mass_bins(np.array(said))
    by_value: dict[float, set[int]] = {}
    for probability, member in zip(said, bins, strict=True):
        by_value.setdefault(probability, set()).add(int(member))
    assert all(len(members) == 1 for members in by_value.values())
    assert set(bins) == set(range(max(bins) + 1))
    if len(set(said)) == len(said):
        assert max(np.bincount(bins)) <= max(2 * 15, math.ceil(len(said) / 10) + 1)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_auc_counts_ties_as_half(rows: list[tuple[int, bool, int]]) -> None:
    scores, relevant = [row[0] / 4 for row in rows], [row[1] for row in rows]
    labels = ["yes" if r else "no" for r in relevant]
    found = quality(
        Verdicts([str(row[2]) for row in rows], labels, labels, relevant, scores),
        rng=np.random.default_rng(0),
        resamples=10,
    )
    good = [s for s, r in zip(scores, relevant, strict=True) if r]
    bad = [s for s, r in zip(scores, relevant, strict=True) if not r]
    if good and bad:
        wins = sum((g > b) + (g == b) / 2 for g in good for b in bad)
        assert found.auc.value == pytest.approx(wins / (len(good) * len(bad)))
        assert found.kappa.value == 1
    else:
        assert found.auc.value is None


def test_kappa_is_cohens() -> None:
    # Cohen's table with agreement .7 and chance .5: kappa = .4
    human = ["a"] * 25 + ["b"] * 25
    judged = ["a"] * 20 + ["b"] * 5 + ["a"] * 10 + ["b"] * 15
    truth = [label == "a" for label in human]
    verdicts = Verdicts([str(n) for n in range(50)], human, judged, truth, [float(label == "a") for label in judged])
    found = quality(verdicts, rng=np.random.default_rng(0))
    assert found.agreement.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low is not None
    assert found.kappa.low < 0.4 < (found.kappa.high or 0)


def test_no_gain_is_claimed_where_the_interval_spans_zero() -> None:
    rng = np.random.default_rng(5)
    truth = list(rng.random(300) < 0.5)
    human = ["yes" if t else "no" for t in truth]
    queries = [f"q{n % 30}" for n in range(300)]

    def judge(error_rate: float) -> Verdicts:
        wrong = rng.random(300) < error_rate
        judged = ["yes" if t != w else "no" for t, w in zip(truth, wrong, strict=True)]
        return Verdicts(queries, human, judged, truth, [float(label == "yes") for label in judged])

    good, same, bad = judge(0.2), judge(0.2), judge(0.4)
    assert claim(gain(good, bad, rng=rng).agreement) == "better"
    assert claim(gain(bad, good, rng=rng).auc) == "worse"
    assert claim(gain(good, same, rng=rng).kappa).startswith("no claim")
    with pytest.raises(ValueError, match="same pairs"):
        gain(good, Verdicts(["q"], ["yes"], ["yes"], [True], [1.0]), rng=rng)


def test_relevance_reads_a_label_by_its_role() -> None:
    assert relevance(POLICY, "yes", 0.9) == 0.9
    assert relevance(POLICY, "no", 0.9) == pytest.approx(0.1)
    assert relevance(POLICY, "spam", 0.9) == relevance(POLICY, "unsure", None) == 0.5
    assert relevance(POLICY, "no", None) == 0


def reviewed_and_judged(store: Store, *, queries: int = 40, lean: float = 2.0, stream: str = "audit") -> Policy:
    """A judge whose confidence leans towards yes by `lean`, and people who know."""
    policy, _ = add_policy(store, POLICY)
    judge_id = add_judge(store, {"model": "lenient"})
    rng = np.random.default_rng(0)
    for number in range(queries):
        query = question(number)
        chunks = [distinct(f"chunk{n}of", number) for n in range(5)]
        log(store, query, chunks, cited=chunks[:1])
        judgments, reviews = [], []
        for chunk in chunks:
            score = rng.normal(0, 1.5)
            says = float(sigmoid(np.array(score + lean)))
            common = {"pair_id": pair(query, chunk), "labelling_fingerprint": policy.labelling_fingerprint}
            judgments.append(
                Judgment(
                    **common,
                    judge_id=judge_id,
                    prompt_id="p",
                    judged_at=START,
                    label="yes" if says > 0.5 else "no",
                    confidence=max(says, 1 - says),
                )
            )
            truth = "yes" if rng.random() < sigmoid(np.array(score)) else "no"
            reviews.append(
                Review(
                    **common,
                    reviewer="ann",
                    status="submitted",
                    label=truth,
                    stream=stream,
                    reviewed_at=START + timedelta(minutes=1),
                    origin="test",
                )
            )
        add_judgments(store, judgments)
        add_reviews(store, reviews)
    return policy


def test_a_judges_map_is_stored_with_its_fingerprint_and_found_again(store: Store, tmp_path: Path) -> None:
    policy = reviewed_and_judged(store)
    (done,) = calibrate_judges(store, policy, rng=np.random.default_rng(0))
    assert done.calibration.recalibration.method != "as it is"
    assert done.confidence == "the endpoint's probabilities"
    assert done.reviews.startswith("200 blind reviews")
    again = calibrate_judges(store, policy, rng=np.random.default_rng(0))
    assert again == [done], "the same reviews give the same map"
    assert store.count("SELECT count(*) FROM calibrations") == 1
    worth = calibrated_relevance(store, policy, done.judge_id)
    assert worth is not None
    assert worth("yes", 0.88) == pytest.approx(0.5, abs=0.12), (
        "said with a lean of two logits, it is worth about a half"
    )
    assert worth("no", 0.12) == worth("yes", 0.88)
    assert worth("spam", 0.9) is None
    assert worth("yes", None) is None
    assert calibrated_relevance(store, policy, "judge_other") is None
    shown = pair_history(store, find_pair(store, pair(question(0), distinct("chunk0of", 0)))).judgments[0]
    assert shown["relevance"] == worth(str(shown["label"]), float(str(shown["confidence"])))
    draw([done], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    draw([done], tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    with pytest.raises(UsageError, match="png"):
        draw([done], tmp_path / "curve.xyz")
    stored = store.scalar("SELECT report FROM calibrations")
    assert json.loads(str(stored))["pairs"] == 200


def test_reviews_with_a_suggestion_count_only_while_blind_ones_are_few(store: Store) -> None:
    policy = reviewed_and_judged(store, queries=10, stream="targeted")
    (done,) = calibrate_judges(store, policy, rng=np.random.default_rng(0))
    assert "0 of them blind" in done.reviews
    assert done.calibration.pairs == 50


def test_calibration_without_reviews_says_what_to_do(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    with pytest.raises(MissingError) as error:
        calibrate_judges(store, policy, rng=np.random.default_rng(0))
    assert error.value.hint is not None
    assert "review push" in error.value.hint
