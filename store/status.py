"""How far a workspace is, station by station."""

from dataclasses import dataclass
from typing import NamedTuple

from store.builds import list_builds
from store.database import Store
from store.interactions import LogCounts, log_counts
from store.labels import Resolution
from store.policies import list_policies
from store.propagation import Propagate, compare_pairs
from store.synthetic import SyntheticCount, synthetic_counts


class PolicyStatus(NamedTuple):
    """How far one policy is.

    All but `builds` count candidate pairs; `labelled` ones have a label of any source, `propagated` ones that of a
    duplicate which people reviewed. `synthetic` ones are of queries that a model wrote, and are counted in the others
    too.
    """

    policy: str
    version: int
    candidates: int
    synthetic: int
    judged: int
    reviewed: int
    propagated: int
    labelled: int
    builds: int


@dataclass(frozen=True, slots=True)
class Status:
    """How far a workspace is, and the command that usually comes next; None where every policy has a build."""

    log: LogCounts
    policies: tuple[PolicyStatus, ...]
    synthetic: tuple[SyntheticCount, ...]
    next_command: str | None


def workspace_status(store: Store, *, resolution: Resolution = "majority", propagate: Propagate = "none") -> Status:
    """Count what the stations hold; `resolution` and `propagate` as for `store.labels.labelled_candidates`."""
    log = log_counts(store)
    built = [build.policy_id for build in list_builds(store)]
    policies = []
    for policy in list_policies(store):
        ids = store.rows("SELECT DISTINCT policy_id FROM policies WHERE name = ?", [policy.name])
        compare_pairs(store, policy, propagate)
        counts = store.rows(
            """
            SELECT count(*) AS candidates,
                   count(*) FILTER (anchor_id IN (SELECT anchor_id FROM synthetic_anchors)) AS synthetic,
                   count(*) FILTER (pair_id IN (SELECT pair_id FROM current_judgments
                       WHERE labelling_fingerprint = $fingerprint)) AS judged,
                   count(*) FILTER (pair_id IN (SELECT pair_id FROM human_labels
                       WHERE labelling_fingerprint = $fingerprint)) AS reviewed,
                   count(*) FILTER (pair_id IN (SELECT pair_id FROM propagated_labels($resolution, $propagate)
                       WHERE labelling_fingerprint = $fingerprint)) AS propagated,
                   count(*) FILTER (pair_id IN (SELECT pair_id FROM labels($resolution, propagate := $propagate)
                       WHERE labelling_fingerprint = $fingerprint AND label IS NOT NULL)) AS labelled
            FROM candidate_pairs WHERE policy_name = $policy
            """,
            {
                "policy": policy.name,
                "fingerprint": policy.labelling_fingerprint,
                "resolution": resolution,
                "propagate": propagate,
            },
        )[0]
        builds = sum(built.count(str(row["policy_id"])) for row in ids)
        numbers = {name: int(str(value)) for name, value in counts.items()}
        policies.append(PolicyStatus(policy.name, policy.version, **numbers, builds=builds))
    return Status(log, tuple(policies), tuple(synthetic_counts(store)), _next_command(log, policies))


def _next_command(log: LogCounts, policies: list[PolicyStatus]) -> str | None:
    if not log.interactions:
        return "uncited import FILE"
    if not policies:
        return "uncited policy add policies/example.yaml"
    for policy in policies:
        if not policy.candidates:
            return f"uncited mine --policy {policy.policy}"
        if not policy.judged and not policy.reviewed:
            return f"uncited judge --policy {policy.policy}"
        if not policy.reviewed and not policy.builds:
            return f"uncited argilla up && uncited review push --policy {policy.policy}"
        if not policy.builds:
            return f"uncited build --policy {policy.policy}"
    return None
