"""What stands behind a build, as its exports tell it."""

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from store.database import Store


def label_counts(store: Store, build_id: str) -> list[dict[str, object]]:
    """Count the labels behind a build.

    Returns:
        One dict a combination that there is: split, label, role, source (who gave it), pairs; in that order.
    """
    return store.rows(
        """
        SELECT split, label, role, source, count(*) AS pairs FROM build_labels WHERE build_id = ?
        GROUP BY ALL ORDER BY ALL
        """,
        [build_id],
    )


def shared_texts(store: Store, build_id: str) -> dict[str, object]:
    """Count the texts, exactly the same, that stand in train triplets and in test labels.

    Returns:
        anchors; chunks; chunks_to_find, which are those of the chunks that are positive for a test query.
    """
    found = store.rows(
        """
        WITH tested AS (
            SELECT anchor_id, chunk_id, role FROM build_labels JOIN pairs USING (pair_id)
            WHERE build_id = $build AND split = 'test'
        ), test_chunks AS (
            SELECT chunk_id, bool_or(role = 'positive') AS to_find FROM tested GROUP BY chunk_id
        ), trained AS (FROM triplets WHERE build_id = $build AND split = 'train'), train_chunks AS (
            SELECT positive_id AS chunk_id FROM trained UNION SELECT negative_id FROM trained
        )
        SELECT (SELECT count(*) FROM (SELECT anchor_id FROM trained INTERSECT SELECT anchor_id FROM tested)) AS anchors,
               count(*) AS chunks, count(*) FILTER (to_find) AS chunks_to_find
        FROM train_chunks JOIN test_chunks USING (chunk_id)
        """,
        {"build": build_id},
    )
    return found[0]


def certificate_bodies(store: Store, certificate_ids: Sequence[str]) -> list[Mapping[str, object]]:
    """Return what certificates state, whether or not they hold still; in the order of their ids."""
    wanted = pa.table({"certificate_id": pa.array(certificate_ids, pa.string())})
    with store.view_of("wanted", wanted):
        rows = store.rows("FROM certificates SEMI JOIN wanted USING (certificate_id) ORDER BY certificate_id")
    return [{"certificate_id": row["certificate_id"], **json.loads(str(row["body"]))} for row in rows]


def texts_of_pairs(store: Store, pairs: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return the texts of (anchor id, chunk id, chunk id), in the order given."""
    columns = [pa.array(ids, pa.string()) for ids in zip(*pairs, strict=True)] or [pa.array([], pa.string())] * 3
    with store.view_of("asked", pa.table([*columns, pa.array(range(len(pairs)))], ["anchor_id", "own", "like", "n"])):
        rows = store.rows(
            """
            SELECT anchors.text AS anchor, chunks.text AS chunk, alike.text AS alike
            FROM asked JOIN anchors USING (anchor_id) JOIN chunks ON chunks.chunk_id = own
            JOIN chunks AS alike ON alike.chunk_id = asked."like" ORDER BY n
            """
        )
    return [(str(row["anchor"]), str(row["chunk"]), str(row["alike"])) for row in rows]
