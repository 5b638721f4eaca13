"""Where the labels of a build come from: what was put forward, what became of it, and how long people took."""

from dataclasses import dataclass
from datetime import timedelta

from store.builds import Build
from store.database import Store
from store.policies import Policy

_LONGEST_ANSWER = timedelta(minutes=3)  # between two answers; who takes longer was away


@dataclass(frozen=True, slots=True)
class Origin:
    """So many candidate pairs that were put forward in one way and came to the same end.

    `source` is cited, uncited or searched (whatever no log had retrieved); `role` is positive or negative, and None
    where the build leaves the pair out, as it then does `split`.
    """

    source: str
    role: str | None
    split: str | None
    pairs: int


@dataclass(frozen=True, slots=True)
class HiddenPositive:
    """An uncited chunk that people found relevant; `judged` is what the judge had said, if it was asked."""

    anchor: str
    chunk: str
    rank: int | None
    label: str
    judged: str | None
    reviewers: int


@dataclass(frozen=True, slots=True)
class ReviewingTime:
    """What people spent on reviews.

    `answers` came one after the other, so that they tell time: `seconds` are those between an answer and the one before
    it, pauses of more than three minutes left out. `untimed` answers tell none: they came from a file, or began a
    sitting.
    """

    reviewers: int
    answers: int
    untimed: int
    seconds: float


def label_origins(store: Store, policy: Policy, build: Build) -> list[Origin]:
    """Count the candidates of a policy by how they were put forward and what became of them in a build."""
    rows = store.rows(
        """
        SELECT CASE WHEN proposed = 'positive' THEN 'cited'
                    WHEN len(list_intersect(sources, ['uncited', 'same-document'])) > 0 THEN 'uncited'
                    ELSE 'searched' END AS source,
               role, split, count(*) AS pairs
        FROM candidate_pairs
        LEFT JOIN (FROM build_labels WHERE build_id = $build) AS kept USING (pair_id)
        WHERE policy_name = $policy GROUP BY ALL ORDER BY ALL
        """,
        {"policy": policy.name, "build": build.build_id},
    )
    return [Origin(**row) for row in rows]  # type: ignore[arg-type]


def hidden_positives(store: Store, policy: Policy, build: Build, *, limit: int) -> list[HiddenPositive]:
    """Return uncited chunks of a build that people labelled positive, one a query while there are others.

    Those on which the judge was wrong come first, then those that were retrieved best.
    """
    rows = store.rows(
        """
        WITH answered AS (
            SELECT pair_id, count(DISTINCT reviewer) AS reviewers FROM current_reviews
            WHERE labelling_fingerprint = $fingerprint AND label IS NOT NULL GROUP BY pair_id
        ), judged AS (
            SELECT pair_id, label FROM current_judgments WHERE labelling_fingerprint = $fingerprint
        ), found AS (
            SELECT anchor_id, candidates.chunk_id, rank, kept.label, judged.label AS judged, reviewers,
                   row_number() OVER (PARTITION BY anchor_id
                                      ORDER BY judged.label IS NOT DISTINCT FROM kept.label, rank, pair_id) AS place
            FROM (FROM candidate_pairs WHERE policy_name = $policy) AS candidates
            JOIN (FROM build_labels WHERE build_id = $build AND role = 'positive' AND source = 'human') AS kept
                USING (pair_id)
            JOIN answered USING (pair_id) LEFT JOIN judged USING (pair_id)
            WHERE proposed = 'negative' AND duplicate_of IS NULL
                  AND len(list_intersect(sources, ['uncited', 'same-document'])) > 0
        )
        SELECT anchors.text AS anchor, chunks.text AS chunk, rank, label, judged, reviewers
        FROM found JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        ORDER BY place, judged IS NULL, judged IS NOT DISTINCT FROM label, rank, anchor_id LIMIT $limit
        """,
        {
            "policy": policy.name,
            "fingerprint": policy.labelling_fingerprint,
            "build": build.build_id,
            "limit": limit,
        },
    )
    return [HiddenPositive(**row) for row in rows]  # type: ignore[arg-type]


def reviewing_time(store: Store, policy: Policy) -> ReviewingTime:
    """Measure how long people took to answer a policy's question."""
    row = store.rows(
        """
        WITH given AS (
            SELECT reviewer, starts_with(origin, 'argilla:') OR origin = 'terminal' AS tells,
                   reviewed_at - lag(reviewed_at) OVER (
                       PARTITION BY reviewer, starts_with(origin, 'argilla:') OR origin = 'terminal'
                       ORDER BY reviewed_at, review_id
                   ) AS took
            FROM reviews
            SEMI JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidates USING (pair_id)
            WHERE labelling_fingerprint = $fingerprint AND carried_from IS NULL
        ), timed AS (SELECT *, coalesce(tells AND took <= $longest, false) AS counts FROM given)
        SELECT count(DISTINCT reviewer) AS reviewers, count(*) FILTER (counts) AS answers,
               count(*) FILTER (NOT counts) AS untimed,
               coalesce(sum(epoch(took)) FILTER (counts), 0.0) AS seconds
        FROM timed
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint, "longest": _LONGEST_ANSWER},
    )[0]
    return ReviewingTime(**row)  # type: ignore[arg-type]
