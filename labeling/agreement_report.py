"""What the reviews of a policy say about agreement: by stream, with the judge, and where people disagree."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from labeling.agreement import Agreement, measure
from store.database import Store
from store.disputes import Dispute, disputes
from store.labels import Resolution, audited_pairs, votes
from store.policies import Policy

if TYPE_CHECKING:
    import pyarrow as pa

DISCARDED = "(discarded)"
CONFUSIONS = 5  # that come with examples
EXAMPLES = 3  # of each

_SEED = 0


class Confusion(NamedTuple):
    """Two answers that reviewers gave about the same pair.

    `times` counts pairs of reviewers, `pairs` the pairs of texts; `examples` are some of those.
    """

    one: str
    other: str
    times: int
    pairs: int
    examples: tuple[Dispute, ...]


class Together(NamedTuple):
    """Two reviewers, the pairs that both answered, and on how many of them they disagree."""

    one: str
    other: str
    pairs: int
    disagreements: int


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """The judge as one more rater against what people settled, on pairs that people answered blind.

    `audited` pairs are the random sample with people's answers; `unsettled` ones have no label from them, `unjudged`
    ones have one and no judgment; neither takes part.
    """

    agreement: Agreement
    audited: int
    unsettled: int
    unjudged: int


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """All that can be said about the agreement of a policy's reviewers.

    `streams` has "all" first, then each stream that somebody answered. `confusions` come most frequent first, and so do
    `together`, by disagreements. `open_disputes` wait for an adjudicator.
    """

    policy: str
    streams: Mapping[str, Agreement]
    judge: JudgeAgreement
    together: tuple[Together, ...]
    confusions: tuple[Confusion, ...]
    disputes: int
    open_disputes: int


def agreement_report(store: Store, policy: Policy, *, resolution: Resolution) -> AgreementReport:
    """Measure how far the reviewers of a policy agree with each other, and the judge with them.

    What a reviewer discarded counts as an answer of its own. Adjudications are not part of it: whoever gives one has
    read the other answers.
    """
    found = votes(store, policy)
    streams = sorted(set(found["stream"].to_pylist()))
    parts = {"all": found} | {name: _only(found, "stream", name) for name in streams}
    disputed = disputes(store, policy)
    return AgreementReport(
        policy=policy.name,
        streams={name: _agreement(part, policy) for name, part in parts.items()},
        judge=_judge(audited_pairs(store, policy, resolution=resolution), policy),
        together=tuple(_together(found)),
        confusions=tuple(_confusions(disputed)),
        disputes=len(disputed),
        open_disputes=sum(dispute.open for dispute in disputed),
    )


def _only(table: "pa.Table", column: str, value: str) -> "pa.Table":
    import pyarrow.compute as pc

    return table.filter(pc.equal(table[column], value))


def _agreement(found: "pa.Table", policy: Policy) -> Agreement:
    anchors, pairs, reviewers, labels = (
        found[name].to_pylist() for name in ("anchor_id", "pair_id", "reviewer", "label")
    )
    return _measured(policy, anchors, pairs, reviewers, [label or DISCARDED for label in labels])


def _measured(policy: Policy, *answers: list[str]) -> Agreement:
    import numpy as np

    scale = [label.name for label in policy.labels] if policy.scale == "ordered" else []
    return measure(*answers, rng=np.random.default_rng(_SEED), scale=scale)


def _judge(audited: "pa.Table", policy: Policy) -> JudgeAgreement:
    rows = audited.to_pylist()
    unsettled = sum(row["label"] is None for row in rows)
    both = [row for row in rows if row["label"] is not None and row["judged"] is not None]
    twice = [row for row in both for _ in range(2)]
    agreement = _measured(
        policy,
        [row["anchor_id"] for row in twice],
        [row["pair_id"] for row in twice],
        ["people", "judge"] * len(both),
        [label for row in both for label in (row["label"], row["judged"])],
    )
    return JudgeAgreement(agreement, len(rows), unsettled, len(rows) - unsettled - len(both))


def _together(found: "pa.Table") -> Iterable[Together]:
    """Count shared pairs and disagreements of every two reviewers, those with most disagreements first."""
    said = defaultdict(list)
    for pair, reviewer, label in zip(*(found[c].to_pylist() for c in ("pair_id", "reviewer", "label")), strict=True):
        said[pair].append((reviewer, label))
    shared: Counter[tuple[str, str]] = Counter()
    differ: Counter[tuple[str, str]] = Counter()
    for answers in said.values():
        for (one, label), (other, other_label) in combinations(answers, 2):
            shared[one, other] += 1
            differ[one, other] += label != other_label
    counted = [Together(*two, pairs, differ[two]) for two, pairs in shared.items()]
    return sorted(counted, key=lambda two: (-two.disagreements, two.one, two.other))


def _confusions(disputed: Sequence[Dispute]) -> Iterable[Confusion]:
    """Count which answers meet on the same pair; the most frequent ones get examples, the most disputed first."""
    times: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], list[Dispute]] = defaultdict(list)
    for dispute in disputed:
        given = Counter(answer.label or DISCARDED for answer in dispute.answers)
        for one, other in combinations(sorted(given), 2):
            times[one, other] += given[one] * given[other]
            where[one, other].append(dispute)
    ordered = sorted(times, key=lambda labels: (-times[labels], labels))
    for place, labels in enumerate(ordered):
        examples = where[labels][:EXAMPLES] if place < CONFUSIONS else []
        yield Confusion(*labels, times[labels], len(where[labels]), tuple(examples))
