"""Forgetting: a person's or a document's text is taken out of every table, and hashes are left.

The bytes are still in the file then, until `store.erasure` writes it anew.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.errors import MissingError, UsageError
from store.forgetting_plan import Plan, Request, plan
from store.forgetting_rules import ANCHORS, PAIRS, RULES
from store.ids import canonical_json
from store.reviews import Review


def forget(store: Store, planned: Plan) -> None:
    """Take away what a plan of this very store names, in one transaction. `erase` must follow.

    Raises:
        UsageError: the store changed since the plan was made.
    """
    if plan(store, planned.request) != planned:
        raise UsageError("the store changed in the meantime", hint="run the same command again")
    now = datetime.now(UTC)
    request = planned.request
    with store.transaction():
        if request.kind == "reviewer":
            _rename_reviewer(store, planned, now)
            return
        _take_out_of_builds(store, planned, now)
        for rule in RULES:
            verb = f"UPDATE {rule.table} SET {rule.changes}" if rule.changes else f"DELETE FROM {rule.table}"
            store.execute(f"{verb} WHERE {rule.rows}")
        store.execute(
            "DELETE FROM review_records WHERE pair_id IN (FROM shown_pairs) AND pair_id NOT IN (FROM gone_pairs)"
        )
        ids = [*((one, "anchor") for one in planned.anchors), *((one, "chunk") for one in planned.chunks)]
        _remember(store, [*ids, (request.remembered, request.kind)], request.remembered, now)


def _remember(
    store: Store, ids: Sequence[tuple[str, str]], named_by: str, now: datetime, pseudonym: str | None = None
) -> None:
    named = [named_by if kind in ("anchor", "chunk") else None for _, kind in ids]
    columns = {
        "forgotten_id": pa.array([one for one, _ in ids], pa.string()),
        "kind": pa.array([kind for _, kind in ids], pa.string()),
        "named_by": pa.array(named, pa.string()),
        "pseudonym": pa.array([pseudonym] * len(ids), pa.string()),
        "forgotten_at": pa.array([now] * len(ids), pa.timestamp("us", tz="UTC")),
    }
    store.insert("forgotten", pa.table(columns), replace=True)


def _take_out_of_builds(store: Store, planned: Plan, now: datetime) -> None:
    """Move what of a build has no text any more to where only hashes are kept, and mark the build."""
    gone = "positive_id IN (FROM gone_chunks) OR negative_id IN (FROM gone_chunks) OR " + ANCHORS
    store.execute(
        f"""
        INSERT INTO removed_build_labels BY NAME FROM build_labels WHERE {PAIRS};
        INSERT INTO removed_triplets BY NAME FROM triplets WHERE {gone};
        DELETE FROM build_labels WHERE {PAIRS};
        DELETE FROM triplets WHERE {gone};
        """
    )
    _mark_builds(store, planned, now, settings_too=False)


def _mark_builds(store: Store, planned: Plan, now: datetime, *, settings_too: bool) -> None:
    for build in planned.builds:
        store.execute(
            "INSERT OR REPLACE INTO build_alterations VALUES (?, ?, ?, ?)",
            [build, planned.request.remembered, settings_too, now],
        )


def _rename_reviewer(store: Store, planned: Plan, now: datetime) -> None:
    name, remembered = planned.request.name, planned.request.remembered
    pseudonym = store.scalar("SELECT pseudonym FROM forgotten WHERE forgotten_id = ?", [remembered])
    pseudonym = str(pseudonym) if pseudonym else f"forgotten-{secrets.token_hex(4)}"
    rows = store.rows("FROM reviews WHERE reviewer = ? ORDER BY review_id", [name])
    renamed = {}
    for row in rows:
        review = Review(**{field: row[field] for field in Review.__slots__})  # type: ignore[arg-type]
        renamed[str(row["review_id"])] = replace(review, reviewer=pseudonym).review_id
    ids = {"review_id": pa.array(renamed, pa.string()), "becomes": pa.array(renamed.values(), pa.string())}
    with store.view_of("renamed", pa.table(ids)):
        store.execute("CREATE OR REPLACE TEMP TABLE new_ids AS FROM renamed")
    store.execute(
        """
        UPDATE reviews SET carried_from = becomes FROM new_ids WHERE carried_from = new_ids.review_id;
        UPDATE reviews SET review_id = becomes FROM new_ids WHERE reviews.review_id = new_ids.review_id
        """
    )
    store.execute(
        "UPDATE reviews SET reviewer = $new, note = NULL WHERE reviewer = $old", {"new": pseudonym, "old": name}
    )
    store.execute("UPDATE signals SET source = $new WHERE source = $old", {"new": pseudonym, "old": name})
    for build in planned.builds:
        settings = json.loads(str(store.scalar("SELECT settings FROM builds WHERE build_id = ?", [build])))
        settings["reviewers"] = {pseudonym if k == name else k: v for k, v in settings["reviewers"].items()}
        store.execute("UPDATE builds SET settings = ? WHERE build_id = ?", [canonical_json(settings), build])
    _mark_builds(store, planned, now, settings_too=True)
    _remember(store, [(remembered, "reviewer")], remembered, now, pseudonym)


def allow_again(store: Store, request: Request) -> int:
    """Let what was forgotten by this name be imported again; return how many texts or names that concerns.

    Raises:
        MissingError: nothing was forgotten by this name.
    """
    of = "forgotten_id = $remembered OR named_by = $remembered"
    given = {"remembered": request.remembered}
    concerned = store.count(f"SELECT count(*) FROM forgotten WHERE {of}", given)
    if not concerned:
        raise MissingError(f"no {request.kind} {request.name!r} was forgotten here")
    store.execute(f"UPDATE forgotten SET allowed_at = $now WHERE {of}", {**given, "now": datetime.now(UTC)})
    return concerned
