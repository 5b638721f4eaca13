"""Policies as stored: versioned by what they say, addressed by two fingerprints."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.ids import canonical_json, content_id

Role = Literal["positive", "negative", "excluded"]
Scale = Literal["set", "ordered"]


@dataclass(frozen=True)
class Label:
    """One answer to the policy's question. The role says what training makes of it."""

    name: str
    meaning: str
    role: Role


# Offered under every policy, so that nobody (judge or person) has to guess.
UNSURE = Label("unsure", "the two texts do not settle the question", "excluded")


@dataclass(frozen=True)
class Example:
    """A pair with its right label, shown to judges and reviewers."""

    anchor: str
    candidate: str
    label: str
    reason: str = ""


@dataclass(frozen=True)
class Policy:
    """A definition of "similar".

    `signals` maps what happened to a retrieved chunk to the label it suggests, e.g. `{"cited": "answers"}`, and
    `weights` says how strongly, for those signals that count less than 1. Two fingerprints: judgments and reviews hang
    on `labelling_fingerprint`; a change of roles, signals, weights, kinds, scale, name or title leaves it as it was
    and costs nothing. The texts of a policy that was read from a file are in canonical form (see docs/policies.md).
    """

    name: str
    question: str
    anchor: str
    candidate: str
    labels: tuple[Label, ...]
    signals: Mapping[str, str]
    examples: tuple[Example, ...] = ()
    title: str = ""
    version: int = 0  # 0: not stored yet
    weights: Mapping[str, float] = field(default_factory=dict)  # above 0 and below 1
    kinds: tuple[str, ...] = ()  # of chunk that it covers, sorted; empty: all
    scale: Scale = "set"  # ordered: the labels stand in their order on a scale

    @cached_property
    def labelling_fingerprint(self) -> str:
        """Hash over what a judge or reviewer reads before answering; the order of labels is part of it."""
        return content_id(
            "labelling",
            self.question,
            self.anchor,
            self.candidate,
            [[label.name, label.meaning] for label in self.labels],
            [[e.anchor, e.candidate, e.label, e.reason] for e in self.examples],
        )

    @cached_property
    def training_fingerprint(self) -> str:
        """Hash over what mining and training make of the answers: roles, signals and weights, kinds, scale.

        What is left at its default is not part of it, so that a new entry of policies changes no older fingerprint.
        """
        given: dict[str, object] = {}
        if self.weights:
            given["weights"] = dict(self.weights)
        if self.kinds:
            given["kinds"] = list(self.kinds)
        if self.scale != "set":
            given["scale"] = self.scale
        roles = {label.name: label.role for label in self.labels}
        return content_id("training", roles, dict(self.signals), *([given] if given else []))

    @cached_property
    def policy_id(self) -> str:
        """Id of this version of this policy."""
        return content_id("policy", self.name, self.labelling_fingerprint, self.training_fingerprint)

    @property
    def answers(self) -> tuple[Label, ...]:
        """The labels that may be given: the policy's own and `unsure`."""
        return (*self.labels, UNSURE)

    def role(self, label: str) -> Role:
        """Return the role of `label`.

        Raises:
            KeyError: the policy has no such label.
        """
        return {answer.name: answer.role for answer in self.answers}[label]

    def suggested_roles(self) -> dict[str, Role]:
        """Map each signal that the policy names to the role of the label it suggests."""
        return {signal: self.role(label) for signal, label in self.signals.items()}

    def votes(self) -> dict[str, float]:
        """Map each signal to its weight: above zero where it suggests a positive, below where a negative.

        A signal that suggests an excluded label votes for neither, and is not there.
        """
        signs = {"positive": 1.0, "negative": -1.0}
        roles = self.suggested_roles()
        return {s: signs[role] * self.weights.get(s, 1.0) for s, role in roles.items() if role in signs}


def add_policy(store: Store, policy: Policy) -> tuple[Policy, bool]:
    """Store `policy` as the newest version of its name, unless the newest says the same already.

    A change of title only is no new version: the newest takes the title.

    Returns:
        The policy as stored, with its version, and whether that version is new.
    """
    versions = policy_versions(store, policy.name)
    if versions and versions[-1].policy_id == policy.policy_id:
        newest = replace(versions[-1], title=policy.title)
        if newest != versions[-1]:
            store.execute(
                "UPDATE policies SET body = ? WHERE name = ? AND version = ?",
                [canonical_json(asdict(newest)), newest.name, newest.version],
            )
        return newest, False
    stored = replace(policy, version=len(versions) + 1)
    store.insert(
        "policies",
        pa.table(
            {
                "name": [stored.name],
                "version": pa.array([stored.version], pa.int32()),
                "policy_id": [stored.policy_id],
                "labelling_fingerprint": [stored.labelling_fingerprint],
                "training_fingerprint": [stored.training_fingerprint],
                "body": [canonical_json(asdict(stored))],
                "added_at": [datetime.now(UTC)],
            }
        ),
    )
    return stored, True


def policy_versions(store: Store, name: str) -> list[Policy]:
    """Return all versions of the policy `name`, oldest first; empty if there is none."""
    rows = store.rows("SELECT body FROM policies WHERE name = ? ORDER BY version", [name])
    return [_from_body(str(row["body"])) for row in rows]


def list_policies(store: Store) -> list[Policy]:
    """Return the newest version of every policy, by name."""
    rows = store.rows("SELECT body FROM policies QUALIFY version = max(version) OVER (PARTITION BY name) ORDER BY name")
    return [_from_body(str(row["body"])) for row in rows]


def get_policy(store: Store, name: str, version: int | None = None) -> Policy:
    """Return a version of the policy `name`, by default the newest.

    Raises:
        MissingError: there is none; the message lists those there are.
    """
    versions = policy_versions(store, name)
    if version is not None and versions:
        if 1 <= version <= len(versions):
            return versions[version - 1]
        raise MissingError(
            f"policy {name!r} has no version {version}; its newest is {len(versions)}",
            hint=f"uncited policy show {name}",
        )
    if versions:
        return versions[-1]
    names = ", ".join(policy.name for policy in list_policies(store))
    raise MissingError(
        f"no policy named {name!r}" + (f"; there are: {names}" if names else ""),
        hint="uncited policy list" if names else "uncited policy add policies/FILE.yaml",
    )


def get_policy_by_id(store: Store, policy_id: str) -> Policy:
    """Return the policy version that a build or export names.

    Raises:
        MissingError: it is not in this store.
    """
    rows = store.rows("SELECT body FROM policies WHERE policy_id = ? ORDER BY version DESC LIMIT 1", [policy_id])
    if not rows:
        raise MissingError(f"no policy with id {policy_id}", hint="uncited policy list")
    return _from_body(str(rows[0]["body"]))


def _from_body(body: str) -> Policy:
    fields = json.loads(body)
    fields["labels"] = tuple(Label(**label) for label in fields["labels"])
    fields["examples"] = tuple(Example(**example) for example in fields["examples"])
    fields["kinds"] = tuple(fields.get("kinds", ()))
    return Policy(**fields)
