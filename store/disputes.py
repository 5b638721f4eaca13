"""Disputes: pairs about which reviewers disagree, and which of them an adjudicator has settled."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from store.database import Store
from store.policies import Policy


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody last answered about a pair; no label where they discarded it as unanswerable."""

    reviewer: str
    label: str | None
    note: str | None
    reviewed_at: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """A pair with answers that differ. A discard against a label differs too.

    It is `open` until somebody adjudicates it, and again when a reviewer then says something new that is not what the
    adjudicator said.
    """

    pair_id: str
    anchor: str
    chunk: str
    answers: tuple[Answer, ...]  # by reviewer
    adjudication: Answer | None  # the newest
    adjudications: int  # how often it has been adjudicated
    open: bool


def disputes(store: Store, policy: Policy) -> list[Dispute]:
    """Return the disputes about a policy's candidates, those with most answers first.

    Candidates that repeat a cited chunk are settled without reviewers and not among them.
    """
    parameters = {"policy": policy.name, "fingerprint": policy.labelling_fingerprint}
    found = store.table(
        """
        WITH said AS (FROM votes WHERE labelling_fingerprint = $fingerprint),
        disputed AS (
            SELECT pair_id, count(*) AS answers FROM said GROUP BY pair_id
            HAVING count(DISTINCT label) + CAST(bool_or(label IS NULL) AS INTEGER) > 1
        ), decided AS (
            FROM adjudications WHERE labelling_fingerprint = $fingerprint
        ), first_said AS (
            SELECT pair_id, reviewer, label, min(reviewed_at) AS first_at FROM reviews
            WHERE labelling_fingerprint = $fingerprint AND stream <> 'adjudication' GROUP BY ALL
        ), reopened AS (
            SELECT DISTINCT said.pair_id
            FROM said JOIN decided USING (pair_id) JOIN first_said
                ON first_said.pair_id = said.pair_id AND first_said.reviewer = said.reviewer
                AND first_said.label IS NOT DISTINCT FROM said.label
            WHERE first_at > decided.reviewed_at AND said.label IS DISTINCT FROM decided.label
        ), rounds AS (
            SELECT pair_id, count(*) AS adjudications FROM reviews
            WHERE labelling_fingerprint = $fingerprint AND stream = 'adjudication' GROUP BY pair_id
        )
        SELECT pair_id, anchors.text AS anchor, chunks.text AS chunk, decided.reviewer, decided.label, decided.note,
               decided.reviewed_at, coalesce(adjudications, 0) AS adjudications,
               decided.reviewer IS NULL OR pair_id IN (SELECT pair_id FROM reopened) AS open
        FROM disputed
        JOIN (FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL) AS candidates USING (pair_id)
        JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        LEFT JOIN decided USING (pair_id) LEFT JOIN rounds USING (pair_id)
        ORDER BY disputed.answers DESC, pair_id
        """,
        parameters,
    ).to_pylist()
    answers = defaultdict(list)
    said = store.table(
        """
        SELECT pair_id, reviewer, label, note, reviewed_at FROM votes
        WHERE labelling_fingerprint = ? ORDER BY reviewer
        """,
        [policy.labelling_fingerprint],
    )
    for pair, *answer in zip(*said.to_pydict().values(), strict=True):
        answers[pair].append(Answer(*answer))
    return [
        Dispute(
            pair_id=row["pair_id"],
            anchor=row["anchor"],
            chunk=row["chunk"],
            answers=tuple(answers[row["pair_id"]]),
            adjudication=Answer(row["reviewer"], row["label"], row["note"], row["reviewed_at"])
            if row["reviewer"] is not None
            else None,
            adjudications=row["adjudications"],
            open=row["open"],
        )
        for row in found
    ]
