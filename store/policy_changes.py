"""What hangs on a policy's wording: what an edit would void, and what of it is carried over."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.labels import Resolution
from store.policies import Policy

# Candidate pairs of a policy that a judge is asked about.
_ASKED = "(FROM candidate_pairs WHERE policy_name = $policy AND duplicate_of IS NULL)"


# Of those, the ones whose judgments under an old wording count no more under a new one. $kept: old labels that do.
_LOST = f"""
    (
        SELECT DISTINCT pair_id FROM judgments SEMI JOIN {_ASKED} USING (pair_id)
        WHERE labelling_fingerprint = $old AND label IS NOT NULL AND pair_id NOT IN (
            SELECT pair_id FROM judgments
            WHERE label IS NOT NULL AND (
                labelling_fingerprint = $new
                OR labelling_fingerprint = $old AND label IN (SELECT unnest($kept::VARCHAR[]))
            )
        )
    )
"""


class JudgeUse(NamedTuple):
    """What one judge did for the candidates of a policy. Mean tokens a call are None where none were told."""

    judge_id: str
    model: str | None
    pairs: int  # labelled under the old wording, and by nobody yet under the new one
    prompt_tokens: float | None  # cached ones included
    cached_tokens: float | None
    completion_tokens: float | None


def judge_use(store: Store, old: Policy, new: Policy, *, kept: Collection[str] = ()) -> list[JudgeUse]:
    """Return what each judge answered under `old` about the candidates of the policy's name, the busiest first.

    `kept`: old labels whose judgments are carried over, so that their pairs do not count.
    """
    rows = store.rows(
        f"""
        SELECT judge_id, any_value(config ->> '$.model') AS model,
               count(DISTINCT pair_id) FILTER (label IS NOT NULL AND pair_id IN {_LOST}) AS pairs,
               avg(prompt_tokens) AS prompt_tokens, avg(cached_tokens) AS cached_tokens,
               avg(completion_tokens) AS completion_tokens
        FROM judgments LEFT JOIN judges USING (judge_id) SEMI JOIN {_ASKED} USING (pair_id)
        WHERE labelling_fingerprint = $old
        GROUP BY judge_id ORDER BY pairs DESC, count(*) DESC, judge_id
        """,
        _changed(old, new, kept),
    )
    return [JudgeUse(**row) for row in rows]  # type: ignore[arg-type]


def count_asked_again(store: Store, old: Policy, new: Policy, *, kept: Collection[str] = ()) -> int:
    """Count the candidates that judges have labelled under `old` and not under `new`; `kept` as for `judge_use`."""
    return store.count(f"SELECT count(*) FROM {_LOST}", _changed(old, new, kept))


def _changed(old: Policy, new: Policy, kept: Collection[str]) -> dict[str, object]:
    return {
        "policy": new.name,
        "old": old.labelling_fingerprint,
        "new": new.labelling_fingerprint,
        "kept": list(kept),
    }


class Unjudged(NamedTuple):
    """Candidates that no judge has labelled, and the mean characters of what a prompt would show of each."""

    pairs: int
    characters: float  # anchor, cited chunk and candidate together


def unjudged(store: Store, old: Policy, new: Policy) -> Unjudged:
    """Measure the candidates of the policy's name that have a judgment neither under `old` nor under `new`.

    Where all of them have one, `characters` is the mean over all candidates.
    """
    (row,) = store.rows(
        f"""
        WITH asked AS {_ASKED}, reference AS (
            SELECT anchor_id, arg_min(chunk_id, (coalesce(rank, 2147483647), chunk_id)) AS chunk_id
            FROM asked WHERE proposed = 'positive' GROUP BY anchor_id
        )
        SELECT count(*) FILTER (pair_id NOT IN (
                   SELECT pair_id FROM current_judgments WHERE labelling_fingerprint IN ($old, $new)
               )) AS pairs,
               coalesce(avg(length(anchors.text) + length(chunks.text)
                   + CASE WHEN proposed = 'negative' THEN coalesce(length(cited.text), 0) ELSE 0 END), 0) AS characters
        FROM asked
        JOIN anchors ON anchors.anchor_id = asked.anchor_id
        JOIN chunks ON chunks.chunk_id = asked.chunk_id
        LEFT JOIN reference ON reference.anchor_id = asked.anchor_id
        LEFT JOIN chunks AS cited ON cited.chunk_id = reference.chunk_id
        """,
        {"policy": new.name, "old": old.labelling_fingerprint, "new": new.labelling_fingerprint},
    )
    return Unjudged(**row)  # type: ignore[arg-type]


def judged_labels(store: Store, policy: Policy, name: str) -> pa.Table:
    """Return what judges last said, under the wording of `policy`, about the candidates of the policy `name`.

    Returns:
        Columns pair_id, label, judge_id, source (the first by name of those that put the pair forward); ordered by
        pair_id.
    """
    return store.table(
        f"""
        SELECT pair_id, label, judge_id, sources[1] AS source
        FROM current_judgments JOIN {_ASKED} USING (pair_id)
        WHERE labelling_fingerprint = $fingerprint ORDER BY pair_id
        """,
        {"policy": name, "fingerprint": policy.labelling_fingerprint},
    )


def reviews_by_label(store: Store, old: Policy, new: Policy) -> dict[str | None, int]:
    """Count the current reviews under `old` whose reviewer has not answered about the pair under `new`, by label.

    Discarded pairs stand under None.
    """
    rows = store.rows(
        """
        SELECT label, count(*) AS reviews FROM current_reviews AS held
        WHERE labelling_fingerprint = $old AND NOT EXISTS (
            FROM reviews AS later WHERE later.labelling_fingerprint = $new AND later.pair_id = held.pair_id
                AND later.reviewer = held.reviewer
        ) GROUP BY label
        """,
        {"old": old.labelling_fingerprint, "new": new.labelling_fingerprint},
    )
    return {None if row["label"] is None else str(row["label"]): int(str(row["reviews"])) for row in rows}


def carry_judgments(store: Store, old: Policy, new: Policy, labels: Mapping[str, str]) -> int:
    """Let judgments under the wording of `old` stand under that of `new`; return how many were added.

    Each names in `carried_from` the judgment that was really given; tokens and cost stay with that one, so that no
    dollar is counted twice. The stages of the judges come along, so that the same one's label counts. A pair that has
    been judged under the new wording is left alone. Doing it twice adds nothing.

    Args:
        store: where to.
        old: under whose wording they were given.
        new: under whose wording they are to stand as well.
        labels: old label -> new label; a judgment with any other label is not carried.
    """
    before = store.count("SELECT count(*) FROM judgments")
    renamed = pa.table({"label": pa.array(list(labels), pa.string()), "becomes": pa.array(list(labels.values()))})
    with store.view_of("renamed", renamed):
        store.execute(
            """
            INSERT OR IGNORE INTO judgments BY NAME
            SELECT 'judgment_' || left(sha256(judgment_id || ' ' || $new), 32) AS judgment_id,
                   pair_id, $new AS labelling_fingerprint, judge_id, reference_chunk_id, prompt_id, becomes AS label,
                   quote, quote_found, reason, confidence, raw_answer, answered_model, judged_at,
                   coalesce(carried_from, judgment_id) AS carried_from
            FROM judgments JOIN renamed USING (label)
            WHERE labelling_fingerprint = $old AND pair_id NOT IN (
                SELECT pair_id FROM judgments WHERE labelling_fingerprint = $new AND label IS NOT NULL
            )
            """,
            {"old": old.labelling_fingerprint, "new": new.labelling_fingerprint},
        )
    store.execute(
        """
        INSERT OR IGNORE INTO judge_stages BY NAME
        SELECT * REPLACE ($new AS labelling_fingerprint) FROM judge_stages WHERE labelling_fingerprint = $old
        """,
        {"old": old.labelling_fingerprint, "new": new.labelling_fingerprint},
    )
    return store.count("SELECT count(*) FROM judgments") - before


def labels_under_both(store: Store, one: Policy, other: Policy, *, resolution: Resolution = "majority") -> pa.Table:
    """Return the pairs that have a label under each of two policies.

    Returns:
        Columns pair_id, anchor, chunk (texts), one, other (labels); ordered by anchor, then pair_id.
    """
    return store.table(
        """
        WITH first AS (
            SELECT pair_id, label FROM labels($resolution) WHERE labelling_fingerprint = $one AND label IS NOT NULL
        ), second AS (
            SELECT pair_id, label FROM labels($resolution) WHERE labelling_fingerprint = $other AND label IS NOT NULL
        )
        SELECT pair_id, anchors.text AS anchor, chunks.text AS chunk, first.label AS one, second.label AS other
        FROM first JOIN second USING (pair_id) JOIN pairs USING (pair_id)
        JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        ORDER BY anchor, pair_id
        """,
        {
            "one": one.labelling_fingerprint,
            "other": other.labelling_fingerprint,
            "resolution": resolution,
        },
    )
