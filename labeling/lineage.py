"""The whole story of a row of training data, from what was exported back to the line of the log.

Everything in it is what is stored. A prompt is put together again from what is stored, and shown only where its hash is
that of the prompt that was sent.
"""

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from labeling.judgment_history import SentPrompt, pair_history
from store.builds import Build, get_build
from store.database import Store
from store.errors import MissingError
from store.ids import anchor_id, pair_id
from store.judgment_history import StoredPair, find_pair
from store.labels import Resolution
from store.lineage import (
    AnswersWith,
    BuiltLabel,
    Logged,
    PutForward,
    built_labels,
    certificates_named,
    judged_pairs,
    labels_now,
    last_altered,
    logs_of_anchors,
    put_forward,
    reviews_of_pairs,
    stored_pairs,
    votes_on,
)
from store.policies import Policy, get_policy_by_id, policy_versions
from store.propagation import Propagate
from store.row_pairs import BuiltTriplet, find_texts, find_triplets, pairs_of_record

_ROUND = re.compile(r"-\d+$")  # of adjudication, behind a pair id, in the external id of a record


class Rules(NamedTuple):
    """How labels are made at present: of several people's answers, and of answers about duplicates."""

    resolution: Resolution
    propagate: Propagate


@dataclass(frozen=True, slots=True)
class Standing:
    """The label and the role of a pair under a policy's newest version, and who gave it; None where it has none."""

    policy_name: str
    label: str | None
    role: str | None
    source: str | None
    propagated_from: str | None  # the pair that people answered, where source says so


@dataclass(frozen=True, slots=True)
class PairLineage:
    """A pair and all that stands behind its label.

    `in_builds` is what each build froze, `now` what each policy says at present. Reviews and judgments are rows of
    their tables; every judgment's `prompt_id` is a key of `prompts`. `asked_in` are the lines in which the anchor was
    asked, `votes` those of them that retrieved the chunk, counted by what happened to it there.
    """

    pair: StoredPair
    anchor_id: str
    in_builds: tuple[BuiltLabel, ...]
    now: tuple[Standing, ...]
    reviews: tuple[Mapping[str, object], ...]
    judgments: tuple[Mapping[str, object], ...]
    prompts: Mapping[str, SentPrompt]
    candidates: tuple[PutForward, ...]
    asked_in: tuple[Logged, ...]
    votes: tuple[AnswersWith, ...]


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a build was made by: its policy as it was then, and the certificates by which it took a judge's labels.

    `altered` says when something of it was last forgotten.
    """

    build: Build
    policy: Policy
    version: int  # of the policy, as it was numbered then
    resolution: str
    certificates: tuple[Mapping[str, object], ...]
    altered: datetime | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """What stands behind a row: the triplets that it holds, or is, and each pair of theirs once.

    A row that holds no whole triplet has pairs only, and a pair that was asked for by itself comes with all policies.
    """

    builds: Mapping[str, BuildFacts]
    triplets: tuple[BuiltTriplet, ...]
    pairs: tuple[PairLineage, ...]


def lineage_of(store: Store, name: str, rules: Rules) -> Lineage:
    """Return what stands behind a triplet, a pair or a review server's record, given by its id.

    Args:
        store: where to look.
        name: id of a triplet or a pair, or the beginning of one; or the id, or external id, of a record in Argilla
            that has been answered.
        rules: how labels are made at present.

    Raises:
        MissingError: nothing of that name is known.
        UsageError: it stands for several.
    """
    if name.startswith("triplet_"):
        return _of_triplets(store, find_triplets(store, name), (), rules)
    if name.startswith("pair_"):
        return _of_pairs(store, [find_pair(store, _ROUND.sub("", name)).pair_id], rules)
    answered = pairs_of_record(store, name)
    if not answered:
        raise MissingError(
            f"{name!r} is no triplet, pair, line of an export, or record of Argilla whose answers were pulled",
            hint="uncited lineage FILE:LINE   # a line of train.jsonl, say; or the id of a triplet or a pair",
        )
    return _of_pairs(store, answered, rules)


def lineage_of_texts(store: Store, build_id: str, texts: Collection[str], rules: Rules) -> Lineage:
    """Return what stands behind a row of an export of a build, given the texts in the row.

    Raises:
        MissingError: this store has no such build, or the build has no such row.
    """
    build = get_build(store, build_id)
    found = find_texts(store, build.build_id, texts)
    if not found.triplets and not found.pair_ids:
        raise MissingError(
            f"build {build.build_id} has no triplet and no labelled pair with the texts of this row: the row was"
            " edited, or forgotten since",
            hint="uncited verify",
        )
    return _of_triplets(store, found.triplets, found.pair_ids, rules, build_id=build.build_id)


def _of_triplets(
    store: Store,
    triplets: Sequence[BuiltTriplet],
    further_pairs: Sequence[str],
    rules: Rules,
    *,
    build_id: str | None = None,
) -> Lineage:
    ids = [pair_id(t.anchor_id, chunk) for t in triplets for chunk in (t.positive_id, t.negative_id)]
    named = dict.fromkeys([t.build_id for t in triplets] + ([build_id] if build_id else []))
    builds = {name: _facts(store, name) for name in named}
    versions = policy_versions(store, next(iter(builds.values())).policy.name)
    pairs = _of_pairs(store, dict.fromkeys([*ids, *further_pairs]), rules).pairs
    return Lineage(builds, tuple(triplets), tuple(_of_policy(pair, versions) for pair in pairs))


def _of_pairs(store: Store, pair_ids: Collection[str], rules: Rules) -> Lineage:
    """Return the lineage of pairs, and of those whose label was lent to them."""
    own = _pair_lineages(store, pair_ids, rules)
    known = {lineage.pair.pair_id for lineage in own}
    lenders = {built.propagated_from for lineage in own for built in lineage.in_builds}
    lenders |= {standing.propagated_from for lineage in own for standing in lineage.now}
    pairs = [*own, *_pair_lineages(store, sorted(name for name in lenders if name and name not in known), rules)]
    builds = dict.fromkeys(label.build_id for pair in pairs for label in pair.in_builds)
    return Lineage({name: _facts(store, name) for name in builds}, (), tuple(pairs))


def _facts(store: Store, build_id: str) -> BuildFacts:
    build = get_build(store, build_id)
    named = build.settings.get("certificates")
    return BuildFacts(
        build,
        get_policy_by_id(store, build.policy_id),
        int(str(build.settings["policy_version"])),
        str(build.settings["resolution"]),
        tuple(certificates_named(store, [str(name) for name in named] if isinstance(named, list) else [])),
        last_altered(store, build_id),
    )


def _pair_lineages(store: Store, pair_ids: Collection[str], rules: Rules) -> list[PairLineage]:
    pairs = stored_pairs(store, pair_ids)
    for name in pair_ids:
        if name not in pairs:
            raise MissingError(f"the texts of {name} are not here any more: they were forgotten", "uncited verify")
    anchors = {name: anchor_id(pair.anchor) for name, pair in pairs.items()}
    in_builds, reviews = built_labels(store, pair_ids), reviews_of_pairs(store, pair_ids)
    now, candidates = labels_now(store, pair_ids, *rules), put_forward(store, pair_ids)
    asked_in, votes = logs_of_anchors(store, set(anchors.values())), votes_on(store, pair_ids)
    judged = judged_pairs(store, pair_ids)
    roles = functools.cache(lambda policy_id: {a.name: a.role for a in get_policy_by_id(store, policy_id).answers})
    lineages = []
    for name in pair_ids:
        history = pair_history(store, pairs[name]) if name in judged else None
        lineages.append(
            PairLineage(
                pair=pairs[name],
                anchor_id=anchors[name],
                in_builds=tuple(in_builds[name]),
                now=tuple(
                    Standing(f.policy_name, f.label, roles(f.policy_id).get(f.label or ""), f.source, f.propagated_from)
                    for f in now[name]
                ),
                reviews=tuple(reviews[name]),
                judgments=history.judgments if history else (),
                prompts=history.prompts if history else {},
                candidates=tuple(candidates[name]),
                asked_in=tuple(asked_in[anchors[name]]),
                votes=tuple(votes[name]),
            )
        )
    return lineages


def _of_policy(lineage: PairLineage, versions: Sequence[Policy]) -> PairLineage:
    """Return the part of a pair's lineage that concerns one policy, given all its versions."""
    name = versions[0].name
    asked = {version.labelling_fingerprint for version in versions}
    judgments = tuple(j for j in lineage.judgments if j["labelling_fingerprint"] in asked)
    shown = {str(judgment["prompt_id"]) for judgment in judgments}
    return replace(
        lineage,
        now=tuple(standing for standing in lineage.now if standing.policy_name == name),
        reviews=tuple(review for review in lineage.reviews if review["labelling_fingerprint"] in asked),
        judgments=judgments,
        prompts={prompt_id: prompt for prompt_id, prompt in lineage.prompts.items() if prompt_id in shown},
        candidates=tuple(candidate for candidate in lineage.candidates if candidate.policy_name == name),
    )
