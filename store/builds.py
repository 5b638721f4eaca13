"""Builds: immutable, content-hashed sets of triplets with the labels they were made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.ids import canonical_json, content_id


@dataclass(frozen=True, slots=True)
class Build:
    """One build. `settings` holds what `uncited build` was asked and what it counted."""

    build_id: str
    policy_id: str
    settings: Mapping[str, object]
    built_at: datetime


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
        labels: columns pair_id, split, split_group, label, role, source.
        triplets: columns split, anchor_id, positive_id, negative_id.
    """
    label_rows = sorted(map(list, zip(*(labels[n].to_pylist() for n in _LABELS), strict=True)))
    triplet_rows = sorted(map(list, zip(*(triplets[n].to_pylist() for n in _TRIPLETS), strict=True)))
    build_id = content_id("build", policy_id, dict(settings), label_rows, triplet_rows)
    if store.scalar("SELECT 1 FROM builds WHERE build_id = ?", [build_id]):
        return get_build(store, build_id), False
    build = Build(build_id, policy_id, settings, datetime.now(UTC))
    named = [content_id("triplet", policy_id, *row[1:]) for row in triplet_rows]
    with store.transaction():
        store.insert(
            "builds",
            pa.table(
                {
                    "build_id": [build_id],
                    "policy_id": [policy_id],
                    "settings": [canonical_json(dict(settings))],
                    "built_at": [build.built_at],
                }
            ),
        )
        store.insert("build_labels", _with_build(build_id, _LABELS, label_rows))
        store.insert(
            "triplets",
            _with_build(build_id, _TRIPLETS, triplet_rows).append_column("triplet_id", pa.array(named, pa.string())),
        )
    return build, True


_LABELS = ("pair_id", "split", "split_group", "label", "role", "source")
_TRIPLETS = ("split", "anchor_id", "positive_id", "negative_id")


def _with_build(build_id: str, names: tuple[str, ...], rows: list[list[str]]) -> pa.Table:
    columns = {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
    return pa.table({"build_id": pa.array([build_id] * len(rows), pa.string()), **columns})


def get_build(store: Store, build_id: str) -> Build:
    """Return a build by its id or an unambiguous beginning of it.

    Raises:
        MissingError: no build, or more than one, begins so.
    """
    rows = store.rows("FROM builds WHERE starts_with(build_id, ?) ORDER BY build_id", [build_id])
    if len(rows) != 1:
        found = "no build" if not rows else f"{len(rows)} builds"
        raise MissingError(f"{found} with an id that begins {build_id!r}", hint="uncited status")
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


def list_builds(store: Store) -> list[Build]:
    """Return all builds, newest first."""
    return [_build(row) for row in store.rows("FROM builds ORDER BY built_at DESC, build_id")]


def build_triplets(store: Store, build_id: str) -> pa.Table:
    """Return a build's triplets with their texts.

    Returns:
        Columns triplet_id, split, anchor_id, positive_id, negative_id, anchor, positive, negative; ordered by
        triplet_id.
    """
    return store.table(
        """
        SELECT triplet_id, split, triplets.anchor_id, positive_id, negative_id,
               anchors.text AS anchor, positives.text AS positive, negatives.text AS negative
        FROM triplets
        JOIN anchors ON anchors.anchor_id = triplets.anchor_id
        JOIN chunks AS positives ON positives.chunk_id = positive_id
        JOIN chunks AS negatives ON negatives.chunk_id = negative_id
        WHERE build_id = ? ORDER BY triplet_id
        """,
        [build_id],
    )


def build_labels(store: Store, build_id: str) -> pa.Table:
    """Return the labels that a build froze, with texts.

    Returns:
        Columns pair_id, split, split_group, label, role, source, anchor_id, chunk_id, anchor, chunk; ordered by
        anchor_id, pair_id.
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


def _build(row: Mapping[str, object]) -> Build:
    built_at = row["built_at"]
    assert isinstance(built_at, datetime)
    return Build(str(row["build_id"]), str(row["policy_id"]), json.loads(str(row["settings"])), built_at)
