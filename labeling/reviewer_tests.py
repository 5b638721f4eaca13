"""Whether a reviewer differs from the others, or from their own blind answers, by more than chance explains.

Both compare two shares of agreement, and speak only where the lower end of the interval of the difference lies above
`MARGIN`: a few points are not worth anybody's name. The intervals come from drawing queries anew
(`labeling.query_bootstrap`); `alpha` is shared among the comparisons of a kind (Bonferroni), so that with honest
reviewers a report names anybody, by either kind, in about that share of the cases at most.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from labeling.judge_quality import query_codes
from labeling.query_bootstrap import NO_SPREAD, Estimate, QuerySums

if TYPE_CHECKING:
    import numpy as np

    from labeling.query_bootstrap import Array

MARGIN = 0.05
MIN_QUERIES = 10  # with fewer nobody is named
RESAMPLES = 2000

EVERYBODY = "(all reviewers)"


class Vote(NamedTuple):
    """One reviewer's answer about a pair; `label` may be any text, so that a discard is an answer too."""

    query: str
    pair: str
    reviewer: str
    label: str
    stream: str


class Suggested(NamedTuple):
    """An answer about a pair with a judge's label: whether it is the judge's, and whether the reviewer saw that."""

    query: str
    pair: str
    reviewer: str
    judged: str
    agrees: bool
    shown: bool


class Compared(NamedTuple):
    """Two shares of agreement, of so many answers each, how far the second lies below the first, and what that means.

    `claimed`: the second lies below the first by more than `MARGIN`, beyond doubt.
    """

    reviewer: str
    first: float | None
    first_of: int
    second: float | None
    second_of: int
    difference: Estimate
    claimed: bool


def far_from_others(votes: Sequence[Vote], *, rng: "np.random.Generator", alpha: float) -> list[Compared]:
    """Compare each reviewer's agreement with the others to that of the others among themselves, leaving out the former.

    The first share is the agreement of the others with each other, the second that of the reviewer with them, over
    pairs with two answers or more. Streams are compared each on its own, since targeted pairs are harder, and weighted
    by how much the reviewer answered of each. With two reviewers there are no others, and nothing to compare.
    """
    of_pair: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        of_pair[vote.pair].append(vote)
    shared = [found for found in of_pair.values() if len(found) > 1]
    people = sorted({vote.reviewer for found in shared for vote in found})
    if len(people) < 3:
        return []
    streams = sorted({vote.stream for found in shared for vote in found})
    compared = []
    for name in people:
        rows = [_leaving_out(name, found, streams) for found in shared]
        compared.append(_compare(name, [found[0].query for found in shared], rows, rng, alpha / len(people)))
    return compared


def _leaving_out(name: str, votes: Sequence[Vote], streams: Sequence[str]) -> "list[float]":
    """Return for each stream: others with each other (sum, number), the reviewer with the others (sum, number)."""
    others = [vote.label for vote in votes if vote.reviewer != name]
    own = [vote for vote in votes if vote.reviewer == name]
    row = []
    for stream in streams:
        here = votes[0].stream == stream
        two = len(others) * (len(others) - 1)
        among = sum(others.count(label) - 1 for label in others) / two if here and two else 0.0
        with_own = others.count(own[0].label) / len(others) if here and own else 0.0
        row += [among, float(here and two > 0), with_own, float(bool(here and own))]
    return row


def swayed(answers: Sequence[Suggested], *, rng: "np.random.Generator", alpha: float) -> list[Compared]:
    """Compare how often a reviewer gives the judge's label when it is shown and when it is not.

    The first share is the agreement with the judge beside its suggestion, the second that in the audit, blind. Labels
    of the judge are compared each on its own, since some are right more often, and weighted by how often each was
    shown. Targeted pairs are the doubtful ones, so without any sway agreement would rather be lower there.
    """
    people = sorted({answer.reviewer for answer in answers})
    labels = sorted({answer.judged for answer in answers})
    groups: Mapping[str, Sequence[Suggested]] = {
        name: [answer for answer in answers if answer.reviewer == name] for name in people
    }
    if len(people) > 1:
        groups = {EVERYBODY: answers, **groups}
    compared = []
    for name, own in groups.items():
        rows = [
            [
                number
                for label in labels
                for shown in (True, False)
                for number in (
                    float(answer.agrees and answer.judged == label and answer.shown == shown),
                    float(answer.judged == label and answer.shown == shown),
                )
            ]
            for answer in own
        ]
        queries = [answer.query for answer in own]
        compared.append(_compare(name, queries, rows, rng, alpha / len(groups), weight_by=1))
    return compared


def _compare(
    name: str,
    queries: Sequence[str],
    rows: "Sequence[Sequence[float]]",
    rng: "np.random.Generator",
    alpha: float,
    *,
    weight_by: int = 3,
) -> Compared:
    """Estimate the difference of two shares within strata.

    Args:
        name: of the reviewer.
        queries: of each row.
        rows: for each stratum four numbers: what counts for the first share, of how many, and the same of the second.
        rng: source of randomness.
        alpha: how often the lower end may lie above the truth.
        weight_by: which of the four numbers weights the strata.
    """
    import numpy as np

    features = np.asarray(rows, np.float64)

    def difference(sums: "Array") -> "Array":
        return _shares(sums, weight_by)[:, 0] - _shares(sums, weight_by)[:, 1]

    sums = QuerySums(query_codes(queries), rng, RESAMPLES)
    estimate = sums.estimate(features, difference, "nothing to compare with", confidence=1 - 2 * alpha)
    total = features.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = _shares(total[None], weight_by)[0]
    low = estimate.value if estimate.reason == NO_SPREAD else estimate.low
    return Compared(
        reviewer=name,
        first=None if np.isnan(first) else float(first),
        first_of=int(total[1::4].sum()),
        second=None if np.isnan(second) else float(second),
        second_of=int(total[3::4].sum()),
        difference=estimate,
        claimed=low is not None and low > MARGIN and sums.queries >= MIN_QUERIES,
    )


def _shares(sums: "Array", weight_by: int) -> "Array":
    """Return both shares, over the strata in which both are known, for each set of sums."""
    import numpy as np

    cells = sums.reshape(len(sums), -1, 4)
    both = (cells[:, :, 1] > 0) & (cells[:, :, 3] > 0)
    weight = np.where(both, cells[:, :, weight_by], 0.0)
    shares = [np.where(both, cells[:, :, of] / cells[:, :, of + 1], 0.0) for of in (0, 2)]
    made: Array = np.stack([(share * weight).sum(axis=1) / weight.sum(axis=1) for share in shares], axis=1)
    return made
