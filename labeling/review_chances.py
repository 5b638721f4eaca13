"""The chance that people call a pair relevant, from what is known of it before they are asked."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from labeling.judge_quality import relevance
from store.policies import Policy, Role
from store.review_value import NOTHING_KNOWN, Known
from store.reviews import PairToReview

Calibrated = Callable[[str, float | None], float | None]  # a judge's label and confidence -> chance of relevance

# The chance that people call a pair relevant, before the audit has told anything: by what put it forward and by what is
# known of it. On real logs half of what was not cited is relevant and a third of what was cited is not (TREC RAG 2024);
# in narrow collections it is far less. Judges are lenient: their "not relevant" is worth more than their "relevant".
_START: Mapping[str, Mapping[str, float]] = {
    "positive": {
        "judge: positive": 0.9,
        "judge: negative": 0.5,
        "judge: unsure": 0.65,
        "judges disagree": 0.65,
        "triage: upper third": 0.75,
        "triage: middle third": 0.65,
        "triage: lower third": 0.55,
        "nothing": 0.65,
    },
    "negative": {
        "judge: positive": 0.6,
        "judge: negative": 0.15,
        "judge: unsure": 0.5,
        "judges disagree": 0.5,
        "triage: upper third": 0.45,
        "triage: middle third": 0.3,
        "triage: lower third": 0.2,
        "nothing": 0.3,
    },
}
_START_COUNTS = 4  # as so many answers of the audit
_CONFIRMED = 0.9  # so often a second person says what the first one said, or what was said about a duplicate


class Chance(NamedTuple):
    """The chance that people call a pair relevant; `known` names what it rests on."""

    known: str
    relevant: float


def relevance_chances(
    policy: Policy, pairs: Sequence[PairToReview], known: Mapping[str, Known], calibrated: Mapping[str, Calibrated]
) -> dict[str, Chance]:
    """Return the chance of each pair, by its id.

    Args:
        policy: tells the roles of labels.
        pairs: all that go to review under it.
        known: what was said of them, by id.
        calibrated: of the judges that are calibrated, by id.
    """
    kinds = _kinds(policy, pairs, known)
    of_kind = _chances(policy, pairs, kinds, known)
    return {
        pair.pair_id: Chance(
            kinds[pair.pair_id][1],
            _relevant(policy, pair, known.get(pair.pair_id, NOTHING_KNOWN), of_kind[kinds[pair.pair_id]], calibrated),
        )
        for pair in pairs
    }


def role_of(policy: Policy, label: str | None) -> Role:
    """Return the role of a label; none has the role of one that is excluded."""
    return policy.role(label) if label is not None else "excluded"


def _kinds(policy: Policy, pairs: Iterable[PairToReview], known: Mapping[str, Known]) -> dict[str, tuple[str, str]]:
    """Name for each pair what put it forward, and what is known of it besides."""
    pairs = list(pairs)
    thirds: dict[str, list[float]] = {}
    for proposed in ("positive", "negative"):
        scores = sorted(p.triage_score for p in pairs if p.proposed == proposed and p.triage_score is not None)
        thirds[proposed] = [scores[len(scores) // 3], scores[2 * len(scores) // 3]] if scores else []

    def kind(pair: PairToReview) -> str:
        if pair.label is not None:
            role = policy.role(pair.label)
            return "judges disagree" if pair.judges_disagree else f"judge: {'unsure' if role == 'excluded' else role}"
        if pair.triage_score is None:
            return "nothing"
        above = sum(pair.triage_score >= limit for limit in thirds[pair.proposed])
        return f"triage: {('lower', 'middle', 'upper')[above]} third"

    def people(pair: PairToReview) -> str | None:
        found = known.get(pair.pair_id, NOTHING_KNOWN)
        if found.answered and found.label is None:
            return "people: unsettled"
        who = "people" if found.answered else "duplicate"
        return f"{who}: {role_of(policy, found.label)}" if found.label is not None else None

    return {pair.pair_id: (pair.proposed, people(pair) or kind(pair)) for pair in pairs}


def _chances(
    policy: Policy, pairs: Iterable[PairToReview], kinds: Mapping[str, tuple[str, str]], known: Mapping[str, Known]
) -> dict[tuple[str, str], float]:
    """Return the chance of relevance of each kind: a stated start, moved by what people answered blind.

    Only the audit moves it: what people answered elsewhere was chosen, and answered beside a suggestion.
    """
    unanswered = _kinds(policy, pairs, {})
    asked, relevant = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for key, found in known.items():
        if found.blind and found.label is not None and key in unanswered:
            asked[unanswered[key]] += 1
            relevant[unanswered[key]] += policy.role(found.label) == "positive"
    chances = {
        kind: (_START_COUNTS * _START[kind[0]][kind[1]] + relevant[kind]) / (_START_COUNTS + asked[kind])
        for kind in set(unanswered.values())
    }
    said = {"positive": _CONFIRMED, "negative": 1 - _CONFIRMED}
    return {kind: said.get(kind[1].rpartition(" ")[2], 0.5) for kind in set(kinds.values())} | chances


def _relevant(
    policy: Policy,
    pair: PairToReview,
    known: Known,
    of_kind: float,
    calibrated: Mapping[str, Calibrated],
) -> float:
    """Return the chance that people call a pair relevant.

    A calibrated confidence of the judge stands for itself; one that nobody calibrated counts half, beside that of the
    pair's kind.
    """
    if pair.label is None or pair.judges_disagree or known.answered or known.label is not None:
        return of_kind
    made = calibrated.get(known.judge_id or "")
    chance = made(pair.label, known.confidence) if made else None
    if chance is None:
        said = None if known.confidence is None else relevance(policy, pair.label, known.confidence)
        chance = of_kind if said is None else (of_kind + said) / 2
    return min(0.98, max(0.02, chance))
