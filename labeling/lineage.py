"""The whole story of a row of training data, from what was exported back to the line of the log.

Everything in it is what is stored. A prompt is put together again from what is stored, and shown only where its hash is
that of the prompt that was sent.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from labeling.judgment_history import SentPrompt, pair_history
from store.builds import Build, get_build
from store.database import Store
from store.errors import MissingError
from store.ids import anchor_id, pair_id
from store.judgment_history import StoredPair, find_pair
from store.labels import Resolution
from store.lineage import (
    BuiltLabel,
    BuiltTriplet,
    Logged,
    PutForward,
    built_labels,
    certificates_named,
    find_texts,
    find_triplets,
    labels_now,
    logs_of_anchor,
    pairs_of_record,
    put_forward,
    reviews_of_pair,
)
from store.policies import Policy, get_policy_by_id, policy_versions

_ROUND = re.compile(r"-\d+$")  # of adjudication, behind a pair id, in the external id of a record


@dataclass(frozen=True, slots=True)
class Standing:
    """The label and the role of a pair under a policy, and who gave it; None where it has none."""

    label: str | None
    role: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class PairLineage:
    """A pair and all that stands behind its label.

    `in_builds` is what each build froze, `now` what each policy says at present. Reviews and judgments are rows of
    their tables; every judgment's `prompt_id` is a key of `prompts`. `asked_in` are the lines in which the anchor was
    asked.
    """

    pair: StoredPair
    anchor_id: str
    in_builds: tuple[BuiltLabel, ...]
    now: Mapping[str, Standing]  # by policy
    reviews: tuple[Mapping[str, object], ...]
    judgments: tuple[Mapping[str, object], ...]
    prompts: Mapping[str, SentPrompt]
    candidates: tuple[PutForward, ...]
    asked_in: tuple[Logged, ...]


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a build was made by: its policy as it was then, and the certificates by which it took a judge's labels."""

    build: Build
    policy: Policy
    version: int  # of the policy, as it was numbered then
    resolution: str
    certificates: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What stands behind a row: the triplets that it holds, or is, and each pair of theirs once.

    A row that holds no whole triplet has pairs only, and a pair that was asked for by itself comes with all policies.
    """

    builds: Mapping[str, BuildFacts]
    triplets: tuple[BuiltTriplet, ...]
    pairs: tuple[PairLineage, ...]


def lineage_of(store: Store, name: str, resolution: Resolution) -> Lineage:
    """Return what stands behind a triplet, a pair or a review server's record, given by its id.

    Args:
        store: where to look.
        name: id of a triplet or a pair, or the beginning of one; or the id, or external id, of a record in Argilla
            that has been answered.
        resolution: how labels are resolved at present.

    Raises:
        MissingError: nothing of that name is known.
        UsageError: it stands for several.
    """
    if name.startswith("triplet_"):
        return _of_triplets(store, find_triplets(store, name), (), resolution)
    if name.startswith("pair_"):
        return _of_pairs(store, [find_pair(store, _ROUND.sub("", name)).pair_id], resolution)
    answered = pairs_of_record(store, name)
    if not answered:
        raise MissingError(
            f"{name!r} is no triplet, pair, line of an export, or record of Argilla whose answers were pulled",
            hint="uncited lineage FILE:LINE   # a line of train.jsonl, say; or the id of a triplet or a pair",
        )
    return _of_pairs(store, answered, resolution)


def lineage_of_texts(store: Store, build_id: str, texts: Collection[str], resolution: Resolution) -> Lineage:
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
    return _of_triplets(store, found.triplets, found.pair_ids, resolution, build_id=build.build_id)


def _of_triplets(
    store: Store,
    triplets: Sequence[BuiltTriplet],
    further_pairs: Sequence[str],
    resolution: Resolution,
    *,
    build_id: str | None = None,
) -> Lineage:
    ids = [pair_id(t.anchor_id, chunk) for t in triplets for chunk in (t.positive_id, t.negative_id)]
    named = dict.fromkeys([t.build_id for t in triplets] + ([build_id] if build_id else []))
    builds = {name: _facts(store, name) for name in named}
    versions = policy_versions(store, next(iter(builds.values())).policy.name)
    pairs = _of_pairs(store, dict.fromkeys([*ids, *further_pairs]), resolution).pairs
    return Lineage(builds, tuple(triplets), tuple(_of_policy(pair, versions) for pair in pairs))


def _of_pairs(store: Store, pair_ids: Collection[str], resolution: Resolution) -> Lineage:
    pairs = tuple(_pair_lineage(store, find_pair(store, name), resolution) for name in pair_ids)
    builds = dict.fromkeys(label.build_id for pair in pairs for label in pair.in_builds)
    return Lineage({name: _facts(store, name) for name in builds}, (), pairs)


def _facts(store: Store, build_id: str) -> BuildFacts:
    build = get_build(store, build_id)
    named = build.settings.get("certificates")
    return BuildFacts(
        build,
        get_policy_by_id(store, build.policy_id),
        int(str(build.settings["policy_version"])),
        str(build.settings["resolution"]),
        tuple(certificates_named(store, [str(name) for name in named] if isinstance(named, list) else [])),
    )


def _pair_lineage(store: Store, pair: StoredPair, resolution: Resolution) -> PairLineage:
    history = pair_history(store, pair)
    now = {}
    for name, found in labels_now(store, pair.pair_id, resolution).items():
        roles = {answer.name: answer.role for answer in get_policy_by_id(store, found.policy_id).answers}
        now[name] = Standing(found.label, roles.get(found.label or ""), found.source if found.label else None)
    anchor = anchor_id(pair.anchor)
    return PairLineage(
        pair=pair,
        anchor_id=anchor,
        in_builds=tuple(built_labels(store, pair.pair_id)),
        now=now,
        reviews=tuple(reviews_of_pair(store, pair.pair_id)),
        judgments=history.judgments,
        prompts=history.prompts,
        candidates=tuple(put_forward(store, pair.pair_id)),
        asked_in=tuple(logs_of_anchor(store, anchor)),
    )


def _of_policy(lineage: PairLineage, versions: Sequence[Policy]) -> PairLineage:
    """Return the part of a pair's lineage that concerns one policy, given all its versions."""
    name = versions[0].name
    asked = {version.labelling_fingerprint for version in versions}
    judgments = tuple(j for j in lineage.judgments if j["labelling_fingerprint"] in asked)
    shown = {str(judgment["prompt_id"]) for judgment in judgments}
    return replace(
        lineage,
        now={policy: standing for policy, standing in lineage.now.items() if policy == name},
        reviews=tuple(review for review in lineage.reviews if review["labelling_fingerprint"] in asked),
        judgments=judgments,
        prompts={prompt_id: prompt for prompt_id, prompt in lineage.prompts.items() if prompt_id in shown},
        candidates=tuple(candidate for candidate in lineage.candidates if candidate.policy_name == name),
    )
