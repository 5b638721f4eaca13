"""What an edit of a policy would cost, said before anything is stored. The plan counts; it asks nobody."""

from collections.abc import Mapping
from dataclasses import dataclass

from labeling.policy_changes import Change, Sort, carried_labels, diff, kept_labels
from labeling.prompts import PROMPT, system_text
from store.database import Store
from store.policies import Policy, list_policies, policy_versions
from store.policy_changes import JudgeUse, count_asked_again, judge_use, reviews_by_label, unjudged
from store.workspace import Price

_CHARACTERS_A_TOKEN = 4  # of English prose; code and other languages take more tokens
_COMPLETION_TOKENS = 60  # a quote, a label and a short reason


@dataclass(frozen=True, slots=True)
class Calls:
    """What asking one judge takes. Means a call; `cost_usd` is for all calls, None where no price is known."""

    model: str | None
    calls: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float | None
    counted: bool  # the tokens are guessed from the length of the prompt, since no past judgment tells them


@dataclass(frozen=True, slots=True)
class Plan:
    """What storing a policy would do."""

    policy: str
    version: int  # that it would get; the newest one's where nothing changed
    is_new: bool
    sort: Sort
    changes: tuple[Change, ...]
    shares_with: tuple[str, ...]  # other policies of the same wording: all answers count under both
    pairs: int  # that judges have labelled under the old wording, and would be asked about again
    again: tuple[Calls, ...]  # by judge, for those pairs
    first: Calls  # pairs that no judge has labelled yet, whatever the wording
    reviews: int  # answers of people under the old wording that are at stake
    reviews_holding: int
    reviews_again: int

    @property
    def is_free(self) -> bool:
        """Nothing that somebody has answered would be asked again."""
        return self.pairs == 0 and self.reviews_again == 0


def plan_change(
    store: Store,
    policy: Policy,
    prices: Mapping[str, Price],
    *,
    model: str | None = None,
    keep_judgments: bool = False,
    keep_reviews: bool = False,
) -> Plan:
    """Say what storing `policy` would change and cost; nothing is asked or stored.

    Args:
        store: where the older versions and the answers are.
        policy: as read from a file.
        prices: dollars by model name.
        model: which judge the pairs that nobody has judged would go to.
        keep_judgments: see `apply_policy`.
        keep_reviews: see `apply_policy`.
    """
    versions = policy_versions(store, policy.name)
    old = versions[-1] if versions else policy
    changes = tuple(diff(old, policy)) if versions else ()
    is_new = not versions or old.policy_id != policy.policy_id
    others = [p.name for p in list_policies(store) if p.labelling_fingerprint == policy.labelling_fingerprint]
    unasked = unjudged(store, old, policy)
    kept = list(kept_labels(old, policy)) if keep_judgments else []
    usual = judge_use(store, old, policy, kept=kept)
    first_judge = usual[0] if usual else JudgeUse("", model, 0, None, None, None)
    reworded = old.labelling_fingerprint != policy.labelling_fingerprint
    at_stake = reviews_by_label(store, old, policy) if reworded else {}
    hold = kept_labels(old, policy) if keep_reviews else carried_labels(old, policy)
    reviews = sum(at_stake.values())
    holding = sum(count for label, count in at_stake.items() if hold and (label is None or label in hold))
    return Plan(
        policy=policy.name,
        version=len(versions) + is_new,
        is_new=is_new,
        sort=changes[0].sort if changes else "nothing",
        changes=changes,
        shares_with=tuple(name for name in others if name != policy.name),
        pairs=count_asked_again(store, old, policy, kept=kept),
        again=tuple(_calls(use, use.pairs, old, policy, unasked.characters, prices) for use in usual if use.pairs),
        first=_calls(first_judge, unasked.pairs, old, policy, unasked.characters, prices),
        reviews=reviews,
        reviews_holding=holding,
        reviews_again=reviews - holding,
    )


def _calls(
    use: JudgeUse, calls: int, old: Policy, new: Policy, characters: float, prices: Mapping[str, Price]
) -> Calls:
    """Estimate tokens from what the judge took so far, and from how much longer the shared part of its prompt gets."""
    before, after = (len(system_text(PROMPT, policy)) for policy in (old, new))
    counted = use.prompt_tokens is None or use.completion_tokens is None
    if use.prompt_tokens is None or use.completion_tokens is None:
        prompt, completion = (after + characters) / _CHARACTERS_A_TOKEN, float(_COMPLETION_TOKENS)
    else:
        prompt = max(0.0, use.prompt_tokens + (after - before) / _CHARACTERS_A_TOKEN)
        completion = use.completion_tokens
    price = prices.get(use.model) if use.model else None
    cost = None
    if price:
        cached = min(use.cached_tokens or 0.0, prompt)
        cached_price = price.input if price.cached is None else price.cached
        cost = calls * ((prompt - cached) * price.input + cached * cached_price + completion * price.output) / 1e6
    return Calls(use.model, calls, prompt, completion, cost, counted)
