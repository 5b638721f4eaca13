"""What changed from one build to another, and why, as far as it is known."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from store.build_differences import Between, ChangedPair, ChangedTriplet, between, changed_pairs, changed_triplets
from store.builds import Build
from store.database import Store
from store.policies import get_policy_by_id

# Settings of a build by what they decide; the others count or name what went in.
_ANSWERS = ("resolution", "propagate")
_TRUST = ("judge_labels", "uncertified", "certificates")
_CHOSEN = (*_ANSWERS, *_TRUST, "test_share", "seed", "negatives_per_positive", "policy_version")

_QUESTION = "the policy asks something else"
_ROLES = "the policy gives labels other roles"
_FORGOTTEN = "a text was forgotten"
_REVIEWS = "new reviews"
_RULES = "another rule of resolution or propagation"
_CERTIFICATES = "other certificates, or another say about a judge's labels"
_JUDGMENTS = "new judgments"
_IMPORTED = "newly imported data"
_SPLITS = "split otherwise"
_OTHERS = "other candidates, or another text that repeats it"
_NEGATIVES = "another number of negatives for each positive"
_LINE = "its pairs are the same; other negatives stand first in line, or a test query's positive is kept out"


@dataclass(frozen=True, slots=True)
class Explained:
    """Something that changed, and why."""

    change: ChangedPair | ChangedTriplet
    reason: str


@dataclass(frozen=True, slots=True)
class BuildDiff:
    """What changed from the build `before` to `after`. `settings` maps those that differ to what they were and are."""

    before: Build
    after: Build
    settings: Mapping[str, tuple[object, object]]
    pairs: tuple[Explained, ...]
    triplets: tuple[Explained, ...]

    @property
    def reasons(self) -> dict[str, tuple[int, int, int]]:
        """Count by reason: pairs, triplets added, triplets removed; the most frequent reason first."""
        pairs = Counter(one.reason for one in self.pairs)
        added, removed = (
            Counter(
                one.reason
                for one in self.triplets
                if isinstance(one.change, ChangedTriplet) and one.change.is_added == is_added
            )
            for is_added in (True, False)
        )
        total = pairs + added + removed
        return {reason: (pairs[reason], added[reason], removed[reason]) for reason, _ in total.most_common()}


def diff(store: Store, before: Build, after: Build) -> BuildDiff:
    """Compare two builds, and explain each change by what came between them.

    Where several things explain a change, the first of these is named: the policy's question, its roles, a text that
    was forgotten, new reviews, the rules for people's answers, certificates, new judgments, newly imported data.
    """
    pairs, triplets = changed_pairs(store, before, after), changed_triplets(store, before, after)
    since, until = sorted((before.built_at, after.built_at))
    known = between(store, [pair.pair_id for pair in pairs], since, until)
    settings = {
        name: (before.settings.get(name), after.settings.get(name))
        for name in _CHOSEN
        if before.settings.get(name) != after.settings.get(name)
    }
    policies = [get_policy_by_id(store, build.policy_id) for build in (before, after)]
    asks_else = policies[0].labelling_fingerprint != policies[1].labelling_fingerprint
    roles = [{answer.name: answer.role for answer in policy.answers} for policy in policies]
    other_roles = {label for label in {**roles[0], **roles[1]} if roles[0].get(label) != roles[1].get(label)}
    because = {p.pair_id: _why(p, known, set(settings), asks_else=asks_else, other_roles=other_roles) for p in pairs}
    return BuildDiff(
        before,
        after,
        settings,
        tuple(Explained(pair, because[pair.pair_id]) for pair in pairs),
        tuple(Explained(triplet, _why_triplet(triplet, because, set(settings))) for triplet in triplets),
    )


def _why(
    pair: ChangedPair, known: Between, settings: set[str], *, asks_else: bool, other_roles: Collection[str]
) -> str:
    then, now = pair.then, pair.now
    sides = [side for side in (then, now) if side]
    sources = {side.source for side in sides}
    if then and now and (then.label, then.role, then.source) == (now.label, now.role, now.source):
        return _SPLITS
    explanations = (
        (_QUESTION, asks_else),
        (_ROLES, any(side.label in other_roles for side in sides)),
        (_FORGOTTEN, pair.pair_id in known.forgotten),
        (_REVIEWS, pair.pair_id in known.reviewed),
        (_RULES, bool(settings & set(_ANSWERS)) and sources != {"judge"}),
        (_CERTIFICATES, bool(settings & set(_TRUST)) and "judge" in sources),
        (_JUDGMENTS, pair.pair_id in known.judged and "judge" in sources),
        (_IMPORTED, pair.pair_id in known.imported),
    )
    return next((reason for reason, holds in explanations if holds), _OTHERS)


def _why_triplet(triplet: ChangedTriplet, because: Mapping[str, str], settings: set[str]) -> str:
    changed = [because[pair] for pair in triplet.pair_ids if pair in because]
    if changed:
        return next((reason for reason in changed if reason != _SPLITS), changed[0])
    return _NEGATIVES if "negatives_per_positive" in settings else _LINE
