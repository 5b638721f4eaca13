"""What one build holds and another does not, and what came to be known between them that explains it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from store.builds import Build
from store.database import Store


@dataclass(frozen=True, slots=True)
class Side:
    """How a build holds a pair."""

    label: str
    role: str
    split: str
    source: str


@dataclass(frozen=True, slots=True)
class ChangedPair:
    """A pair that two builds hold differently; None where a build does not hold it."""

    pair_id: str
    anchor: str | None  # None: forgotten
    chunk: str | None
    then: Side | None
    now: Side | None


@dataclass(frozen=True, slots=True)
class ChangedTriplet:
    """A triplet that only one of two builds holds, in that split, with its two pairs."""

    triplet_id: str
    is_added: bool
    split: str
    pair_ids: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Between:
    """The pairs about which something came between two builds."""

    reviewed: frozenset[str]
    judged: frozenset[str]
    imported: frozenset[str]
    forgotten: frozenset[str]


_SIDES = ("label", "role", "split", "source")


def changed_pairs(store: Store, before: Build, after: Build) -> list[ChangedPair]:
    """Return the pairs whose label, role, split or source differs between two builds, ordered by id."""
    columns = ", ".join(f"one.{name} AS then_{name}, other.{name} AS now_{name}" for name in _SIDES)
    found = store.table(
        f"""
        WITH changed AS (
            SELECT pair_id, {columns}
            FROM (FROM build_labels WHERE build_id = $before) AS one
            FULL JOIN (FROM build_labels WHERE build_id = $after) AS other USING (pair_id)
            WHERE (one.label, one.role, one.split, one.source)
                IS DISTINCT FROM (other.label, other.role, other.split, other.source)
        )
        SELECT changed.*, anchors.text AS anchor, chunks.text AS chunk
        FROM changed JOIN pairs USING (pair_id) LEFT JOIN anchors USING (anchor_id) LEFT JOIN chunks USING (chunk_id)
        ORDER BY pair_id
        """,
        {"before": before.build_id, "after": after.build_id},
    )
    return [
        ChangedPair(row["pair_id"], row["anchor"], row["chunk"], _side(row, "then"), _side(row, "now"))
        for row in found.to_pylist()
    ]


def _side(row: Mapping[str, str], when: str) -> Side | None:
    return Side(*(row[f"{when}_{name}"] for name in _SIDES)) if row[f"{when}_label"] is not None else None


def changed_triplets(store: Store, before: Build, after: Build) -> list[ChangedTriplet]:
    """Return the triplets that only one of two builds holds, or holds in that split, ordered by their texts' ids."""
    rows = store.table(
        """
        WITH differing AS (
            (SELECT false AS is_added, split, anchor_id, positive_id, negative_id FROM triplets WHERE build_id = $before
             EXCEPT
             SELECT false, split, anchor_id, positive_id, negative_id FROM triplets WHERE build_id = $after)
            UNION ALL
            (SELECT true, split, anchor_id, positive_id, negative_id FROM triplets WHERE build_id = $after
             EXCEPT
             SELECT true, split, anchor_id, positive_id, negative_id FROM triplets WHERE build_id = $before)
        )
        SELECT triplet_id, is_added, differing.split, positives.pair_id AS positive, negatives.pair_id AS negative
        FROM differing JOIN triplets USING (split, anchor_id, positive_id, negative_id)
        JOIN pairs AS positives ON positives.anchor_id = differing.anchor_id AND positives.chunk_id = positive_id
        JOIN pairs AS negatives ON negatives.anchor_id = differing.anchor_id AND negatives.chunk_id = negative_id
        WHERE build_id = CASE WHEN is_added THEN $after ELSE $before END
        ORDER BY differing.anchor_id, positive_id, negative_id, is_added
        """,
        {"before": before.build_id, "after": after.build_id},
    ).to_pylist()
    return [
        ChangedTriplet(row["triplet_id"], row["is_added"], row["split"], (row["positive"], row["negative"]))
        for row in rows
    ]


def between(store: Store, pair_ids: Collection[str], since: datetime, until: datetime) -> Between:
    """Return about which of the pairs something came after `since`, and not after `until`."""
    times = {"since": since, "until": until}
    with store.view_of("changed", pa.table({"pair_id": pa.array(pair_ids, pa.string())})):
        found = {
            name: frozenset(store.table(sql, times if "$since" in sql else {})["pair_id"].to_pylist())
            for name, sql in _BETWEEN.items()
        }
    return Between(**found)


_BETWEEN = {
    "reviewed": """
        SELECT DISTINCT changed.pair_id FROM changed LEFT JOIN build_labels USING (pair_id) JOIN reviews
            ON reviews.pair_id = changed.pair_id OR reviews.pair_id = propagated_from
        WHERE recorded_at > $since AND recorded_at <= $until
    """,
    "judged": """
        SELECT DISTINCT pair_id FROM judgments SEMI JOIN changed USING (pair_id)
        WHERE judged_at > $since AND judged_at <= $until
    """,
    "imported": """
        SELECT pair_id FROM candidates SEMI JOIN changed USING (pair_id)
        JOIN interactions USING (interaction_id) JOIN imports USING (import_id)
        GROUP BY pair_id HAVING min(imported_at) > $since AND min(imported_at) <= $until
    """,
    "forgotten": "SELECT DISTINCT pair_id FROM removed_build_labels SEMI JOIN changed USING (pair_id)",
}
