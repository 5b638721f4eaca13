"""Labels: the one answer for each pair, resolved from reviews and judgments by the views of the schema."""

from typing import Literal

import pyarrow as pa

from store.database import Store
from store.policies import Policy
from store.propagation import Propagate, compare_pairs

LabelSource = Literal["human", "propagated", "judge"]
Resolution = Literal["majority", "strict", "adjudicated"]


def labelled_candidates(
    store: Store, policy: Policy, *, resolution: Resolution = "majority", propagate: Propagate = "none"
) -> pa.Table:
    """Return every candidate pair of a policy with its label, where it has one.

    Args:
        store: where the reviews and judgments are.
        policy: whose candidates.
        resolution: what makes one label of several people's answers. `majority`: an adjudication, else what most
            reviewers said; `strict`: what all of them said; `adjudicated`: what all of them said, else an
            adjudication. People who settled nothing still outrank the judge: the pair has no label then.
        propagate: whether what people settled about a pair is lent to its duplicates that nobody answered
            (see `store.propagation`).

    Returns:
        Columns pair_id, anchor_id, anchor, chunk_id, chunk, proposed, rank, score, sources (list of strings),
        duplicate_of (chunk_id or null), documents (sorted list of the source documents of the chunk), label,
        source ('human', 'propagated', 'judge', or null where nobody answered), judge_id (where source is 'judge'),
        propagated_from and similarity (where source is 'propagated': the pair that people answered, and how alike the
        chunks are), reviewed (a person answered, if only to discard), reviewers (sorted list of those who answered);
        ordered by anchor_id, pair_id.
    """
    compare_pairs(store, policy, propagate)
    return store.table(
        """
        WITH documents AS (
            SELECT chunk_id, list_sort(list_distinct(list(document))) AS documents
            FROM chunk_names WHERE document IS NOT NULL GROUP BY chunk_id
        ), answered AS (
            SELECT pair_id, label, source, judge_id, propagated_from, similarity
            FROM labels($resolution, propagate := $propagate)
            WHERE labelling_fingerprint = $fingerprint
        ), people AS (
            SELECT pair_id, list_sort(list_distinct(list(reviewer))) AS reviewers
            FROM current_reviews WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id
        )
        SELECT candidate_pairs.pair_id, candidate_pairs.anchor_id, anchors.text AS anchor,
               candidate_pairs.chunk_id, chunks.text AS chunk, proposed, rank, score, sources, duplicate_of,
               coalesce(documents, []) AS documents, answered.label,
               CASE WHEN answered.label IS NOT NULL THEN answered.source END AS source,
               answered.judge_id, answered.propagated_from, answered.similarity,
               coalesce(answered.source = 'human', false) AS reviewed,
               coalesce(reviewers, []) AS reviewers
        FROM candidate_pairs
        JOIN anchors ON anchors.anchor_id = candidate_pairs.anchor_id
        JOIN chunks ON chunks.chunk_id = candidate_pairs.chunk_id
        LEFT JOIN documents ON documents.chunk_id = candidate_pairs.chunk_id
        LEFT JOIN answered ON answered.pair_id = candidate_pairs.pair_id
        LEFT JOIN people ON people.pair_id = candidate_pairs.pair_id
        WHERE policy_name = $policy
        ORDER BY candidate_pairs.anchor_id, candidate_pairs.pair_id
        """,
        {
            "policy": policy.name,
            "fingerprint": policy.labelling_fingerprint,
            "resolution": resolution,
            "propagate": propagate,
        },
    )


def votes(store: Store, policy: Policy) -> pa.Table:
    """Return what each reviewer last answered about each candidate pair of a policy, without adjudications.

    Returns:
        Columns anchor_id, pair_id, reviewer, label (null where the pair was discarded), stream; ordered by pair_id,
        reviewer.
    """
    return store.table(
        """
        SELECT anchor_id, pair_id, reviewer, label, stream
        FROM votes JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates USING (pair_id)
        WHERE labelling_fingerprint = $fingerprint ORDER BY pair_id, reviewer
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )


def audited_pairs(store: Store, policy: Policy, *, resolution: Resolution) -> pa.Table:
    """Return the candidate pairs that chance drew into the audit and people answered blind, with the judge's label.

    They are of the newest sample of all pairs: an audit or pilot, or else the one that the review streams make. Audits
    of a part of the judge's labels are left out, since the judge does otherwise there than elsewhere.

    Returns:
        Columns anchor_id, pair_id, label (what people settled; null where they did not), judged (the judge's label;
        null where there is none); ordered by pair_id.
    """
    return store.table(
        """
        WITH newest AS (
            SELECT audit_id FROM audits
            WHERE policy_name = $policy AND labelling_fingerprint = $fingerprint AND pair_group IS NULL
            ORDER BY drawn_at DESC, audit_id LIMIT 1
        ), sample AS (
            SELECT pair_id FROM audit_draws SEMI JOIN newest USING (audit_id)
            UNION ALL
            SELECT pair_id FROM review_streams ANTI JOIN audit_draws USING (pair_id, drawn_at)
            WHERE labelling_fingerprint = $fingerprint AND stream = 'audit' AND NOT EXISTS (FROM newest)
        ), blind AS (
            SELECT pair_id FROM votes SEMI JOIN sample USING (pair_id)
            WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id HAVING bool_and(stream = 'audit')
        )
        SELECT anchor_id, pair_id, settled.label, judgments.label AS judged
        FROM blind JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates USING (pair_id)
        JOIN (FROM labels($resolution) WHERE labelling_fingerprint = $fingerprint) AS settled USING (pair_id)
        LEFT JOIN (FROM current_judgments WHERE labelling_fingerprint = $fingerprint) AS judgments USING (pair_id)
        ORDER BY pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint, "resolution": resolution},
    )
