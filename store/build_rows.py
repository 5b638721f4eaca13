"""The rows of a build as places: an export reads each text once, and rows name it by the place where it stands.

A text recurs in many triplets. Rows of places are small whatever the texts are, and DuckDB sorts and groups them in
little memory. `place_texts` comes first, for both sides, then `score_pairs`, then the functions that yield rows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import duckdb
import pyarrow as pa

from store.builds import Split
from store.database import Store
from store.errors import ProviderError

Side = Literal["anchors", "chunks"]

_KEYS = {"anchors": "anchor_id", "chunks": "chunk_id"}
_TEXTS_AT_A_TIME = 10_000
_ROWS_AT_A_TIME = 50_000


def place_texts(store: Store, build_id: str, side: Side) -> Iterator[pa.RecordBatch]:
    """Number the texts of a side that have a label in a build, from 0 in the order of their ids, and yield them.

    Returns:
        Columns place, id, text; in no order.
    """
    key = _KEYS[side]
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE export_{side} AS
        SELECT {key}, CAST(row_number() OVER (ORDER BY {key}) - 1 AS INTEGER) AS place
        FROM (SELECT DISTINCT {key} FROM build_labels JOIN pairs USING (pair_id) WHERE build_id = ?)
        """,
        [build_id],
    )
    yield from store.batches(
        f"SELECT place, {key} AS id, text FROM {side} JOIN export_{side} USING ({key})", rows=_TEXTS_AT_A_TIME
    )


def known_scorers(store: Store) -> list[str]:
    """Return the names of the models that scored pairs (see `store.triage`)."""
    return [str(row["scorer"]) for row in store.rows("SELECT DISTINCT scorer FROM triage_scores ORDER BY scorer")]


def score_pairs(store: Store, build_id: str, by: Mapping[str, float] | str | None) -> int:
    """Give the pairs of a build scores: those of their labels, those of a scorer, or none.

    Returns:
        How many pairs have none.
    """
    places = """
        SELECT export_anchors.place AS anchor, export_chunks.place AS chunk, label, pair_id
        FROM build_labels JOIN pairs USING (pair_id)
        JOIN export_anchors USING (anchor_id) JOIN export_chunks USING (chunk_id)
        WHERE build_id = $build
    """
    of_labels = by if isinstance(by, Mapping) else {}
    rows = pa.table({"label": pa.array(of_labels, pa.string()), "score": pa.array(of_labels.values(), pa.float64())})
    with store.view_of("label_scores", rows):
        store.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE export_scores AS
            SELECT anchor, chunk, score FROM ({places}) JOIN (
                SELECT pair_id, score FROM triage_scores WHERE scorer = $scorer
                UNION ALL
                SELECT pair_id, score FROM build_labels JOIN label_scores USING (label) WHERE build_id = $build
            ) USING (pair_id)
            """,
            {"build": build_id, "scorer": by if isinstance(by, str) else ""},
        )
    pairs = store.count("SELECT count(*) FROM build_labels WHERE build_id = ?", [build_id])
    return pairs - store.count("SELECT count(*) FROM export_scores")


_TRIPLETS = """
    placed AS (
        SELECT triplet_id, export_anchors.place AS anchor, positives.place AS positive, negatives.place AS negative
        FROM triplets
        JOIN export_anchors USING (anchor_id)
        JOIN export_chunks AS positives ON positives.chunk_id = positive_id
        JOIN export_chunks AS negatives ON negatives.chunk_id = negative_id
        WHERE build_id = $build AND split = $split
    ), scored AS (
        SELECT placed.*, of_positive.score AS positive_score, of_negative.score AS negative_score
        FROM placed
        LEFT JOIN export_scores AS of_positive
            ON of_positive.anchor = placed.anchor AND of_positive.chunk = placed.positive
        LEFT JOIN export_scores AS of_negative
            ON of_negative.anchor = placed.anchor AND of_negative.chunk = placed.negative
        WHERE NOT $with_scores OR (of_positive.score IS NOT NULL AND of_negative.score IS NOT NULL)
    )
"""


def triplet_rows(store: Store, build_id: str, split: Split, *, with_scores: bool) -> Iterator[pa.RecordBatch]:
    """Yield the triplets of a split in the order of their ids, which are hashes: what is alike stands apart.

    Args:
        store: with texts placed and pairs scored.
        build_id: whose.
        split: which.
        with_scores: leave out those that lack a score.

    Returns:
        Columns anchor, positive, negative (places), positive_score, negative_score.
    """
    yield from store.batches(
        f"WITH {_TRIPLETS} SELECT * EXCLUDE (triplet_id) FROM scored ORDER BY triplet_id",
        {"build": build_id, "split": split, "with_scores": with_scores},
        rows=_ROWS_AT_A_TIME,
    )


def tuple_rows(
    store: Store, build_id: str, split: Split, *, negatives: int, with_scores: bool
) -> Iterator[pa.RecordBatch]:
    """Yield each positive of a split with exactly so many negatives of its triplets, in as many rows as it takes.

    Where the last row would fall short, it repeats some of the row before; a positive with fewer negatives than that
    has no row. Rows are in the order of a hash: what is alike stands apart.

    Returns:
        Columns anchor, positive (places), negatives (list of places), positive_score, negative_scores (list).
    """
    yield from store.batches(
        f"""
        WITH {_TRIPLETS}, met AS (
            SELECT anchor, positive, any_value(positive_score) AS positive_score,
                   list(negative ORDER BY negative) AS negatives,
                   list(negative_score ORDER BY negative) AS negative_scores
            FROM scored GROUP BY anchor, positive HAVING count(*) >= $size
        ), taken AS (
            SELECT *, unnest([least(i, len(negatives) - $size) FOR i IN range(0, len(negatives), $size)]) AS skipped
            FROM met
        )
        SELECT anchor, positive, negatives[skipped + 1:skipped + $size] AS negatives, positive_score,
               negative_scores[skipped + 1:skipped + $size] AS negative_scores
        FROM taken
        ORDER BY md5(concat_ws(' ', anchor, positive, skipped)), anchor, positive, skipped
        """,
        {"build": build_id, "split": split, "with_scores": with_scores, "size": negatives},
        rows=_ROWS_AT_A_TIME // negatives + 1,
    )


def lonely_positives(store: Store, build_id: str, split: Split, *, negatives: int, with_scores: bool) -> int:
    """Count the positives that `tuple_rows` leaves out for want of negatives."""
    return store.count(
        f"""
        WITH {_TRIPLETS}
        SELECT count(*) FROM (FROM scored SELECT 1 GROUP BY anchor, positive HAVING count(*) < $size)
        """,
        {"build": build_id, "split": split, "with_scores": with_scores, "size": negatives},
    )


def anchor_rows(store: Store, build_id: str, split: Split, *, with_scores: bool) -> Iterator[pa.RecordBatch]:
    """Yield the triplets of a split as one row an anchor, each text once; in the order of the anchors' places.

    Returns:
        Columns anchor (place), pos, neg (lists of places, in order), pos_scores, neg_scores (lists).
    """
    yield from store.batches(
        f"""
        WITH {_TRIPLETS}, sides AS (
            SELECT anchor, positive AS chunk, positive_score AS score, true AS positive FROM scored
            UNION
            SELECT anchor, negative, negative_score, false FROM scored
        )
        SELECT anchor,
               list(chunk ORDER BY chunk) FILTER (positive) AS pos,
               list(chunk ORDER BY chunk) FILTER (NOT positive) AS neg,
               list(score ORDER BY chunk) FILTER (positive) AS pos_scores,
               list(score ORDER BY chunk) FILTER (NOT positive) AS neg_scores
        FROM sides GROUP BY anchor ORDER BY anchor
        """,
        {"build": build_id, "split": split, "with_scores": with_scores},
        rows=_ROWS_AT_A_TIME // 20,
    )


_LABELS = """
    SELECT pair_id, export_anchors.place AS anchor, export_chunks.place AS chunk, label, role = 'positive' AS positive,
           score
    FROM build_labels JOIN pairs USING (pair_id)
    JOIN export_anchors USING (anchor_id) JOIN export_chunks USING (chunk_id)
    LEFT JOIN export_scores ON export_scores.anchor = export_anchors.place AND export_scores.chunk = export_chunks.place
    WHERE build_id = $build AND split = $split AND (score IS NOT NULL OR NOT $with_scores)
"""


def pair_rows(store: Store, build_id: str, split: Split, *, with_scores: bool) -> Iterator[pa.RecordBatch]:
    """Yield the labelled pairs of a split in the order of their ids, which are hashes: what is alike stands apart.

    Returns:
        Columns anchor, chunk (places), positive (boolean), score.
    """
    yield from store.batches(
        f"SELECT anchor, chunk, positive, score FROM ({_LABELS}) ORDER BY pair_id",
        {"build": build_id, "split": split, "with_scores": with_scores},
        rows=_ROWS_AT_A_TIME,
    )


def label_rows(store: Store, build_id: str, split: Split, *, with_scores: bool) -> Iterator[pa.RecordBatch]:
    """Yield the labelled pairs of a split as one row an anchor, in the order of the anchors' places.

    Returns:
        Columns anchor (place), chunks (list of places, in order), labels (list of names), positive (list of booleans),
        scores (list).
    """
    yield from store.batches(
        f"""
        SELECT anchor, list(chunk ORDER BY chunk) AS chunks, list(label ORDER BY chunk) AS labels,
               list(positive ORDER BY chunk) AS positive, list(score ORDER BY chunk) AS scores
        FROM ({_LABELS}) GROUP BY anchor ORDER BY anchor
        """,
        {"build": build_id, "split": split, "with_scores": with_scores},
        rows=_ROWS_AT_A_TIME // 20,
    )


@contextmanager
def little_memory(store: Store) -> Iterator[None]:
    """Let DuckDB sort and group on disk what does not fit into half a gigabyte, for the length of the block.

    Raises:
        ProviderError: neither memory nor the disk has room.
    """
    store.execute("SET memory_limit = '512MB'")
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        why = str(error).splitlines()[0]
        raise ProviderError(f"the database has no room to sort in: {why}", hint=f"df {store.path.parent}") from error
    finally:
        for name in (*(f"export_{side}" for side in _KEYS), "export_scores"):
            store.execute(f"DROP TABLE IF EXISTS temp.{name}")
        store.execute("RESET memory_limit")
