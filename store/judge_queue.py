"""The pairs that a judge has still to answer, in the order in which it is asked about them.

Two temporary tables: the scope (the pairs that the judging is about) and the queue (those of them that one judge has
not settled). Each is made once and read piece by piece, so that neither memory nor time hangs on how often one looks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.policies import Policy
from store.workspace import PassOn


@dataclass(frozen=True, slots=True)
class PairToJudge:
    """A pair with all that a judge may read. `reference` is a cited chunk of the same anchor."""

    pair_id: str
    anchor: str
    chunk: str
    kind: str
    reference: str | None
    reference_chunk_id: str | None


_UNSETTLED = """
    FROM judge_scope ANTI JOIN (
        SELECT pair_id FROM judgments
        WHERE labelling_fingerprint = $fingerprint AND judge_id = $judge
          AND (label IS NOT NULL OR error NOT IN (SELECT unnest($retry)))
        UNION ALL  -- what waits in a batch is paid for
        SELECT pair_id FROM batch_pairs JOIN batches USING (submission_id)
        WHERE collected_at IS NULL AND labelling_fingerprint = $fingerprint AND judge_id = $judge
    ) USING (pair_id)
"""


# A number in [0, 1) that looks random and is the same for a pair and a judge every time.
_UNIFORM = "('0x' || left(md5(pair_id || $judge), 8))::BIGINT / 4294967296.0"


def set_scope(store: Store, policy: Policy, pairs: Collection[str] | None = None) -> int:
    """Choose the pairs that the judging is about: all candidates of a policy, or those among `pairs`.

    Pairs flagged as repeating a cited chunk are settled without a judge. A candidate positive has no reference, since
    it may be the reference.

    Returns:
        How many there are.
    """
    chosen = "" if pairs is None else "SEMI JOIN chosen USING (pair_id)"
    with store.view_of("chosen", pa.table({"pair_id": pa.array(pairs or (), pa.string())})):
        store.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE judge_scope AS
            WITH put_forward AS (FROM candidate_pairs WHERE policy_name = $policy), reference AS (
                FROM reference_chunks WHERE policy_name = $policy
            )
            SELECT pair_id, put_forward.anchor_id, put_forward.chunk_id, proposed, rank,
                   CASE WHEN proposed = 'negative' THEN reference.chunk_id END AS reference_chunk_id
            FROM put_forward {chosen} LEFT JOIN reference ON reference.anchor_id = put_forward.anchor_id
            WHERE duplicate_of IS NULL
            """,
            {"policy": policy.name},
        )
    return store.count("SELECT count(*) FROM judge_scope")


def queue_pairs(store: Store, policy: Policy, judge_id: str, *, retry: Sequence[str]) -> int:
    """Line up the pairs of the scope that a judge has not settled, grouped by anchor (for prefix caching), then rank.

    Args:
        store: holds the scope and the judgments.
        policy: under which the judgments count.
        judge_id: whose judgments count.
        retry: kinds of error that do not settle a pair.

    Returns:
        How many there are.
    """
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE judge_queue AS
        SELECT row_number() OVER (ORDER BY anchor_id, proposed, rank NULLS LAST, pair_id) AS position, *
        {_UNSETTLED} ORDER BY position
        """,
        _parameters(policy, judge_id, retry),
    )
    return store.count("SELECT count(*) FROM judge_queue")


def queue_unscored(store: Store, scorer: str) -> int:
    """Line up the pairs of the scope that a scorer has not scored; return how many there are."""
    store.execute(
        """
        CREATE OR REPLACE TEMP TABLE judge_queue AS
        SELECT row_number() OVER (ORDER BY anchor_id, pair_id) AS position, *
        FROM judge_scope ANTI JOIN (SELECT pair_id FROM triage_scores WHERE scorer = $scorer) USING (pair_id)
        ORDER BY position
        """,
        {"scorer": scorer},
    )
    return store.count("SELECT count(*) FROM judge_queue")


def queued_pairs(store: Store, *, after: int, limit: int) -> list[PairToJudge]:
    """Return up to `limit` of the pairs that were lined up, behind the first `after` of them."""
    found = store.table(
        """
        SELECT pair_id, anchors.text AS anchor, chunks.text AS chunk, chunks.kind AS kind,
               shown.text AS reference, reference_chunk_id
        FROM (FROM judge_queue WHERE position > $after AND position <= $after + $limit) AS next
        JOIN anchors ON anchors.anchor_id = next.anchor_id
        JOIN chunks ON chunks.chunk_id = next.chunk_id
        LEFT JOIN chunks AS shown ON shown.chunk_id = reference_chunk_id
        ORDER BY position
        """,
        {"after": after, "limit": limit},
    )
    return [PairToJudge(**row) for row in found.to_pylist()]


def count_unsettled(store: Store, policy: Policy, judge_id: str, *, retry: Sequence[str]) -> int:
    """Count the pairs that `queue_pairs` would line up."""
    return store.count(f"SELECT count(*) {_UNSETTLED}", _parameters(policy, judge_id, retry))


class Said(NamedTuple):
    """A label and the confidence with which a judge gave it; None where it gave none."""

    label: str
    confidence: float | None


def what_was_said(store: Store, policy: Policy, judge_id: str) -> list[Said]:
    """Return each label and confidence that a judge gave pairs of the scope, once."""
    found = store.rows(
        """
        SELECT DISTINCT label, confidence FROM judgments SEMI JOIN judge_scope USING (pair_id)
        WHERE labelling_fingerprint = $fingerprint AND judge_id = $judge AND label IS NOT NULL ORDER BY ALL
        """,
        {"fingerprint": policy.labelling_fingerprint, "judge": judge_id},
    )
    return [Said(**row) for row in found]  # type: ignore[arg-type]


def pass_on_judged(
    store: Store,
    policy: Policy,
    judge_id: str,
    pass_on: PassOn,
    *,
    unsure: Sequence[Said] = (),
    retry: Sequence[str],
    queued_too: bool = False,
) -> int:
    """Narrow the scope to the pairs that a judge's stage passes on; return how many are left.

    Errors that are asked again (`retry`) are not passed on. The random share is the same pairs every time.

    Args:
        store: holds the scope.
        policy: what was asked.
        judge_id: whose stage.
        pass_on: what goes on, but for its `confidence_below`.
        unsure: in its place, what the judge said without enough confidence.
        retry: kinds of error that are asked again.
        queued_too: keep the pairs that are lined up for the stage as well, since they may come to be passed on.
    """
    labels = {a.name for a in policy.answers if a.name in pass_on.labels or a.role in pass_on.labels}
    table = pa.table(
        {
            "label": pa.array([said.label for said in unsure], pa.string()),
            "confidence": pa.array([said.confidence for said in unsure], pa.float64()),
        }
    )
    with store.view_of("said_unsure", table):
        return _narrow(
            store,
            f"""
            SELECT pair_id FROM (
                FROM judgments WHERE labelling_fingerprint = $fingerprint AND judge_id = $judge
                  AND (label IS NOT NULL OR error NOT IN (SELECT unnest($retry)))
                QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY label IS NULL, judged_at DESC, judgment_id) = 1
            ) AS newest WHERE label IN (SELECT unnest($labels)) OR (label IS NULL AND $errors) OR {_UNIFORM} < $random
                 OR EXISTS (
                     FROM said_unsure
                     WHERE label = newest.label AND confidence IS NOT DISTINCT FROM newest.confidence
                 )
            """,
            _parameters(policy, judge_id, retry)
            | {"labels": sorted(labels), "errors": pass_on.errors, "random": pass_on.random},
            queued_too=queued_too,
        )


def pass_on_scored(store: Store, scorer: str, pass_on: PassOn, *, queued_too: bool = False) -> int:
    """Narrow the scope to the pairs that a scorer's stage passes on, as `pass_on_judged` does."""
    low, high = pass_on.scores or (2.0, 2.0)
    return _narrow(
        store,
        f"""
        SELECT pair_id FROM (
            SELECT pair_id, percent_rank() OVER (ORDER BY score) AS quantile
            FROM triage_scores SEMI JOIN judge_scope USING (pair_id) WHERE scorer = $judge
        ) WHERE quantile BETWEEN $low AND $high OR {_UNIFORM} < $random
        """,
        {"judge": scorer, "low": low, "high": high, "random": pass_on.random},
        queued_too=queued_too,
    )


def _narrow(store: Store, passed: str, parameters: Mapping[str, object], *, queued_too: bool) -> int:
    queued = "UNION ALL SELECT pair_id FROM judge_queue" if queued_too else ""
    store.execute(
        f"CREATE OR REPLACE TEMP TABLE judge_scope AS FROM judge_scope SEMI JOIN ({passed} {queued}) USING (pair_id)",
        parameters,
    )
    return store.count("SELECT count(*) FROM judge_scope")


def _parameters(policy: Policy, judge_id: str, retry: Sequence[str]) -> dict[str, object]:
    return {"fingerprint": policy.labelling_fingerprint, "judge": judge_id, "retry": list(retry)}
