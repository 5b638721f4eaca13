"""Agreement: published figures, what must not matter, what cannot be told, and how often intervals hold."""

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.agreement import Agreement, measure
from labeling.query_bootstrap import Estimate

Row = tuple[str, str, str, str]  # query, pair, reviewer, label


def _measure(rows: Sequence[Row], *, resamples: int = 50, seed: int = 0, scale: Sequence[str] = ()) -> Agreement:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]
    return measure(*columns, rng=np.random.default_rng(seed), resamples=resamples, scale=scale)


def _values(found: Agreement) -> dict[str, float | None]:
    return {name: estimate.value for name, estimate in found.coefficients.items()}


def _by_rater(answers: Mapping[str, str]) -> list[Row]:
    """Rows of raters' answers to pairs 0, 1, ...; a dot is a missing one."""
    return [
        (f"q{place}", f"p{place}", rater, label)
        for rater, labels in answers.items()
        for place, label in enumerate(labels)
        if label != "."
    ]


def _by_counts(table: Sequence[Sequence[int]]) -> list[Row]:
    """Rows of a table pairs x labels that says how many raters gave the label."""
    return [
        (f"q{place}", f"p{place}", f"r{rater}", f"label {label}")
        for place, counts in enumerate(table)
        for rater, label in enumerate(label for label, count in enumerate(counts) for _ in range(count))
    ]


def _two_raters(square: Sequence[Sequence[int]]) -> list[Row]:
    """Rows of a table: how often the one said the label of the row and the other that of the column."""
    both = [(a, b) for a, row in enumerate(square) for b, count in enumerate(row) for _ in range(count)]
    return [
        (f"q{place}", f"p{place}", who, f"label {label}")
        for place, labels in enumerate(both)
        for who, label in zip(("ann", "bob"), labels, strict=True)
    ]


# Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, example C: four observers, twelve units.
KRIPPENDORFF = {"a": "123321412...", "b": "1233224125.3", "c": ".3332342251.", "d": "12332441251."}


def test_krippendorffs_own_data_with_missing_values() -> None:
    found = _measure(_by_rater(KRIPPENDORFF))
    assert found.coefficients["Krippendorff's alpha"].value == pytest.approx(0.743, abs=5e-4)
    assert found.coefficients["raw agreement"].value == pytest.approx(0.818, abs=5e-4)
    assert (found.pairs, found.single, found.answers) == (11, 1, 40)


def _ordinal(rows: Sequence[Row], scale: Sequence[str]) -> Estimate:
    return _measure(rows, scale=scale).coefficients["Krippendorff's alpha, ordinal"]


def test_krippendorffs_own_data_on_an_ordered_scale() -> None:
    rows = _by_rater(KRIPPENDORFF)
    scale = sorted({label for *_, label in rows})
    assert _ordinal(rows, scale).value == pytest.approx(0.815, abs=5e-4)
    assert _ordinal(rows, scale[::-1]).value == pytest.approx(_ordinal(rows, scale).value)
    assert "Krippendorff's alpha, ordinal" not in _measure(rows).coefficients


def test_answers_that_are_no_grade_have_no_place_on_the_scale() -> None:
    rows = _by_rater(KRIPPENDORFF)
    scale = sorted({label for *_, label in rows})
    unsure = [(f"u{n}", f"u{n}", who, "unsure") for n in range(9) for who in ("a", "b")]
    unsure += [(f"v{n}", f"v{n}", who, label) for n in range(9) for who, label in (("a", "unsure"), ("b", scale[0]))]
    assert _ordinal(rows + unsure, scale).value == pytest.approx(_ordinal(rows, scale).value)


def test_neighbours_on_a_scale_disagree_less_than_its_ends() -> None:
    def _pairs(other: str) -> list[Row]:
        both = [("none", "none"), ("some", "some"), ("all", "all")] * 10 + [("none", other)] * 6
        return [
            (f"q{n}", f"p{n}", who, label) for n, two in enumerate(both) for who, label in zip("ab", two, strict=True)
        ]

    near, far = (_ordinal(_pairs(other), ("none", "some", "all")) for other in ("some", "all"))
    assert far.value < near.value < 1
    assert near.low is not None
    assert near.low <= near.value <= near.high


# Fleiss 1971, table 1: thirty patients, six psychiatrists each, five diagnoses.
FLEISS_1971 = (
    (0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0), (2, 0, 4, 0, 0),
    (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6), (1, 0, 0, 5, 0), (1, 1, 0, 4, 0),
    (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1), (0, 0, 5, 0, 1), (3, 0, 0, 1, 2), (5, 1, 0, 0, 0),
    (0, 2, 0, 4, 0), (1, 0, 2, 0, 3), (0, 0, 0, 0, 6), (0, 1, 0, 5, 0), (0, 2, 0, 1, 3), (2, 0, 0, 4, 0),
    (1, 0, 0, 4, 1), (0, 5, 0, 1, 0), (4, 0, 0, 0, 2), (0, 2, 0, 4, 0), (1, 0, 5, 0, 0), (0, 0, 0, 0, 6),
)  # fmt: skip


def test_fleiss_own_data() -> None:
    found = _measure(_by_counts(FLEISS_1971))
    assert found.coefficients["Fleiss' kappa"].value == pytest.approx(0.430, abs=5e-4)
    assert found.coefficients["raw agreement"].value == pytest.approx(0.5556, abs=5e-4)
    # The paper's kappa of a diagnosis is its specific agreement beyond its share of all diagnoses.
    kappas = []
    for label, (answers, agreement) in sorted(found.labels.items()):
        share = answers / found.answers
        assert agreement.value is not None, label
        kappas.append((agreement.value - share) / (1 - share))
    assert kappas == pytest.approx([0.245, 0.245, 0.520, 0.471, 0.566], abs=5e-4)


@pytest.mark.parametrize(
    ("square", "kappa"),
    [
        (((25, 13, 12), (12, 2, 16), (3, 15, 2)), -0.092),  # Cohen 1960, table 1, in percent
        (((20, 5), (10, 15)), 0.4),  # by hand: (0.7 - 0.5) / (1 - 0.5)
        (((118, 5), (2, 0)), -0.0234),  # Gwet 2008
    ],
)
def test_cohens_kappa_of_two_reviewers(square: Sequence[Sequence[int]], kappa: float) -> None:
    found = _measure(_two_raters(square))
    assert found.coefficients["Cohen's kappa"].value == pytest.approx(kappa, abs=5e-4)
    for reviewer in ("ann", "bob"):  # against the only other one it is the same thing
        assert found.reviewers[reviewer].kappa.value == pytest.approx(kappa, abs=5e-4)


def test_gwets_own_data_where_kappa_fails_though_nearly_all_agree() -> None:
    found = _values(_measure(_two_raters(((118, 5), (2, 0)))))
    assert found["raw agreement"] == pytest.approx(0.944)
    assert found["Gwet's AC1"] == pytest.approx(0.9408, abs=5e-4)


# ------------------------------------------------------------------------------------------------ what must not matter

_labels = st.sampled_from(["yes", "no", "unsure"])
_reviews = st.dictionaries(
    st.tuples(st.integers(0, 11), st.sampled_from("abcd")), _labels, min_size=1, max_size=40
).map(lambda given: [(f"q{pair // 2}", f"p{pair}", who, label) for (pair, who), label in given.items()])


def _same(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> bool:
    return one.keys() == other.keys() and all(
        (a is None and b is None) or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-12))
        for a, b in ((one[name], other[name]) for name in one)
    )


@settings(deadline=None, max_examples=60)
@given(_reviews, st.permutations(["yes", "no", "unsure"]), st.permutations("abcd"), st.randoms())
def test_names_of_labels_and_reviewers_and_the_order_of_answers_do_not_matter(
    rows: list[Row], labels: list[str], people: list[str], random: object
) -> None:
    renamed = dict(zip(["yes", "no", "unsure"], labels, strict=True))
    other = dict(zip("abcd", people, strict=True))
    changed = [(query, pair, other[who], renamed[label]) for query, pair, who, label in rows]
    random.shuffle(changed)
    assert _same(_values(_measure(rows)), _values(_measure(changed)))


@settings(deadline=None, max_examples=60)
@given(_reviews)
def test_nothing_is_nan_what_is_missing_has_a_reason_and_intervals_hold_their_value(rows: list[Row]) -> None:
    found = _measure(rows)
    estimates = list(found.coefficients.values()) + [label.agreement for label in found.labels.values()]
    estimates += [e for reviewer in found.reviewers.values() for e in (reviewer.agreement, reviewer.kappa)]
    for estimate in estimates:
        assert (estimate.low is None) == (estimate.high is None) == (estimate.reason is not None)
        if estimate.value is None:
            assert estimate.low is None
        else:
            assert -1 - 1e-12 <= estimate.value <= 1 + 1e-12
        if estimate.low is not None and estimate.high is not None:
            assert -1 - 1e-9 <= estimate.low <= estimate.high <= 1 + 1e-9


@settings(deadline=None, max_examples=60)
@given(_reviews)
def test_perfect_agreement_is_one(rows: list[Row]) -> None:
    truth = {pair: "yes" if int(pair[1:]) % 2 else "no" for _, pair, _, _ in rows}
    found = _measure([(query, pair, who, truth[pair]) for query, pair, who, _ in rows])
    for name, estimate in found.coefficients.items():
        assert estimate.value in (None, pytest.approx(1.0)), name
    if found.pairs:
        assert found.coefficients["raw agreement"].value == 1.0
        assert {reviewer.agreement.value for reviewer in found.reviewers.values()} == {1.0}


def test_chance_is_zero() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.choice(["yes", "no", "unsure"], p=[0.6, 0.3, 0.1], size=(20_000, 3))
    rows = [(f"q{n}", f"p{n}", f"r{r}", str(label)) for n, labels in enumerate(drawn) for r, label in enumerate(labels)]
    found = _values(_measure(rows, resamples=5))
    assert found["Fleiss' kappa"] == pytest.approx(0, abs=0.01)
    assert found["Krippendorff's alpha"] == pytest.approx(0, abs=0.01)
    assert found["raw agreement"] == pytest.approx(0.46, abs=0.01)


# ------------------------------------------------------------------------------------------------ what cannot be told


def _reasons(rows: Sequence[Row]) -> dict[str, str | None]:
    found = _measure(rows)
    return {name: e.reason for name, e in found.coefficients.items() if e.value is None}


def test_without_two_answers_to_a_pair_there_is_no_agreement_to_measure() -> None:
    for rows, reason in (
        ([], "no answers"),
        ([("q", "p", "ann", "yes"), ("q", "p2", "ann", "no")], "one reviewer"),
        ([("q", "p", "ann", "yes"), ("q", "p2", "bob", "no")], "no pair has two answers"),
    ):
        assert set(_reasons(rows).values()) == {reason}
        assert len(_reasons(rows)) == 5
        assert not _measure(rows).reviewers


def test_one_label_only_leaves_no_room_beyond_chance() -> None:
    rows = [(f"q{n}", f"p{n}", who, "no") for n in range(30) for who in ("ann", "bob")]
    found = _measure(rows)
    assert found.coefficients["raw agreement"].value == 1.0
    assert "proves nothing" in str(found.coefficients["raw agreement"].reason)
    assert {name for name, e in found.coefficients.items() if e.value is None} == {
        "Cohen's kappa", "Fleiss' kappa", "Krippendorff's alpha", "Gwet's AC1",
    }  # fmt: skip
    assert all("only one label" in str(e.reason) for e in found.coefficients.values() if e.value is None)


def test_few_queries_give_values_and_no_intervals() -> None:
    rows = [(f"q{n % 4}", f"p{n}", who, "yes" if n % 3 else who) for n in range(40) for who in ("ann", "bob")]
    found = _measure(rows).coefficients["raw agreement"]
    assert found.value is not None
    assert found.low is None
    assert found.reason == "4 queries are too few for an interval"
    of_one = _measure([("q", *row) for _, *row in rows]).coefficients["raw agreement"]
    assert of_one.reason == "1 query is too few for an interval"


def test_cohens_kappa_is_of_two() -> None:
    assert _reasons(_by_rater(KRIPPENDORFF)) == {"Cohen's kappa": "4 reviewers; it is of two"}


def test_the_same_seed_gives_the_same_intervals_and_two_answers_of_one_reviewer_are_refused() -> None:
    rows = _by_counts(FLEISS_1971)
    assert _measure(rows, seed=1) == _measure(rows, seed=1)
    assert _measure(rows, seed=1) != _measure(rows, seed=2)
    with pytest.raises(ValueError, match="twice"):
        _measure([("q", "p", "ann", "yes"), ("q", "p", "ann", "no")])


# ------------------------------------------------------------------------------------------------ how often they hold


def _simulated(rng: np.random.Generator, queries: int, pairs: int, skill: tuple[float, float]) -> list[Row]:
    """Three reviewers; queries are hard or easy as a whole, so the pairs of one are not independent."""
    rows = []
    for query in range(queries):
        right = rng.beta(*skill)
        for pair in range(pairs):
            truth = rng.random() < 0.3
            for who in rng.choice(4, size=3, replace=False):
                answer = truth if rng.random() < right else not truth
                rows.append((f"q{query}", f"p{query}-{pair}", f"r{who}", "yes" if answer else "no"))
    return rows


@pytest.mark.parametrize(
    ("skill", "least"),
    [
        ((4.0, 1.0), 181),  # 95 % of 200 are 190, and the binomial's own spread is 3
        ((20.0, 0.6), 174),  # hardly any disagreements: the page on agreement says that 95 % are rather 91 %
    ],
)
def test_intervals_cover_the_truth_about_as_often_as_they_say(skill: tuple[float, float], least: int) -> None:
    rng = np.random.default_rng(11)
    truth = _values(_measure(_simulated(rng, 20_000, 4, skill), resamples=2))
    names = ("raw agreement", "Fleiss' kappa", "Krippendorff's alpha", "Gwet's AC1")
    held = dict.fromkeys(names, 0)
    trials = 200
    for trial in range(trials):
        found = _measure(_simulated(rng, 30, 4, skill), resamples=300, seed=trial).coefficients
        for name in names:
            low, high, true = found[name].low, found[name].high, truth[name]
            assert true is not None
            if low is None or high is None:  # nobody disagreed
                held[name] += found[name].value is not None
            else:
                held[name] += low <= true <= high
    assert all(least <= count <= 199 for count in held.values()), held


def test_a_hundred_thousand_answers_take_seconds() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=50_000)
    rows = [
        (f"q{pair // 5}", f"p{pair}", f"r{(pair + k) % 8}", "abc"[truth[pair] if rng.random() < 0.8 else 0])
        for pair in range(50_000)
        for k in range(2)
    ]
    before = time.process_time()
    found = _measure(rows, resamples=1000)
    assert time.process_time() - before < 15  # 2 on a quiet core
    assert found.answers == 100_000
