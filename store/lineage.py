"""What stands behind a pair: its labels, its reviews, and the way back to the line of a log.

`store.row_pairs` finds the pairs of a row. Everything is looked up for a few of them at a time; nothing here reads a
table of the store into memory.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from store.database import Store
from store.judgment_history import StoredPair
from store.labels import Resolution
from store.propagation import Propagate

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BuiltLabel:
    """The label that a build froze for a pair."""

    build_id: str
    pair_id: str
    split: str
    label: str
    role: str
    source: str
    propagated_from: str | None  # the pair that people answered, where source says so


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

    `duplicate_model` embedded the two chunks of which `similarity` is the cosine; None where their texts were compared.
    `search` holds the settings of the search that found it, where one did; `chunk_name` is the log's id of the chunk in
    the interaction, and `signals` what happened to it there.
    """

    policy_name: str
    source: str
    proposed: str
    rank: int | None
    score: float | None
    duplicate_of: str | None
    similarity: float | None
    duplicate_model: str | None
    search: Mapping[str, object] | None
    logged: Logged | None
    chunk_name: str | None
    signals: tuple[str, ...]


class AnswersWith(NamedTuple):
    """How many interactions of one query retrieved a chunk and gave it exactly these signals."""

    signals: tuple[str, ...]  # with a value above zero, in the order of the alphabet; none: it was not taken up
    answers: int


@dataclass(frozen=True, slots=True)
class LabelNow:
    """What a pair is labelled at present under a policy's newest version; `label` is None where it has none."""

    policy_name: str
    policy_id: str
    label: str | None
    source: str | None
    propagated_from: str | None


def stored_pairs(store: Store, pair_ids: Collection[str]) -> dict[str, StoredPair]:
    """Return pairs with their texts, by id; those whose texts are not here (any more) are left out."""
    rows = store.rows(
        f"""
        SELECT pair_id, anchors.text AS anchor, chunk_id, chunks.text AS chunk
        FROM pairs JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        WHERE {_among("pair_id", pair_ids)}
        """,
        _named(pair_ids),
    )
    return {str(row["pair_id"]): StoredPair(**row) for row in rows}  # type: ignore[arg-type]


def built_labels(store: Store, pair_ids: Collection[str]) -> dict[str, list[BuiltLabel]]:
    """Return what each build made of pairs, by pair, the newest build first."""
    rows = store.rows(
        f"""
        SELECT build_id, pair_id, split, label, role, source, propagated_from
        FROM build_labels JOIN builds USING (build_id) WHERE {_among("pair_id", pair_ids)}
        ORDER BY built_at DESC, build_id, pair_id
        """,
        _named(pair_ids),
    )
    return _grouped(pair_ids, rows, lambda row: BuiltLabel(**row))  # type: ignore[arg-type]


def labels_now(
    store: Store, pair_ids: Collection[str], resolution: Resolution, propagate: Propagate
) -> dict[str, list[LabelNow]]:
    """Return the labels that pairs have now under each policy that ever put them forward or labelled them, by pair.

    Args:
        store: where to look.
        pair_ids: of which pairs.
        resolution: what makes one label of several people's answers.
        propagate: whether labels are lent to duplicates.
    """
    among = _among("pair_id", pair_ids)
    rows = store.rows(
        f"""
        WITH newest AS (
            SELECT name, policy_id, labelling_fingerprint FROM policies
            QUALIFY version = max(version) OVER (PARTITION BY name)
        ), named AS (
            SELECT pair_id, policy_name AS name FROM candidates WHERE {among}
            UNION SELECT pair_id, name FROM policies JOIN (
                SELECT pair_id, labelling_fingerprint FROM reviews WHERE {among}
                UNION SELECT pair_id, labelling_fingerprint FROM judgments WHERE {among}
            ) USING (labelling_fingerprint)
        )
        SELECT pair_id, name AS policy_name, policy_id, label, source, propagated_from
        FROM named JOIN newest USING (name) LEFT JOIN (
            FROM labels($resolution, propagate := $propagate) WHERE {among}
        ) AS settled USING (pair_id, labelling_fingerprint) ORDER BY pair_id, name
        """,
        {**_named(pair_ids), "resolution": resolution, "propagate": propagate},
    )
    return _grouped(
        pair_ids,
        rows,
        lambda row: LabelNow(**{k: v for k, v in row.items() if k != "pair_id"}),  # type: ignore[arg-type]
    )


def reviews_of_pairs(store: Store, pair_ids: Collection[str]) -> dict[str, list[dict[str, object]]]:
    """Return all reviews of pairs, by pair, the oldest first: the columns of the table, and whether each is current."""
    among = _among("pair_id", pair_ids)
    rows = store.rows(
        f"""
        SELECT reviews.*, current_reviews.review_id IS NOT NULL AS is_current
        FROM (FROM reviews WHERE {among}) AS reviews
        LEFT JOIN (SELECT review_id FROM current_reviews WHERE {among}) AS current_reviews USING (review_id)
        ORDER BY reviewed_at, recorded_at, review_id
        """,
        _named(pair_ids),
    )
    return _grouped(pair_ids, rows, dict)


def judged_pairs(store: Store, pair_ids: Collection[str]) -> set[str]:
    """Return those of the pairs that a judge was ever asked about."""
    rows = store.rows(f"SELECT DISTINCT pair_id FROM judgments WHERE {_among('pair_id', pair_ids)}", _named(pair_ids))
    return {str(row["pair_id"]) for row in rows}


def put_forward(store: Store, pair_ids: Collection[str]) -> dict[str, list[PutForward]]:
    """Return every way in which pairs became candidates, by pair; of each pair by policy and source."""
    rows = store.rows(
        f"""
        WITH put AS (
            SELECT candidates.*, chunk_id FROM candidates JOIN pairs USING (pair_id)
            WHERE {_among("candidates.pair_id", pair_ids)}
        ), names AS (
            SELECT interaction_id, chunk_id, min(external_id) AS chunk_name
            FROM retrievals SEMI JOIN put USING (interaction_id, chunk_id) GROUP BY ALL
        ), happened AS (
            SELECT interaction_id, chunk_id,
                   list_sort(list(DISTINCT signal || CASE WHEN value <> 1 THEN ' ' || value ELSE '' END)) AS signals
            FROM signals SEMI JOIN put USING (interaction_id, chunk_id) GROUP BY ALL
        )
        SELECT pair_id, policy_name, put.source AS put_by, proposed, put.rank, put.score, duplicate_of, similarity,
               duplicate_model, searches.settings AS search, chunk_name, signals, {_LOGGED}
        FROM put LEFT JOIN names USING (interaction_id, chunk_id) LEFT JOIN happened USING (interaction_id, chunk_id)
        LEFT JOIN interactions ON interactions.interaction_id = put.interaction_id
        LEFT JOIN imports USING (import_id) LEFT JOIN searches USING (search_id)
        ORDER BY policy_name, put_by, file, line, put.interaction_id
        """,
        _named(pair_ids),
    )
    return _grouped(pair_ids, rows, _put_forward)


_AS_THEY_ARE = ("proposed", "rank", "score", "duplicate_of", "similarity", "duplicate_model")


def _put_forward(row: Mapping[str, object]) -> PutForward:
    return PutForward(
        policy_name=str(row["policy_name"]),
        source=str(row["put_by"]),
        **{key: row[key] for key in _AS_THEY_ARE},  # type: ignore[arg-type]
        search=None if row["search"] is None else json.loads(str(row["search"])),
        logged=_logged(row) if row["interaction_id"] is not None else None,
        chunk_name=None if row["chunk_name"] is None else str(row["chunk_name"]),
        signals=tuple(map(str, row["signals"] or ())),  # type: ignore[call-overload]
    )


def votes_on(store: Store, pair_ids: Collection[str]) -> dict[str, list[AnswersWith]]:
    """Return in how many answers pairs stood, by what happened to them there, by pair, the most frequent first.

    Weighed by a policy (`Policy.votes`), they decide together what a pair is put forward as.
    """
    rows = store.rows(
        f"""
        WITH listed AS (
            SELECT DISTINCT pair_id, interaction_id, chunk_id
            FROM (FROM pairs WHERE {_among("pair_id", pair_ids)}) JOIN interactions USING (anchor_id)
            JOIN retrievals USING (interaction_id, chunk_id)
        ), happened AS (
            SELECT pair_id, interaction_id, list_sort(list(DISTINCT signal)) AS told
            FROM listed JOIN signals USING (interaction_id, chunk_id) WHERE value > 0 GROUP BY ALL
        )
        SELECT pair_id, coalesce(told, []) AS told, count(*) AS answers
        FROM listed LEFT JOIN happened USING (pair_id, interaction_id) GROUP BY ALL
        ORDER BY answers DESC, told
        """,
        _named(pair_ids),
    )
    return _grouped(pair_ids, rows, lambda row: AnswersWith(tuple(row["told"]), int(str(row["answers"]))))  # type: ignore[arg-type]


def logs_of_anchors(store: Store, anchors: Collection[str]) -> dict[str, list[Logged]]:
    """Return the lines in which anchors were asked, by anchor, the first import first."""
    rows = store.rows(
        f"""
        SELECT anchor_id, {_LOGGED} FROM interactions LEFT JOIN imports USING (import_id)
        WHERE {_among("anchor_id", anchors)} ORDER BY imported_at, file, line, interaction_id
        """,
        _named(anchors),
    )
    return _grouped(anchors, rows, _logged, key="anchor_id")


def last_altered(store: Store, build_id: str) -> datetime | None:
    """Return when something was last taken out of a build; None: it is what it was."""
    moment = store.scalar("SELECT max(altered_at) FROM build_alterations WHERE build_id = ?", [build_id])
    return moment if isinstance(moment, datetime) else None


def _among(column: str, ids: Collection[str]) -> str:
    """Say that a column is one of `ids`, such that DuckDB applies it before it computes a view (a join it does not)."""
    return f"{column} IN ({', '.join(f'$id{number}' for number in range(len(ids))) or 'NULL'})"


def _named(ids: Collection[str]) -> dict[str, object]:
    return {f"id{number}": one for number, one in enumerate(ids)}


def _grouped(
    ids: Collection[str],
    rows: Sequence[Mapping[str, object]],
    made: Callable[[Mapping[str, object]], _T],
    *,
    key: str = "pair_id",
) -> dict[str, list[_T]]:
    grouped: dict[str, list[_T]] = {one: [] for one in ids}
    for row in rows:
        grouped[str(row[key])].append(made(row))
    return grouped


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
