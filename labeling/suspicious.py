"""Reviews that deserve a second look. It accuses nobody: each finding says what was measured, and how surely."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labeling.agreement_report import DISCARDED
from labeling.reading_time import Pace, pace
from labeling.reviewer_tests import EVERYBODY, Compared, Suggested, Vote, far_from_others, swayed
from store.database import Store
from store.given_answers import AlikeAnswers, GivenAnswer, alike_pairs, differing_answers, given_answers
from store.policies import Policy

ALPHA = 0.05  # of each kind of finding about reviewers: in so many honest reports somebody may be named

_SEED = 0


class Contradiction(NamedTuple):
    """Two pairs of one query whose chunks (nearly) repeat each other, and the answers to them that contradict.

    Answers are (reviewer, label). `alone`: somebody contradicts their own answer.
    """

    pair_id: str
    alike_id: str
    similarity: float
    exact: bool
    query: str
    chunk: str
    alike_chunk: str
    answers: tuple[tuple[str, str], ...]
    alike_answers: tuple[tuple[str, str], ...]
    alone: bool


class Named(NamedTuple):
    """Something that was found out about a reviewer by comparison, and the pairs on which it shows."""

    compared: Compared
    pairs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suspicious:
    """What deserves a second look among the answers under a policy's question.

    - contradictions: duplicates that were answered differently, first those by one and the same reviewer. These are
      facts, though near-duplicates may differ in the very word that matters
    - far: reviewers who agree less with the others than those do with each other. `pairs`: where they stand alone
    - quick: reviewers who answered too many pairs quicker than they can be read
    - swayed: reviewers who agree with the judge more where they see what it says. `pairs`: where they did so

    The last three are claimed only where the data leave no doubt (`ALPHA`); `comparisons` and `paces` hold all that was
    measured on the way, claimed or not.
    """

    policy: str
    answers: int
    reviewers: int
    contradictions: tuple[Contradiction, ...]
    far: tuple[Named, ...]
    quick: tuple[Pace, ...]
    swayed: tuple[Named, ...]
    comparisons: tuple[Compared, ...]
    sway_comparisons: tuple[Compared, ...]
    paces: tuple[Pace, ...]


def suspicious_reviews(store: Store, policy: Policy) -> Suspicious:
    """Look through all answers to a policy's question. The same answers give the same findings."""
    import numpy as np

    given = given_answers(store, policy)
    current = [answer for answer in given if answer.current]
    by_reviewer: dict[str, list[GivenAnswer]] = defaultdict(list)
    for answer in given:
        by_reviewer[answer.reviewer].append(answer)
    alike = alike_pairs(store, policy)
    paces = [pace(answers, alike, alpha=ALPHA / len(by_reviewer)) for answers in by_reviewer.values()]
    compared = far_from_others(_votes(current), rng=np.random.default_rng(_SEED), alpha=ALPHA)
    beside = _suggested(current)
    sway = swayed(beside, rng=np.random.default_rng(_SEED), alpha=ALPHA)
    return Suspicious(
        policy=policy.name,
        answers=len(current),
        reviewers=len(by_reviewer),
        contradictions=tuple(
            _contradictions(differing_answers(store, policy, [label.name for label in policy.labels]))
        ),
        far=tuple(Named(c, _alone(c.reviewer, current)) for c in compared if c.claimed),
        quick=tuple(found for found in paces if found.too_quick),
        swayed=tuple(Named(c, _followed(c.reviewer, beside)) for c in sway if c.claimed),
        comparisons=tuple(compared),
        sway_comparisons=tuple(sway),
        paces=tuple(paces),
    )


def _contradictions(found: Iterable[AlikeAnswers]) -> list[Contradiction]:
    of_two: dict[tuple[str, str], list[AlikeAnswers]] = defaultdict(list)
    for row in found:
        of_two[row.pair_id, row.alike_id].append(row)
    made = [
        Contradiction(
            pair_id=rows[0].pair_id,
            alike_id=rows[0].alike_id,
            similarity=rows[0].similarity,
            exact=rows[0].exact,
            query=rows[0].anchor,
            chunk=rows[0].chunk,
            alike_chunk=rows[0].alike_chunk,
            answers=tuple(sorted({(row.reviewer, row.label) for row in rows})),
            alike_answers=tuple(sorted({(row.alike_reviewer, row.alike_label) for row in rows})),
            alone=any(row.reviewer == row.alike_reviewer for row in rows),
        )
        for rows in of_two.values()
    ]
    return sorted(made, key=lambda two: (not two.alone, not two.exact, -two.similarity))


def _votes(answers: Iterable[GivenAnswer]) -> list[Vote]:
    return [Vote(a.anchor_id, a.pair_id, a.reviewer, a.label or DISCARDED, a.stream) for a in answers]


def _suggested(answers: Iterable[GivenAnswer]) -> list[Suggested]:
    """Return the answers beside a suggestion, and those of the audit about which the judge says something."""
    found = []
    for answer in answers:
        if answer.label is None:
            continue
        if answer.stream == "targeted" and answer.suggested is not None:
            judged, shown = answer.suggested, True
        elif answer.stream == "audit" and answer.suggested is None and answer.judged is not None:
            judged, shown = answer.judged, False
        else:
            continue
        agrees = answer.label == judged
        found.append(Suggested(answer.anchor_id, answer.pair_id, answer.reviewer, judged, agrees, shown))
    return found


def _alone(reviewer: str, answers: Sequence[GivenAnswer]) -> tuple[str, ...]:
    """Return the pairs to which nobody else gave this reviewer's answer, though somebody else answered."""
    others: dict[str, set[str | None]] = defaultdict(set)
    for answer in answers:
        if answer.reviewer != reviewer:
            others[answer.pair_id].add(answer.label)
    own = [answer for answer in answers if answer.reviewer == reviewer and answer.pair_id in others]
    return tuple(sorted(answer.pair_id for answer in own if answer.label not in others[answer.pair_id]))


def _followed(reviewer: str, answers: Iterable[Suggested]) -> tuple[str, ...]:
    return tuple(sorted({a.pair for a in answers if a.shown and a.agrees and reviewer in (EVERYBODY, a.reviewer)}))
