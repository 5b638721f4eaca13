"""How far reviewers agree: numbers in, named numbers out, randomness handed in.

Only pairs with at least two answers count, in chance agreement too (Gwet's own software takes the others in there):
where few pairs are asked twice, the labels of all the others say nothing about chance among these.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from labeling.query_bootstrap import RESAMPLES, Estimate, QuerySums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int64]


class LabelAgreement(NamedTuple):
    """Specific agreement: where one reviewer gave the label, how often another one gave it too."""

    answers: int
    agreement: Estimate


class ReviewerAgreement(NamedTuple):
    """One reviewer against the others who answered the same pairs: agreement, and Cohen's kappa with their mixture."""

    pairs: int
    agreement: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the answers of several reviewers agree.

    `pairs`, `queries` and `answers` count what was answered by two or more; `single` are pairs with one answer.
    """

    pairs: int
    single: int
    queries: int
    answers: int
    coefficients: Mapping[str, Estimate]
    labels: Mapping[str, LabelAgreement]
    reviewers: Mapping[str, ReviewerAgreement]


def measure(
    queries: Sequence[str],
    pairs: Sequence[str],
    reviewers: Sequence[str],
    labels: Sequence[str],
    *,
    rng: "np.random.Generator",
    scale: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> Agreement:
    """Measure the agreement of answers given as parallel sequences: one answer a reviewer and pair.

    Args:
        queries: the query of each answer.
        pairs: the pair of each answer; all answers of a pair have the same query.
        reviewers: who gave it.
        labels: what it was.
        rng: source of randomness; the same state gives the same intervals.
        scale: the labels that are grades, lowest first or last; then neighbours on it disagree less than its ends.
        resamples: how many draws of queries.

    Raises:
        ValueError: a reviewer answered a pair twice, or the sequences differ in length.
    """
    columns = list(zip(queries, pairs, reviewers, labels, strict=True))
    if len({(pair, reviewer) for _, pair, reviewer, _ in columns}) < len(columns):
        raise ValueError("a reviewer answered a pair twice")
    answers_of = Counter(pairs)
    kept = [row for row in columns if answers_of[row[1]] >= 2]
    single = sum(count == 1 for count in answers_of.values())
    coefficients = dict(_COEFFICIENTS)
    if scale:
        coefficients["Krippendorff's alpha, ordinal"] = partial(_krippendorff_ordinal, scale=scale)
    if not kept:
        none = Estimate(None, reason=_nothing_to_compare(len(set(reviewers))))
        return Agreement(0, single, 0, 0, dict.fromkeys(coefficients, none), {}, {})
    table = _Table.of(kept)
    sums = QuerySums(table.query, rng, resamples)
    return Agreement(
        pairs=len(table.per_pair),
        single=single,
        queries=sums.queries,
        answers=len(kept),
        coefficients={name: made(table, sums) for name, made in coefficients.items()},
        labels=dict(_labels(table, sums)),
        reviewers=dict(_reviewers(table, sums)),
    )


def _nothing_to_compare(reviewers: int) -> str:
    return {0: "no answers", 1: "one reviewer"}.get(reviewers, "no pair has two answers")


@dataclass(frozen=True, slots=True)
class _Table:
    """Answers as codes, and how many of each label a pair has."""

    names: list[str]  # of labels
    people: list[str]
    pair: "Codes"  # of each answer
    reviewer: "Codes"
    label: "Codes"
    query: "Codes"  # of each pair
    counts: "Array"  # pairs x labels
    per_pair: "Array"  # answers of each pair

    @classmethod
    def of(cls, rows: list[tuple[str, str, str, str]]) -> "_Table":
        import numpy as np

        columns = list(zip(*rows, strict=True))
        _, query = _codes(columns[0])
        _, pair = _codes(columns[1])
        people, reviewer = _codes(columns[2])
        names, label = _codes(columns[3])
        total = int(pair.max()) + 1
        query_of = np.zeros(total, np.int64)
        query_of[pair] = query
        counts = np.bincount(pair * len(names) + label, minlength=total * len(names)).reshape(total, len(names))
        return cls(names, people, pair, reviewer, label, query_of, counts.astype(float), counts.sum(axis=1) * 1.0)


def _codes(values: Sequence[str]) -> tuple[list[str], "Codes"]:
    """Return the distinct values in order, and the place of each value among them."""
    import numpy as np

    distinct = sorted(set(values))
    place = {value: index for index, value in enumerate(distinct)}
    return distinct, np.fromiter((place[value] for value in values), np.int64, len(values))


# ------------------------------------------------------------------------------------------------------- coefficients

_ONE_LABEL = "only one label was given, so agreement by chance is certain"


def _raw(table: _Table, sums: QuerySums) -> Estimate:
    """Share of the pairs of answers to one pair that are equal, averaged over pairs."""
    import numpy as np

    features = np.stack([_equal(table), np.ones(len(table.per_pair))], axis=1)
    return sums.estimate(features, lambda s: s[:, 0] / s[:, 1], "no pair has two answers")


def _cohen(table: _Table, sums: QuerySums) -> Estimate:
    """Cohen's kappa of two reviewers (Cohen 1960, Educational and Psychological Measurement 20)."""
    import numpy as np

    if len(table.people) != 2:
        return Estimate(None, reason=f"{len(table.people)} reviewers; it is of two")
    size = len(table.names)
    cell = np.zeros(len(table.per_pair), np.int64)
    # Every pair here has an answer of both.
    np.add.at(cell, table.pair, np.where(table.reviewer == 0, table.label * size, table.label))

    def kappa(s: "Array") -> "Array":
        square = s.reshape(-1, size, size) / s.sum(axis=1)[:, None, None]
        chance = (square.sum(axis=1) * square.sum(axis=2)).sum(axis=1)
        return _corrected(np.trace(square, axis1=1, axis2=2), chance)

    return sums.estimate(np.eye(size * size)[cell], kappa, _ONE_LABEL)


def _fleiss(table: _Table, sums: QuerySums) -> Estimate:
    """Fleiss' kappa (Fleiss 1971, Psychological Bulletin 76); pairs may have different numbers of answers."""
    return sums.estimate(
        _agreement_and_shares(table),
        lambda s: _corrected(s[:, 0] / s[:, 1], ((s[:, 2:] / s[:, 1:2]) ** 2).sum(axis=1)),
        _ONE_LABEL,
    )


def _gwet(table: _Table, sums: QuerySums) -> Estimate:
    """Gwet's AC1 (Gwet 2008, British Journal of Mathematical and Statistical Psychology 61).

    The number of labels in it is that of those given here, not of those that the policy offers.
    """

    def ac1(s: "Array") -> "Array":
        share = s[:, 2:] / s[:, 1:2]
        chance = (share * (1 - share)).sum(axis=1) / (share.shape[1] - 1)
        return _corrected(s[:, 0] / s[:, 1], chance)

    if len(table.names) == 1:
        return Estimate(None, reason=_ONE_LABEL)
    return sums.estimate(_agreement_and_shares(table), ac1, _ONE_LABEL)


def _krippendorff(table: _Table, sums: QuerySums) -> Estimate:
    """Krippendorff's alpha for nominal data (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, C)."""
    import numpy as np

    def alpha(s: "Array") -> "Array":
        equal, given = s[:, 0], s[:, 1:]
        answers = given.sum(axis=1)
        chance = (given * (given - 1)).sum(axis=1) / (answers * (answers - 1))
        return _corrected(equal / answers, chance)

    coincidences = (table.counts * (table.counts - 1)).sum(axis=1) / (table.per_pair - 1)
    features = np.concatenate([coincidences[:, None], table.counts], axis=1)
    return sums.estimate(features, alpha, _ONE_LABEL)


def _krippendorff_ordinal(table: _Table, sums: QuerySums, *, scale: Sequence[str]) -> Estimate:
    """Krippendorff's alpha for ordinal data (Krippendorff 2011, sections C and D, the ordinal metric).

    Two grades lie as far apart as answers stand between them, those of the two grades counted half. Answers that are
    no grade (unsure, discarded) are left out, and with them pairs that have fewer than two grades then.
    """
    import numpy as np

    grades = [table.names.index(name) for name in scale if name in table.names]
    size = len(grades)
    counts = table.counts[:, grades]
    answers = counts.sum(axis=1)
    counts = np.where(answers[:, None] >= 2, counts, 0.0)
    coincidences = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    coincidences /= np.maximum(answers - 1, 1)[:, None, None]

    def alpha(s: "Array") -> "Array":
        observed, given = s[:, : size * size].reshape(-1, size, size), s[:, size * size :]
        upto = np.cumsum(given, axis=1) - given / 2
        distance = (upto[:, :, None] - upto[:, None, :]) ** 2
        expected = given[:, :, None] * given[:, None, :] * distance
        chance = expected.sum(axis=(1, 2)) / (given.sum(axis=1) - 1)
        disagreement = (observed * distance).sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(chance > 0, 1 - disagreement / chance, np.nan)

    if (counts.sum(axis=0) > 0).sum() < 2:
        return Estimate(None, reason="fewer than two grades were given twice, so agreement by chance is certain")
    return sums.estimate(np.concatenate([coincidences.reshape(len(counts), -1), counts], axis=1), alpha, _ONE_LABEL)


_COEFFICIENTS: Mapping[str, Callable[[_Table, QuerySums], Estimate]] = {
    "raw agreement": _raw,
    "Cohen's kappa": _cohen,
    "Fleiss' kappa": _fleiss,
    "Krippendorff's alpha": _krippendorff,
    "Gwet's AC1": _gwet,
}


def _corrected(agreement: "Array", chance: "Array") -> "Array":
    """Return the share of the agreement beyond chance that was reached; NaN where chance leaves no room."""
    import numpy as np

    room = np.where(chance > 1 - 1e-12, np.nan, 1 - chance)
    return (agreement - chance) / room


def _equal(table: _Table) -> "Array":
    """Return, for each pair, the share of its pairs of answers that are equal."""
    equal: Array = (table.counts * (table.counts - 1)).sum(axis=1) / (table.per_pair * (table.per_pair - 1))
    return equal


def _agreement_and_shares(table: _Table) -> "Array":
    import numpy as np

    shares = table.counts / table.per_pair[:, None]
    return np.concatenate([_equal(table)[:, None], np.ones((len(shares), 1)), shares], axis=1)


def _labels(table: _Table, sums: QuerySums) -> Iterator[tuple[str, LabelAgreement]]:
    """Yield each label's specific agreement (Fleiss 1981, Statistical Methods for Rates and Proportions, 13.1)."""
    import numpy as np

    size = len(table.names)
    both = table.counts * (table.counts - 1) / (table.per_pair - 1)[:, None]
    features = np.concatenate([both, table.counts], axis=1)
    estimates = sums.estimates(features, lambda s: s[:, :size] / s[:, size:], ["nobody gave it"] * size)
    for name, given, estimate in zip(table.names, table.counts.sum(axis=0), estimates, strict=True):
        yield name, LabelAgreement(int(given), estimate)


def _reviewers(table: _Table, sums: QuerySums) -> Iterator[tuple[str, ReviewerAgreement]]:
    import numpy as np

    size = len(table.names)

    def against_others(s: "Array") -> "Array":
        answered, agreed = s[:, :1], s[:, 1] / s[:, 0]
        chance = (s[:, 2 : 2 + size] / answered * (s[:, 2 + size :] / answered)).sum(axis=1)
        return np.stack([agreed, _corrected(agreed, chance)], axis=1)

    for code, name in enumerate(table.people):
        own = table.reviewer == code
        pair, label = table.pair[own], table.label[own]
        mine = np.eye(size)[label]
        others = (table.counts[pair] - mine) / (table.per_pair[pair] - 1)[:, None]
        features = np.zeros((len(table.per_pair), 2 + 2 * size))
        features[pair] = np.concatenate(
            [np.ones((len(pair), 1)), (others * mine).sum(axis=1)[:, None], mine, others], axis=1
        )
        estimates = sums.estimates(features, against_others, ["no pair shared", _ONE_LABEL])
        yield name, ReviewerAgreement(len(pair), *estimates)
