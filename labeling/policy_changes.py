"""What an edit of a policy changes, and which answers given under the old version still hold under the new one.

People's answers carry over exactly where the question they answered is still being asked: the same words on both
sides, and the same labels to choose from, whatever these are called. A label that is taken away leaves the other
answers as they were, since whoever gave them had one more to choose from. A label that is added, or whose meaning
moves, may take pairs from any of the others, so then no answer holds by itself; the author alone can say that it does
(`keep_reviews`). Examples explain the question and do not change it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from store.database import Store
from store.policies import UNSURE, Label, Policy, add_policy, policy_versions
from store.policy_changes import carry_judgments, count_asked_again, reviews_by_label
from store.reviews import carry_reviews
from store.text import normalised

Sort = Literal["nothing", "sample", "everything"]  # what an edit puts in question, from least to most


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two policies; `old` or `new` is empty where there was, or is, nothing."""

    entry: str  # "question", "label answers: meaning" ...
    old: str
    new: str
    sort: Sort


def diff(old: Policy, new: Policy) -> list[Change]:
    """Return what differs between two policies, what costs most first.

    `everything`: labels added or removed. `sample`: wording (question, descriptions, meanings, names), examples, the
    order of labels; whether it moves any answer is found out on a sample. `nothing`: what only mining and training
    read.
    """
    changes = [
        *_label_changes(old, new),
        *_changed("sample", question=(old.question, new.question)),
        *_changed("sample", anchor=(old.anchor, new.anchor), candidate=(old.candidate, new.candidate)),
        *_example_changes(old, new),
        *_role_changes(old, new),
        *_signal_changes(old, new),
        *_changed("nothing", kinds=(", ".join(old.kinds) or "all", ", ".join(new.kinds) or "all")),
        *_changed("nothing", scale=(old.scale, new.scale)),
        *_changed("nothing", name=(old.name, new.name), title=(old.title, new.title)),
    ]
    order: Sequence[Sort] = ("everything", "sample", "nothing")
    return sorted(changes, key=lambda change: order.index(change.sort))


def carried_labels(old: Policy, new: Policy) -> dict[str, str]:
    """Map each old label whose reviews still hold to the new label that they now stand for; empty: none hold.

    Case, white space and punctuation aside, the question and both descriptions must be the same, and every new label
    must mean what an old one did.
    """
    texts = [(old.question, new.question), (old.anchor, new.anchor), (old.candidate, new.candidate)]
    if not all(_same_words(before, after) for before, after in texts):
        return {}
    successors = _successors(old, new)
    if set(successors.values()) != {label.name for label in new.labels}:
        return {}
    return successors | {UNSURE.name: UNSURE.name}


def kept_labels(old: Policy, new: Policy) -> dict[str, str]:
    """Map each old label to the new one that took its place, by meaning or else by name, however either is worded.

    What the author declares to hold, holds by this.
    """
    successors = _successors(old, new)
    free = {label.name for label in new.labels}.difference(successors.values())
    by_name = {label.name: label.name for label in old.labels if label.name not in successors and label.name in free}
    return successors | by_name | {UNSURE.name: UNSURE.name}


@dataclass(frozen=True, slots=True)
class Applied:
    """What storing a policy did. Reviews and pairs are counted under the new wording against the version before."""

    policy: Policy
    is_new: bool
    reviews_carried: int
    reviews_again: int  # answers of people that do not hold
    judgments_carried: int
    pairs_again: int  # that a judge had labelled, and will be asked about again


def apply_policy(store: Store, policy: Policy, *, keep_judgments: bool = False, keep_reviews: bool = False) -> Applied:
    """Store a policy as the newest version of its name and carry over what still holds. Twice is as good as once.

    Args:
        store: where to.
        policy: as read from a file.
        keep_judgments: the author takes the judges' answers under the old wording for answers under the new one.
        keep_reviews: the author declares that people's answers hold, whatever was reworded.
    """
    with store.transaction():
        stored, is_new = add_policy(store, policy)
        old = _reworded(store, stored, is_new=is_new)
        if old is None:
            return Applied(stored, is_new, 0, 0, 0, 0)
        carried = carry_reviews(
            store,
            old_fingerprint=old.labelling_fingerprint,
            new_fingerprint=stored.labelling_fingerprint,
            labels=kept_labels(old, stored) if keep_reviews else carried_labels(old, stored),
        )
        kept = carry_judgments(store, old, stored, kept_labels(old, stored)) if keep_judgments else 0
        return Applied(
            policy=stored,
            is_new=is_new,
            reviews_carried=carried,
            reviews_again=sum(reviews_by_label(store, old, stored).values()),
            judgments_carried=kept,
            pairs_again=count_asked_again(store, old, stored),
        )


def _reworded(store: Store, policy: Policy, *, is_new: bool) -> Policy | None:
    """Return the version whose answers are carried: the one before a new version, if it is worded otherwise.

    A policy that is stored already takes what has come in since for the last version of another wording: answers
    that were given before the edit may be fetched after it.
    """
    versions = policy_versions(store, policy.name)[:-1]
    if is_new:
        versions = versions[-1:]
    others = (v for v in reversed(versions) if v.labelling_fingerprint != policy.labelling_fingerprint)
    return next(others, None)


def _successors(old: Policy, new: Policy) -> dict[str, str]:
    """Map old labels to the new ones with the same meaning, of the same name where several have it."""
    found = {}
    for label in old.labels:
        same = [other.name for other in new.labels if _same_words(other.meaning, label.meaning)]
        if same:
            found[label.name] = label.name if label.name in same else same[0]
    return found


def _same_words(one: str, other: str) -> bool:
    return normalised(one) == normalised(other)


def _changed(sort: Sort, **entries: tuple[str, str]) -> list[Change]:
    return [Change(entry, before, after, sort) for entry, (before, after) in entries.items() if before != after]


def _label_changes(old: Policy, new: Policy) -> list[Change]:
    kept = kept_labels(old, new)
    before = {label.name: label for label in old.labels}
    after = {label.name: label for label in new.labels}
    changes = [Change(f"label {name}", "", after[name].meaning, "everything") for name in after.keys() - kept.values()]
    changes += [Change(f"label {name}", before[name].meaning, "", "everything") for name in before.keys() - kept.keys()]
    changes.sort(key=lambda change: change.entry)
    for name, label in before.items():
        if name in kept:
            successor = after[kept[name]]
            changes += _changed("sample", **{f"label {name}: name": (name, successor.name)})
            changes += _changed("sample", **{f"label {name}: meaning": (label.meaning, successor.meaning)})
    remaining = [kept[name] for name in before if name in kept]
    ordered = [name for name in after if name in remaining]
    return changes + _changed("sample", **{"order of the labels": (", ".join(remaining), ", ".join(ordered))})


def _example_changes(old: Policy, new: Policy) -> list[Change]:
    def shown(policy: Policy) -> dict[str, str]:
        return {f"{e.anchor} | {e.candidate}": f"{e.label}: {e.reason}" for e in policy.examples}

    before, after = shown(old), shown(new)
    changes = []
    for pair in [*before, *(pair for pair in after if pair not in before)]:
        said, says = before.get(pair, ""), after.get(pair, "")
        if said != says:
            old_text, new_text = (f"{pair} = {text}" if text else "" for text in (said, says))
            changes.append(Change("example", old_text, new_text, "sample"))
    if not changes and old.examples != new.examples:
        changes.append(Change("order of the examples", "", "", "sample"))
    return changes


def _role_changes(old: Policy, new: Policy) -> list[Change]:
    kept = kept_labels(old, new)
    before: dict[str, Label] = {label.name: label for label in old.labels}
    return [
        change
        for name, label in before.items()
        if name in kept
        for change in _changed("nothing", **{f"label {kept[name]}: role": (label.role, new.role(kept[name]))})
    ]


def _signal_changes(old: Policy, new: Policy) -> list[Change]:
    def shown(policy: Policy, signal: str) -> str:
        if signal not in policy.signals:
            return ""
        weight = policy.weights.get(signal, 1.0)
        return policy.signals[signal] + (f" x {weight:g}" if weight != 1 else "")

    signals = [*old.signals, *(signal for signal in new.signals if signal not in old.signals)]
    return [
        change
        for signal in signals
        for change in _changed("nothing", **{f"signal {signal}": (shown(old, signal), shown(new, signal))})
    ]
