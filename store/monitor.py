"""What the monitor has drawn from the traffic, and what judges say of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from store.database import Store
from store.ids import pair_id
from store.judgments import Said, what_judges_said
from store.policies import Policy

# Interactions that can be monitored: what they retrieved has been put forward, or they retrieved nothing.
_MINED = """
    mined AS (
        SELECT DISTINCT interaction_id FROM candidates WHERE policy_name = $policy AND interaction_id <> ''
        UNION
        SELECT interaction_id FROM interactions ANTI JOIN retrievals USING (interaction_id)
    )
"""

_LOT = "('0x' || left(md5($seed || interaction_id), 8))::BIGINT / 4294967296.0"  # from 0 to below 1


class Traffic(NamedTuple):
    """Interactions that the monitor has not come by: those that it can look at, and those that are not mined yet."""

    new: int
    not_mined: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A chunk in the retrieved list of a drawn interaction.

    `label` is the judge's; a chunk that repeats a cited one has the label of that one. `error` says why there is none,
    if a judge was asked. `document` is the log's own name of the chunk where it names no document.
    """

    pair_id: str
    asked: str  # the pair that a judge is asked about: the chunk that this one repeats, if it repeats one
    rank: int
    score: float | None
    chunk_id: str
    document: str | None
    label: str | None
    error: str | None
    judge_id: str | None


@dataclass(frozen=True, slots=True)
class Monitored:
    """A drawn interaction with the first chunks that were retrieved for it.

    `happened_at` is when it was imported where the log does not say.
    """

    interaction_id: str
    anchor_id: str
    query: str
    source: str | None
    happened_at: datetime
    extra: Mapping[str, object]
    shown: tuple[Shown, ...]


def traffic(store: Store, policy_name: str) -> Traffic:
    """Count what the monitor has not come by."""
    (row,) = store.rows(
        f"""
        WITH {_MINED}, unseen AS (
            SELECT interaction_id FROM interactions
            ANTI JOIN (FROM monitored WHERE policy_name = $policy) AS seen USING (interaction_id)
        )
        SELECT count(*) FILTER (mined.interaction_id IS NOT NULL) AS new,
               count(*) FILTER (mined.interaction_id IS NULL) AS not_mined
        FROM unseen LEFT JOIN mined USING (interaction_id)
        """,
        {"policy": policy_name},
    )
    return Traffic(int(str(row["new"])), int(str(row["not_mined"])))


def logged_fields(store: Store) -> list[str]:
    """Return the fields that lines of the logs held beside those of the format, in the order of the alphabet."""
    # Under these two stand the further keys of chunks and of signals.
    rows = store.rows("SELECT DISTINCT unnest(json_keys(extra)) AS field FROM interactions WHERE extra <> '{}'")
    return sorted({str(row["field"]) for row in rows} - {"retrieved", "signals"})


def monitor_seed(store: Store, policy_name: str) -> str | None:
    """Return the seed of the draws under a policy; None before the first one."""
    seed = store.scalar("SELECT seed FROM monitored WHERE policy_name = ? LIMIT 1", [policy_name])
    return None if seed is None else str(seed)


def draw_traffic(store: Store, policy_name: str, *, share: float, seed: str) -> int:
    """Draw interactions, so that each one has had the chance `share` or more; return how many were drawn by this call.

    An interaction's lot is a hash of the seed and its id: it hangs on no other and never changes, so that the same
    share draws of new traffic only, and a larger one of older traffic too.
    """
    before = _drawn(store, policy_name)
    parameters = {"policy": policy_name, "seed": seed, "share": share, "now": datetime.now(UTC)}
    store.execute(
        f"""
        INSERT INTO monitored
        WITH {_MINED}
        SELECT $policy, interaction_id, {_LOT} < $share, $share, $seed, $now
        FROM mined ANTI JOIN (FROM monitored WHERE policy_name = $policy) AS seen USING (interaction_id)
        """,
        parameters,
    )
    store.execute(
        f"""
        UPDATE monitored SET drawn = true, share = $share, considered_at = $now
        WHERE policy_name = $policy AND NOT drawn AND {_LOT} < $share
        """,
        parameters,
    )
    return _drawn(store, policy_name) - before


def monitored_interactions(store: Store, policy: Policy, *, depth: int) -> list[Monitored]:
    """Return the drawn interactions with their first `depth` chunks of the kinds under the policy, oldest first."""
    drawn = store.rows(
        """
        SELECT interaction_id, anchor_id, anchors.text AS query, source,
               coalesce(happened_at, imported_at, considered_at) AS happened_at, extra
        FROM (FROM monitored WHERE policy_name = $policy AND drawn)
        JOIN interactions USING (interaction_id) JOIN anchors USING (anchor_id) LEFT JOIN imports USING (import_id)
        ORDER BY happened_at, interaction_id
        """,
        {"policy": policy.name},
    )
    shown = _shown(store, policy, depth)
    return [
        Monitored(
            **{**row, "extra": json.loads(str(row["extra"]))}, shown=tuple(shown.get(str(row["interaction_id"]), ()))
        )
        for row in drawn
    ]


def _shown(store: Store, policy: Policy, depth: int) -> dict[str, list[Shown]]:
    """Map drawn interactions to their chunks, best rank first."""
    listed = store.table(
        """
        WITH listed AS (
            SELECT interaction_id, pair_id, min(rank) AS rank, arg_min(score, rank) AS score,
                   any_value(duplicate_of) AS duplicate_of
            FROM candidates SEMI JOIN (FROM monitored WHERE policy_name = $policy AND drawn) USING (interaction_id)
            WHERE policy_name = $policy AND rank <= $depth GROUP BY interaction_id, pair_id
        ), documents AS (
            SELECT chunk_id, coalesce(min(document), min(external_id)) AS document FROM chunk_names GROUP BY chunk_id
        )
        SELECT interaction_id, pair_id, rank, score, anchor_id, chunk_id, duplicate_of, document
        FROM listed JOIN pairs USING (pair_id) LEFT JOIN documents USING (chunk_id) ORDER BY interaction_id, rank
        """,
        {"policy": policy.name, "depth": depth},
    ).to_pylist()
    for row in listed:
        row["asked"] = pair_id(row["anchor_id"], row["duplicate_of"]) if row["duplicate_of"] else row["pair_id"]
    said = what_judges_said(store, policy, {row["asked"] for row in listed})
    found: dict[str, list[Shown]] = {}
    for row in listed:
        label, error, judge_id = said.get(row["asked"], Said(None, None, None))
        found.setdefault(row["interaction_id"], []).append(
            Shown(
                pair_id=row["pair_id"],
                asked=row["asked"],
                rank=row["rank"],
                score=row["score"],
                chunk_id=row["chunk_id"],
                document=row["document"],
                label=label,
                error=error,
                judge_id=judge_id,
            )
        )
    return found


def _drawn(store: Store, policy_name: str) -> int:
    return store.count("SELECT count(*) FROM monitored WHERE policy_name = ? AND drawn", [policy_name])
