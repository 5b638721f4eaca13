"""How many labels an edit of a policy would change, found out on a sample before the edit is applied.

A judge is asked about a few of the pairs that were judged under the old wording. The sample is stratified by the old
label and by where the pair came from, and always takes the same pairs first, so that a second or larger sample pays
only for what is new. What it asks counts under the new wording: if the edit is applied, those pairs are judged already.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labeling.judge import JudgeResult, judge_candidates
from labeling.policy_changes import kept_labels
from store.database import Store
from store.errors import MissingError, UsageError
from store.policies import Policy, policy_versions
from store.policy_changes import judged_labels
from store.progress import Progress, silent
from store.workspace import JudgeSettings, Price

_LEAST_OF_A_STRATUM = 2
_Z = 1.959964  # 95 %


class Flips(NamedTuple):
    """How many pairs of one old label (or of all: "") would get another label. `low` to `high`: 95 % confidence."""

    label: str
    pairs: int
    sampled: int
    flipped: int  # in the sample
    rate: float | None  # None where no pair was answered
    low: float
    high: float
    flipping: int | None  # of all pairs, extrapolated


class Move(NamedTuple):
    """So many sampled pairs went from one label to another (or stayed); `was` in the words of the new policy."""

    was: str
    becomes: str
    sampled: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What re-judging a few pairs under the new wording showed. `cost_usd` is None where no price is known."""

    flips: tuple[Flips, ...]  # all pairs first, then by old label
    moves: tuple[Move, ...]
    unanswered: int  # sampled pairs without a usable answer: left out of the estimate
    other_judge: int  # sampled pairs that another judge answered under the old wording
    asked: int  # by this call; the others had been asked before
    cost_usd: float | None
    budget_spent: bool


def sample_change(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    size: int,
    budget_usd: float | None = None,
    progress: Progress = silent,
) -> Sample:
    """Ask a judge about `size` pairs under the new wording and estimate how many of all would get another label.

    Args:
        store: where the judgments under the old wording are, and those under the new one go.
        policy: the edited policy, as read from a file.
        settings: the judge that is asked.
        prices: dollars by model name.
        size: of the sample; all pairs at most.
        budget_usd: stop before this call costs more; the estimate then rests on what was answered.
        progress: told of pairs.

    Raises:
        MissingError: there is no older version, or nothing was judged under it.
        UsageError: the edit changes nothing that a judge reads, the sample is too small for the strata, or there is
            no price for a budget.
    """
    versions = policy_versions(store, policy.name)
    if not versions or not (judged := judged_labels(store, versions[-1], policy.name).to_pylist()):
        raise MissingError(
            f"no pair has been judged under an older version of policy {policy.name!r}, so there is nothing to sample",
            hint=f"uncited judge --policy {policy.name}",
        )
    old = versions[-1]
    if old.labelling_fingerprint == policy.labelling_fingerprint:
        raise UsageError("the edit changes nothing that a judge or a reviewer reads: no answer could change")
    before = {row["pair_id"]: row["judge_id"] for row in judged}
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in judged:
        strata[row["label"], row["source"]].append(row["pair_id"])
    sizes = allocate({stratum: len(pairs) for stratum, pairs in strata.items()}, size)
    drawn = {stratum: sorted(pairs, key=_order)[: sizes[stratum]] for stratum, pairs in strata.items()}
    wanted = {pair for pairs in drawn.values() for pair in pairs}
    missing = wanted - _answers(store, policy).keys()
    result = (
        judge_candidates(store, policy, settings, prices, pairs=missing, budget_usd=budget_usd, progress=progress)
        if missing
        else JudgeResult()
    )
    answers = {pair: answer for pair, answer in _answers(store, policy).items() if pair in wanted}
    becomes = kept_labels(old, policy)
    moved = {
        stratum: [(becomes.get(stratum[0], stratum[0]), answers[pair].label) for pair in pairs if pair in answers]
        for stratum, pairs in drawn.items()
    }
    return Sample(
        flips=_all_flips({stratum: _Stratum(len(strata[stratum]), *_count(moves)) for stratum, moves in moved.items()}),
        moves=tuple(
            Move(*pair, count)
            for pair, count in sorted(Counter(pair for moves in moved.values() for pair in moves).items())
        ),
        unanswered=len(wanted - answers.keys()),
        other_judge=sum(answer.judge_id != before[pair] for pair, answer in answers.items()),
        asked=len(missing & answers.keys()),
        cost_usd=result.cost_usd,
        budget_spent=result.budget_spent,
    )


class _Stratum(NamedTuple):
    pairs: int
    sampled: int
    flipped: int


class _Answer(NamedTuple):
    label: str
    judge_id: str


def _answers(store: Store, policy: Policy) -> dict[str, _Answer]:
    found = judged_labels(store, policy, policy.name).to_pylist()
    return {row["pair_id"]: _Answer(row["label"], row["judge_id"]) for row in found}


def _count(moves: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Return how many pairs were answered, and how many of them with another label."""
    return len(moves), sum(was != becomes for was, becomes in moves)


def _all_flips(strata: Mapping[tuple[str, str], _Stratum]) -> tuple[Flips, ...]:
    labels = sorted({label for label, _ in strata})
    by_label = [_flips(label, [found for (of, _), found in strata.items() if of == label]) for label in labels]
    return _flips("", list(strata.values())), *by_label


def _order(pair: str) -> str:
    """An order that looks random and is the same every time."""
    return hashlib.sha256(f"policy sample {pair}".encode()).hexdigest()


def allocate(strata: Mapping[tuple[str, str], int], size: int) -> dict[tuple[str, str], int]:
    """Share a sample out among strata: two of each (or all of a smaller one), the rest in proportion to their sizes.

    Raises:
        UsageError: `size` is too small for that.
    """
    shares = {stratum: min(count, _LEAST_OF_A_STRATUM) for stratum, count in strata.items()}
    least = sum(shares.values())
    size = min(size, sum(strata.values()))
    if size < least:
        raise UsageError(
            f"a sample of {size} cannot cover {len(strata)} strata (old labels by source of the pair)",
            hint=f"sample at least {least} pairs: --sample {least}",
        )
    while size > sum(shares.values()):
        # To the stratum that is furthest below its share; ties go by name, so that a larger sample holds a smaller one.
        open_ = [stratum for stratum, count in strata.items() if shares[stratum] < count]
        neediest = min(open_, key=lambda stratum: (shares[stratum] / strata[stratum], stratum))
        shares[neediest] += 1
    return shares


def _flips(label: str, strata: Sequence[_Stratum]) -> Flips:
    """Estimate the share of pairs that flip over several strata.

    The estimate weighs the rate of each stratum by its size. The interval is Wilson's, at the sample size that an
    unweighted sample of the same precision would have (Kish 1965), corrected for the share of all pairs that was
    sampled. Strata with no answer are taken to be like the others.
    """
    pairs = sum(stratum.pairs for stratum in strata)
    sampled = sum(stratum.sampled for stratum in strata)
    flipped = sum(stratum.flipped for stratum in strata)
    seen = [stratum for stratum in strata if stratum.sampled]
    if not seen:
        return Flips(label, pairs, 0, 0, None, 0.0, 1.0, None)
    total = sum(stratum.pairs for stratum in seen)
    rate = sum(stratum.pairs / total * stratum.flipped / stratum.sampled for stratum in seen)
    low = high = rate
    if sampled < pairs:
        effective = 1 / sum((stratum.pairs / total) ** 2 / stratum.sampled for stratum in seen)
        low, high = wilson(rate, effective * (pairs - 1) / (pairs - sampled))
    return Flips(label, pairs, sampled, flipped, rate, low, high, round(rate * pairs))


def wilson(rate: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) for a rate seen in `n` independent draws; `n` need not be whole."""
    middle = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
