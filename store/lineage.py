"""What stands behind a row: the way from a triplet or a pair back to the line of a log.

Everything is looked up for a few pairs at a time; nothing here reads a table of the store into memory.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import anchor_id, chunk_id
from store.labels import Resolution

_SHOWN_IF_AMBIGUOUS = 5


@dataclass(frozen=True, slots=True)
class BuiltTriplet:
    """A triplet as one build holds it; the ids of its parts are hashes of their texts."""

    build_id: str
    triplet_id: str
    split: str
    anchor_id: str
    positive_id: str
    negative_id: str


@dataclass(frozen=True, slots=True)
class BuiltLabel:
    """The label that a build froze for a pair."""

    build_id: str
    pair_id: str
    split: str
    label: str
    role: str
    source: str


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of a log: an interaction, and the file that it was imported from.

    `file` is the name that was given, `path` where that lay; both are None where no import is recorded.
    """

    interaction_id: str
    external_id: str | None
    query_id: str | None
    source: str | None
    happened_at: datetime | None
    file: str | None
    path: str | None
    line: int


@dataclass(frozen=True, slots=True)
class PutForward:
    """One way in which a pair became a candidate of a policy; `logged` is None where no interaction stands behind it.

    `chunk_name` is the log's id of the chunk there, and `signals` what happened to it.
    """

    policy_name: str
    source: str
    proposed: str
    rank: int | None
    score: float | None
    duplicate_of: str | None
    similarity: float | None
    logged: Logged | None
    chunk_name: str | None
    signals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelNow:
    """What a pair is labelled at present, by a policy's newest version and a rule of resolution; None: nothing."""

    policy_id: str
    label: str | None
    source: str | None


def find_triplets(store: Store, beginning: str) -> list[BuiltTriplet]:
    """Return the triplet whose id begins so, once for each build that holds it, the newest build first.

    Raises:
        MissingError: there is none.
        UsageError: several triplets begin so.
    """
    found = _triplets(
        store,
        "SELECT triplets.* FROM triplets JOIN builds USING (build_id) WHERE starts_with(triplet_id, $beginning)"
        " ORDER BY built_at DESC, build_id, triplet_id LIMIT 100",
        {"beginning": beginning},
    )
    ids = sorted({triplet.triplet_id for triplet in found})
    if not ids:
        raise MissingError(f"no build holds a triplet {beginning}", hint="uncited status")
    if len(ids) > 1:
        raise UsageError(f"several triplets begin with {beginning}: {', '.join(ids[:_SHOWN_IF_AMBIGUOUS])} ...")
    return found


@dataclass(frozen=True, slots=True)
class FoundTexts:
    """What of a build the texts of one exported row stand for."""

    triplets: tuple[BuiltTriplet, ...]
    pair_ids: tuple[str, ...]  # of labelled pairs; where the row holds whole triplets, those of no triplet are left out


def find_texts(store: Store, build_id: str, texts: Collection[str]) -> FoundTexts:
    """Find the triplets of a build, or else its labelled pairs, of which every part stands in one exported row.

    Args:
        store: where the build is.
        build_id: of the build that the row was exported from.
        texts: all texts of the row, in any order: those of anchors and of chunks, or their ids. What is neither
            (a score, a name) finds nothing and does no harm.
    """
    given = {"build": build_id}
    keys = {
        "anchor_id": pa.array([key for text in texts for key in (anchor_id(text), text)], pa.string()),
        "chunk_id": pa.array([key for text in texts for key in (chunk_id(text), text)], pa.string()),
    }
    with store.view_of("in_row", pa.table(keys)):
        triplets = _triplets(
            store,
            """
            FROM triplets WHERE build_id = $build AND anchor_id IN (SELECT anchor_id FROM in_row)
                AND positive_id IN (SELECT chunk_id FROM in_row) AND negative_id IN (SELECT chunk_id FROM in_row)
            ORDER BY triplet_id
            """,
            given,
        )
        pairs = store.rows(
            """
            SELECT pair_id, anchor_id, chunk_id FROM build_labels JOIN (
                FROM pairs WHERE anchor_id IN (SELECT anchor_id FROM in_row)
                             AND chunk_id IN (SELECT chunk_id FROM in_row)
            ) USING (pair_id) WHERE build_id = $build ORDER BY pair_id
            """,
            given,
        )
    if triplets:
        whole = {(t.anchor_id, chunk) for t in triplets for chunk in (t.positive_id, t.negative_id)}
        pairs = [pair for pair in pairs if (pair["anchor_id"], pair["chunk_id"]) not in whole]
    return FoundTexts(tuple(triplets), tuple(str(pair["pair_id"]) for pair in pairs))


def _triplets(store: Store, sql: str, parameters: Mapping[str, object]) -> list[BuiltTriplet]:
    return [BuiltTriplet(**row) for row in store.rows(sql, parameters)]  # type: ignore[arg-type]


def pairs_of_record(store: Store, record: str) -> list[str]:
    """Return the pairs about which a record of a review server was answered, by the server's id of the record."""
    found = store.rows(
        "SELECT DISTINCT pair_id FROM reviews WHERE ends_with(origin, '/' || ?) ORDER BY pair_id", [record]
    )
    return [str(row["pair_id"]) for row in found]


def built_labels(store: Store, pair_id: str) -> list[BuiltLabel]:
    """Return what each build made of a pair, the newest build first."""
    rows = store.rows(
        """
        SELECT build_id, pair_id, split, label, role, source
        FROM build_labels JOIN builds USING (build_id) WHERE pair_id = ? ORDER BY built_at DESC, build_id
        """,
        [pair_id],
    )
    return [BuiltLabel(**row) for row in rows]  # type: ignore[arg-type]


def labels_now(store: Store, pair_id: str, resolution: Resolution) -> dict[str, LabelNow]:
    """Map each policy that ever put a pair forward, or labelled it, to the label that the pair has under it now."""
    rows = store.rows(
        """
        WITH newest AS (
            SELECT name, policy_id, labelling_fingerprint FROM policies
            QUALIFY version = max(version) OVER (PARTITION BY name)
        ), named AS (
            SELECT policy_name AS name FROM candidates WHERE pair_id = $pair
            UNION SELECT name FROM policies SEMI JOIN (
                SELECT labelling_fingerprint FROM reviews WHERE pair_id = $pair
                UNION SELECT labelling_fingerprint FROM judgments WHERE pair_id = $pair
            ) USING (labelling_fingerprint)
        )
        SELECT name, policy_id, label, source
        FROM named JOIN newest USING (name) LEFT JOIN (
            FROM labels($resolution) WHERE pair_id = $pair
        ) AS settled USING (labelling_fingerprint) ORDER BY name
        """,
        {"pair": pair_id, "resolution": resolution},
    )
    return {
        str(row["name"]): LabelNow(str(row["policy_id"]), *(_text(row[key]) for key in ("label", "source")))
        for row in rows
    }


def reviews_of_pair(store: Store, pair_id: str) -> list[dict[str, object]]:
    """Return all reviews of a pair, the oldest first: the columns of the table, and whether each is still current."""
    return store.rows(
        """
        SELECT reviews.*, current_reviews.review_id IS NOT NULL AS is_current
        FROM reviews LEFT JOIN (FROM current_reviews WHERE pair_id = $pair) AS current_reviews USING (review_id)
        WHERE reviews.pair_id = $pair ORDER BY reviews.reviewed_at, reviews.recorded_at, review_id
        """,
        {"pair": pair_id},
    )


def put_forward(store: Store, pair_id: str) -> list[PutForward]:
    """Return every way in which a pair became a candidate, by policy and source."""
    rows = store.rows(
        f"""
        SELECT policy_name, candidates.source AS put_by, proposed, candidates.rank, candidates.score, duplicate_of,
               similarity, candidates.interaction_id AS stands_on, {_LOGGED},
               (SELECT min(retrievals.external_id) FROM retrievals
                WHERE retrievals.interaction_id = candidates.interaction_id AND retrievals.chunk_id = pairs.chunk_id
               ) AS chunk_name,
               (SELECT list_sort(list(DISTINCT signal || CASE WHEN value <> 1 THEN ' ' || value ELSE '' END))
                FROM signals WHERE signals.interaction_id = candidates.interaction_id
                    AND signals.chunk_id = pairs.chunk_id
               ) AS signals
        FROM candidates JOIN pairs USING (pair_id)
        LEFT JOIN interactions ON interactions.interaction_id = candidates.interaction_id
        LEFT JOIN imports USING (import_id)
        WHERE pair_id = ? ORDER BY policy_name, put_by, line, stands_on
        """,
        [pair_id],
    )
    return [
        PutForward(
            policy_name=str(row["policy_name"]),
            source=str(row["put_by"]),
            **{key: row[key] for key in ("proposed", "rank", "score", "duplicate_of", "similarity")},  # type: ignore[arg-type]
            logged=_logged(row) if row["interaction_id"] is not None else None,
            chunk_name=_text(row["chunk_name"]),
            signals=tuple(map(str, row["signals"] or ())),  # type: ignore[call-overload]
        )
        for row in rows
    ]


def logs_of_anchor(store: Store, anchor: str) -> list[Logged]:
    """Return the lines in which an anchor was asked, the first import first."""
    rows = store.rows(
        f"""
        SELECT {_LOGGED} FROM interactions LEFT JOIN imports USING (import_id)
        WHERE anchor_id = ? ORDER BY imported_at, file, line, interaction_id
        """,
        [anchor],
    )
    return [_logged(row) for row in rows]


_LOGGED = """interactions.interaction_id, interactions.external_id, query_id, interactions.source, happened_at,
               file, path, line"""


def _logged(row: Mapping[str, object]) -> Logged:
    return Logged(**{name: row[name] for name in Logged.__slots__})  # type: ignore[arg-type]


def certificates_named(store: Store, certificate_ids: Sequence[str]) -> list[dict[str, object]]:
    """Return what certificates say: certificate_id, issued_at, body (as an object)."""
    found = store.rows(
        "SELECT certificate_id, issued_at, body FROM certificates WHERE certificate_id IN (SELECT unnest($ids))"
        " ORDER BY certificate_id",
        {"ids": list(certificate_ids)},
    )
    return [{**row, "body": json.loads(str(row["body"]))} for row in found]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
