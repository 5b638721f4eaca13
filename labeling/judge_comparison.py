"""Judges with examples from people against the same judges without, on reviews that neither has seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from labeling.few_shot import held_out
from labeling.judge_quality import Quality, Verdicts, claim, gain, quality, relevance
from store.calibrations import JudgedAndReviewed, judged_and_reviewed, judges_that_labelled
from store.database import Store
from store.errors import MissingError
from store.example_sets import get_example_set
from store.labels import Resolution
from store.policies import Policy

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Compared:
    """A judge with examples and the same one without, on the same pairs.

    `gain` is with examples minus without; `claims` says by measure what may be claimed of it. `blind` counts the pairs
    that people answered without a suggestion before them.
    """

    model: str
    zero_shot_judge: str
    few_shot_judge: str
    example_set: str
    blind: int
    zero_shot: Quality
    few_shot: Quality
    gain: Quality
    claims: Mapping[str, str]


def compare_judges(
    store: Store, policy: Policy, *, rng: "np.random.Generator", resolution: Resolution = "majority"
) -> list[Compared]:
    """Compare every judge that was shown examples from people with the one that differs from it in nothing else.

    Only reviews of held-out queries count (see `labeling.few_shot.held_out`); `resolution` makes one label of several
    people's answers, as for `store.labels.labelled_candidates`.

    Raises:
        MissingError: there are no two such judges, or no held-out review of a pair that both judged.
    """
    judges = judges_that_labelled(store, policy)
    plain = {_without_examples(config): judge for judge, config in judges.items() if "examples" not in config}
    compared, reasons = [], []
    for judge, config in judges.items():
        if "examples" not in config:
            continue
        twin = plain.get(_without_examples(config))
        if twin is None:
            reasons.append(f"{config.get('model')} has judged with examples only")
            continue
        example_set = str(cast("Mapping[str, object]", config["examples"])["set"])
        ours, theirs = _held_out_by_both(store, policy, (judge, twin), example_set, resolution)
        if not ours:
            reasons.append(f"people have labelled no pair of a held-out query that {config.get('model')} judged twice")
            continue
        few, zero = verdicts(policy, ours), verdicts(policy, theirs)
        gained = gain(few, zero, rng=rng)
        compared.append(
            Compared(
                model=str(config.get("model")),
                zero_shot_judge=twin,
                few_shot_judge=judge,
                example_set=example_set,
                blind=sum(row.blind for row in ours),
                zero_shot=quality(zero, rng=rng),
                few_shot=quality(few, rng=rng),
                gain=gained,
                claims={name: claim(getattr(gained, name)) for name in ("agreement", "kappa", "auc")},
            )
        )
    if not compared:
        why = "; ".join(reasons) or "no judge was shown examples yet"
        raise MissingError(
            f"nothing to compare under {policy.name}: {why}",
            hint=f"uncited judge --policy {policy.name} && uncited judge --policy {policy.name} --few-shot 4",
        )
    return compared


def verdicts(policy: Policy, rows: Sequence[JudgedAndReviewed]) -> Verdicts:
    """Line up what a judge and people said."""
    return Verdicts(
        queries=[row.anchor_id for row in rows],
        human=[row.human for row in rows],
        judged=[row.label for row in rows],
        relevant=[policy.role(row.human) == "positive" for row in rows],
        relevance=[relevance(policy, row.label, row.confidence) for row in rows],
    )


def _held_out_by_both(
    store: Store, policy: Policy, judges: tuple[str, str], example_set: str, resolution: Resolution
) -> tuple[list[JudgedAndReviewed], list[JudgedAndReviewed]]:
    shown = {pair.anchor_id for pair in get_example_set(store, example_set).pairs}
    one, other = (
        {
            row.pair_id: row
            for row in judged_and_reviewed(store, policy, judge, resolution=resolution)
            if held_out(row.anchor) and row.anchor_id not in shown
        }
        for judge in judges
    )
    both = sorted(one.keys() & other.keys())
    return [one[pair] for pair in both], [other[pair] for pair in both]


def _without_examples(config: Mapping[str, object]) -> str:
    return json.dumps({name: value for name, value in config.items() if name != "examples"}, sort_keys=True)
