import numpy as np
import pytest
from scipy.stats import binom

from labeling.prevalence import ShareEstimate, assisted_share, plain_share, prevalence
from store.audits import THRESHOLDS, Audit, AuditedPair

WORLDS, POPULATION, SIZE = 400, 600, 120
TOO_MANY = int(binom.ppf(0.999, WORLDS, 0.05))


def world(rng: np.random.Generator, *, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Return who is relevant, whole queries at a time, and what a judge of that skill (0 to 1) thinks of them."""
    relevant = np.repeat(rng.random(POPULATION // 6) < 0.4, 6)
    thought = np.clip(skill * relevant + (1 - skill) * rng.random(POPULATION), 0, 1)
    return relevant, thought


def estimates(skill: float, seed: int) -> tuple[list[float], list[ShareEstimate], list[ShareEstimate]]:
    rng = np.random.default_rng(seed)
    truth, plain, assisted = [], [], []
    for _ in range(WORLDS):
        relevant, thought = world(rng, skill=skill)
        drawn = rng.choice(POPULATION, SIZE, replace=False)
        truth.append(float(relevant.mean()))
        plain.append(plain_share(int(relevant[drawn].sum()), SIZE, POPULATION, confidence=0.95))
        found = assisted_share(
            list(relevant[drawn]), list(thought[drawn]), float(thought.mean()), POPULATION, confidence=0.95
        )
        assert found is not None
        assisted.append(found)
    return truth, plain, assisted


def missed(truth: list[float], found: list[ShareEstimate]) -> int:
    return sum(not one.low - 1e-12 <= share <= one.high + 1e-12 for share, one in zip(truth, found, strict=True))


def width(found: list[ShareEstimate]) -> float:
    return float(np.mean([one.high - one.low for one in found]))


@pytest.mark.parametrize("skill", [0.0, 0.3, 0.6])
def test_both_intervals_hold_the_truth_in_clustered_worlds_whatever_the_judge_is_worth(skill: float) -> None:
    truth, plain, assisted = estimates(skill, seed=1)
    assert missed(truth, plain) <= TOO_MANY
    assert missed(truth, assisted) <= TOO_MANY


def test_a_judge_that_trusts_itself_blindly_would_fail_the_same_test() -> None:
    """Broken: the judge's own mean, moved by nothing."""
    rng = np.random.default_rng(2)
    truth, believed = [], []
    for _ in range(WORLDS):
        relevant, thought = world(rng, skill=0.3)
        truth.append(float(relevant.mean()))
        reach = 1.96 * float(thought.std()) / SIZE**0.5
        believed.append(ShareEstimate(0.0, float(thought.mean()) - reach, float(thought.mean()) + reach))
    assert missed(truth, believed) > TOO_MANY


def test_a_good_judge_makes_the_interval_narrow_and_a_useless_one_does_no_harm() -> None:
    _, plain, good = estimates(0.6, seed=3)
    assert width(good) < 0.6 * width(plain)
    _, plain, useless = estimates(0.0, seed=3)
    assert width(useless) < 1.02 * width(plain)


def pairs(*, answered: bool = True) -> list[AuditedPair]:
    found = []
    for i in range(200):
        relevant = i % 4 == 0
        drawn = i < 80
        reviewed = drawn and (answered or i > 0)
        group = "promoted" if relevant else "negatives"
        role = ("positive" if relevant else "negative") if reviewed else None
        found.append(AuditedPair(f"pair_{i}", group, "judge", None, 0.0, drawn, reviewed, reviewed, role))
    return found


def test_the_prevalence_is_that_of_all_judged_pairs() -> None:
    found = prevalence(Audit("audit", THRESHOLDS, tuple(pairs()), ()), confidence=0.95)
    assert found is not None
    assert (found.pairs, found.reviews) == (200, 80)
    assert found.relevant.plain.value == 0.25
    assert found.relevant.plain.low < 0.25 < found.relevant.plain.high
    assert found.relevant.assisted is None, "the judge was never wrong, and nobody is sure of that"
    assert found.wrong.plain.value == found.wrong.plain.low == 0
    assert found.wrong.assisted is None, "there is no error to say anything by"


def test_how_often_the_judge_is_wrong_is_estimated_too_and_better_where_it_knows_its_doubts() -> None:
    rng = np.random.default_rng(4)
    judged = []
    for i in range(2000):
        sure = float(rng.choice([0.6, 0.95, 1.0]))
        role = "negative" if rng.random() < sure else "positive"
        drawn = i % 5 == 0
        said = role if drawn else None
        judged.append(AuditedPair(f"pair_{i}", "negatives", "judge", sure, 0.0, drawn, drawn, drawn, said))
    found = prevalence(Audit("audit", THRESHOLDS, tuple(judged), ()), confidence=0.95)
    assert found is not None
    plain, assisted, _ = found.wrong
    assert assisted is not None
    assert plain.low < 0.15 < plain.high
    assert assisted.low < 0.15 < assisted.high
    assert assisted.high - assisted.low < 0.9 * (plain.high - plain.low)


def test_there_is_none_while_answers_are_missing_or_where_one_kind_is_too_rare() -> None:
    assert prevalence(Audit("audit", THRESHOLDS, tuple(pairs(answered=False)), ()), confidence=0.95) is None
    assert prevalence(Audit("audit", THRESHOLDS, (), ()), confidence=0.95) is None
    assert assisted_share([True] * 4 + [False] * 90, [0.5] * 94, 0.5, 300, confidence=0.95) is None


@pytest.mark.parametrize("errors", [0, 1, 4])
def test_there_is_none_by_a_judge_whose_errors_the_sample_hardly_shows(errors: int) -> None:
    said = [True] * 20 + [False] * 60
    judged = [0.0] * errors + [float(one) for one in said[errors:]]
    assert assisted_share(said, judged, 0.27, 93, confidence=0.95) is None


def test_a_handful_of_errors_is_enough_for_an_interval() -> None:
    said = [True] * 20 + [False] * 60
    judged = [0.0] * 4 + [1.0] * 16 + [0.0] * 56 + [1.0] * 4
    found = assisted_share(said, judged, 0.25, 300, confidence=0.95)
    assert found is not None
    assert found.low < found.value < found.high
