"""What is known of candidate pairs when one asks what a review of them is worth."""

from typing import NamedTuple

from store.database import Store
from store.labels import Resolution
from store.policies import Policy
from store.propagation import Propagate, compare_pairs


class Known(NamedTuple):
    """What judges and people have said of a pair so far.

    `confidence` is the judge's of the label that counts. `answered` tells that people answered, if only to discard;
    `label` is what they settled, or else what was lent by a duplicate that they settled (`propagated`). `blind`: it was
    drawn into the audit and all who answered did so there.
    """

    judge_id: str | None
    confidence: float | None
    answered: bool
    propagated: bool
    label: str | None
    blind: bool


NOTHING_KNOWN = Known(None, None, answered=False, propagated=False, label=None, blind=False)


def known_of_pairs(
    store: Store, policy: Policy, *, resolution: Resolution, propagate: Propagate = "none"
) -> dict[str, Known]:
    """Return by pair id what judges and people said under a policy's question; pairs without either are left out.

    `resolution` and `propagate` as for `store.labels.labelled_candidates`.
    """
    compare_pairs(store, policy, propagate)
    found = store.table(
        """
        WITH settled AS (
            SELECT pair_id, label, source FROM labels($resolution, propagate := $propagate)
            WHERE labelling_fingerprint = $fingerprint AND source <> 'judge'
        ), judged AS (
            SELECT pair_id, judge_id, confidence FROM current_judgments WHERE labelling_fingerprint = $fingerprint
        ), blind AS (
            SELECT pair_id FROM votes SEMI JOIN (
                FROM review_streams WHERE labelling_fingerprint = $fingerprint AND stream = 'audit'
            ) USING (pair_id)
            WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id HAVING bool_and(stream = 'audit')
        )
        SELECT pair_id, judge_id, confidence, coalesce(source = 'human', false) AS answered,
               coalesce(source = 'propagated', false) AS propagated, settled.label,
               pair_id IN (SELECT pair_id FROM blind) AS blind
        FROM settled FULL JOIN judged USING (pair_id)
        SEMI JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates USING (pair_id)
        """,
        {
            "policy": policy.name,
            "fingerprint": policy.labelling_fingerprint,
            "resolution": resolution,
            "propagate": propagate,
        },
    )
    return {row.pop("pair_id"): Known(**row) for row in found.to_pylist()}
