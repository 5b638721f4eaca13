"""Builds: immutable, content-hashed sets of triplets with the labels they were made from."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.ids import canonical_json, content_id
from store.text import storable

Split = Literal["train", "test"]
_NAMED = 5  # builds in a message

NEGATIVES_PER_POSITIVE = 16  # that a positive meets in a build, unless told otherwise

_LABELS = ("pair_id", "split", "split_group", "label", "role", "source", "propagated_from")
_TRIPLETS = ("split", "anchor_id", "positive_id", "negative_id")


@dataclass(frozen=True, slots=True)
class Build:
    """One build. `settings` holds what `uncited build` was asked, whose answers it used and what it counted."""

    build_id: str
    policy_id: str
    settings: Mapping[str, object]
    built_at: datetime

    @property
    def counts(self) -> Mapping[str, int]:
        """What is in it, by name."""
        counts: Mapping[str, int] = self.settings["counts"]  # type: ignore[assignment]
        return counts


def add_build(
    store: Store,
    policy_id: str,
    settings: Mapping[str, object],
    labels: pa.Table,
    triplets: pa.Table,
) -> tuple[Build, bool]:
    """Store a build, in one transaction; return it, and whether it is new.

    The id is a hash over the policy, the settings and every row, so building twice from the same labels is one build.

    Args:
        store: where to.
        policy_id: the policy version whose roles were applied.
        settings: JSON values only.
        labels: columns pair_id, split, split_group, label, role, source, propagated_from.
        triplets: columns split, anchor_id, positive_id, negative_id.
    """
    labels = labels.select(_LABELS).sort_by([(name, "ascending") for name in _LABELS])
    triplets = triplets.select(_TRIPLETS).sort_by([(name, "ascending") for name in _TRIPLETS])
    build_id = content_id("build", policy_id, dict(settings), _digest(labels), _digest(triplets))
    if store.scalar("SELECT 1 FROM builds WHERE build_id = ?", [build_id]):
        return get_build(store, build_id), False
    row = {
        "build_id": [build_id],
        "policy_id": [policy_id],
        "settings": [canonical_json(dict(settings))],
        "built_at": [datetime.now(UTC)],
    }
    named = [triplet_id(policy_id, *ids) for _, *ids in _rows(triplets)]
    with store.transaction():
        store.insert("builds", pa.table(row))
        store.insert("build_labels", _of_build(build_id, labels))
        store.insert(
            "triplets",
            _of_build(build_id, triplets).append_column("triplet_id", pa.array(named, pa.string())),
        )
    return get_build(store, build_id), True


def content_of_build(store: Store, build_id: str) -> str:
    """Return the id that a build has by all that it holds, and held before something of it was forgotten."""
    build = get_build(store, build_id)
    digests = []
    for names, table, removed in (
        (_LABELS, "build_labels", "removed_build_labels"),
        (_TRIPLETS, "triplets", "removed_triplets"),
    ):
        columns = ", ".join(names)
        digest = hashlib.sha256()
        for batch in store.batches(
            f"""
            SELECT {columns} FROM {table} WHERE build_id = $build
            UNION ALL SELECT {columns} FROM {removed} WHERE build_id = $build
            ORDER BY {", ".join(f"{name} NULLS LAST" for name in names)}
            """,
            {"build": build_id},
        ):
            _digest_rows(digest, pa.table(batch))
        digests.append(digest.hexdigest())
    return content_id("build", build.policy_id, dict(build.settings), *digests)


def triplet_id(policy_id: str, anchor_id: str, positive_id: str, negative_id: str) -> str:
    """Id of a triplet: any exported row leads back to it, since the ids of its texts are hashes of them."""
    return content_id("triplet", policy_id, anchor_id, positive_id, negative_id)


def _digest(rows: pa.Table) -> str:
    digest = hashlib.sha256()
    _digest_rows(digest, rows)
    return digest.hexdigest()


def _digest_rows(digest: "hashlib._Hash", rows: pa.Table) -> None:
    for row in _rows(rows):
        digest.update(f"{canonical_json(row)}\n".encode())


def _rows(table: pa.Table) -> Iterator[list[str]]:
    for batch in table.to_batches(max_chunksize=100_000):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield list(row)


def _of_build(build_id: str, rows: pa.Table) -> pa.Table:
    return rows.add_column(0, "build_id", pa.array([build_id] * rows.num_rows, pa.string()))


def get_build(store: Store, build_id: str) -> Build:
    """Return a build by its id or an unambiguous beginning of it, which may lack `build_` as in names of folders.

    Raises:
        MissingError: no build, or more than one, begins so.
    """
    rows = store.rows(
        "FROM builds WHERE starts_with(build_id, $id) OR starts_with(build_id, 'build_' || $id) ORDER BY build_id",
        {"id": build_id},
    )
    if len(rows) != 1:
        found = "no build" if not rows else f"{len(rows)} builds"
        names = [build.build_id for build in list_builds(store)[:_NAMED]]
        known = f"; the newest: {', '.join(names)}" if names else "; there is none yet"
        raise MissingError(f"{found} with an id that begins {build_id!r}{known}", hint="uncited status")
    return _build(rows[0])


def latest_build(store: Store, policy_name: str) -> Build:
    """Return the newest build of a policy.

    Raises:
        MissingError: it has none yet.
    """
    rows = store.rows(
        """
        FROM builds SEMI JOIN (FROM policies WHERE name = ?) USING (policy_id)
        ORDER BY built_at DESC, build_id LIMIT 1
        """,
        [policy_name],
    )
    if not rows:
        raise MissingError(f"no build of policy {policy_name!r} yet", hint=f"uncited build --policy {policy_name}")
    return _build(rows[0])


def note_output(store: Store, build_id: str, kind: Literal["export", "model", "answers", "report"], path: Path) -> None:
    """Remember where texts of a build go: an export, a model trained on it, answers to its queries, a report.

    Noting it twice moves the time.
    """
    row = {
        "build_id": [build_id],
        "kind": [kind],
        "path": [storable(os.path.abspath(path))],
        "written_at": pa.array([datetime.now(UTC)], pa.timestamp("us", tz="UTC")),
    }
    store.insert("build_outputs", pa.table(row), replace=True)


def output_folders(store: Store, kind: Literal["export", "model", "report"], build_id: str | None = None) -> list[Path]:
    """Return where exports, models or reports of any build, or of one, were put, the newest first.

    They may be gone by now.
    """
    rows = store.rows(
        """
        SELECT path FROM build_outputs WHERE kind = $kind AND build_id = coalesce($build, build_id)
        GROUP BY path ORDER BY max(written_at) DESC, path
        """,
        {"kind": kind, "build": build_id},
    )
    return [Path(str(row["path"])) for row in rows]


def list_builds(store: Store) -> list[Build]:
    """Return all builds, newest first."""
    return [_build(row) for row in store.rows("FROM builds ORDER BY built_at DESC, build_id")]


def build_triplets(store: Store, build_id: str, split: Split | None = None) -> pa.Table:
    """Return the triplets of a build, or of one split of it, with their texts.

    Returns:
        Columns triplet_id, split, anchor_id, positive_id, negative_id, anchor, positive, negative; ordered by
        triplet_id.
    """
    return pa.concat_tables(triplet_batches(store, build_id, split))


def triplet_batches(
    store: Store, build_id: str, split: Split | None = None, *, size: int = 20_000
) -> Iterator[pa.Table]:
    """Yield what `build_triplets` returns, at most `size` rows at a time; at least one table, which may be empty."""
    last = ""
    while True:
        batch = store.table(
            """
            WITH wanted AS (
                FROM triplets
                WHERE build_id = $build AND split = coalesce($split, split) AND triplet_id > $last
                ORDER BY triplet_id LIMIT $size
            )
            SELECT triplet_id, split, wanted.anchor_id, positive_id, negative_id,
                   anchors.text AS anchor, positives.text AS positive, negatives.text AS negative
            FROM wanted
            JOIN anchors ON anchors.anchor_id = wanted.anchor_id
            JOIN chunks AS positives ON positives.chunk_id = positive_id
            JOIN chunks AS negatives ON negatives.chunk_id = negative_id
            ORDER BY triplet_id
            """,
            {"build": build_id, "split": split, "last": last, "size": size},
        )
        if batch.num_rows or not last:
            yield batch
        if batch.num_rows < size:
            return
        last = batch["triplet_id"][-1].as_py()


def build_labels(store: Store, build_id: str) -> pa.Table:
    """Return the labels that a build froze, with texts.

    Returns:
        Columns pair_id, split, split_group, label, role, source, propagated_from, anchor_id, chunk_id, anchor, chunk;
        ordered by anchor_id, pair_id.
    """
    return store.table(
        """
        SELECT build_labels.* EXCLUDE (build_id), pairs.anchor_id, pairs.chunk_id,
               anchors.text AS anchor, chunks.text AS chunk
        FROM build_labels
        JOIN pairs USING (pair_id)
        JOIN anchors ON anchors.anchor_id = pairs.anchor_id
        JOIN chunks ON chunks.chunk_id = pairs.chunk_id
        WHERE build_id = ? ORDER BY pairs.anchor_id, pair_id
        """,
        [build_id],
    )


def build_pool(store: Store, build_id: str, size: int) -> pa.Table:
    """Return the chunks that a test query searches among: all that its split labels, and others up to `size` in all.

    The others are a random sample of the collection that is the same every time: ids are hashes, and the smallest are
    taken.

    Returns:
        Columns chunk_id, text; ordered by chunk_id.
    """
    return store.table(
        """
        WITH labelled AS (
            SELECT DISTINCT chunk_id FROM build_labels JOIN pairs USING (pair_id)
            WHERE build_id = $build AND split = 'test'
        )
        SELECT chunk_id, text FROM (
            SELECT chunk_id, text, chunk_id IN (FROM labelled) AS wanted FROM chunks
            QUALIFY wanted OR row_number() OVER (ORDER BY wanted DESC, chunk_id) <= $size
        ) ORDER BY chunk_id
        """,
        {"build": build_id, "size": size},
    )


def _build(row: Mapping[str, object]) -> Build:
    built_at = row["built_at"]
    assert isinstance(built_at, datetime)
    return Build(str(row["build_id"]), str(row["policy_id"]), json.loads(str(row["settings"])), built_at)
