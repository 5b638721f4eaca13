"""Forgetting: a person's or a document's text is taken out of every table, and hashes are left.

A row that is deleted, or a text that is overwritten, stays in the file until DuckDB happens to use its block again. So
the file is written anew from what is left (`erase`), and takes the place of the old one.
"""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import pyarrow as pa

from store.database import Store
from store.errors import MissingError, UsageError
from store.forgotten import name_hash
from store.ids import canonical_json, text_id
from store.progress import Progress, silent
from store.reviews import Review

Kind = Literal["query-id", "chunk-id", "reviewer"]

_SHORTEST = 12  # characters of a text that is looked for in other texts; a shorter one stands in many by chance


class _Rule(NamedTuple):
    """What becomes of the rows of a table. `changes` None: they are deleted."""

    table: str
    rows: str
    changes: str | None


_PAIRS = "pair_id IN (SELECT pair_id FROM gone_pairs)"
_CHUNKS = "chunk_id IN (SELECT chunk_id FROM gone_chunks)"
_ANCHORS = "anchor_id IN (SELECT anchor_id FROM gone_anchors)"
_BESIDE = "reference_chunk_id IN (SELECT chunk_id FROM gone_chunks)"
_GENERATED = f"generation_id IN (SELECT generation_id FROM generations WHERE {_CHUNKS})"

# In this order: later rules do not read what earlier ones changed. Tables that are not here hold ids and numbers only.
_RULES = (
    _Rule("interactions", _ANCHORS, "answer = NULL, extra = '{}', query_id = NULL, external_id = NULL, source = NULL"),
    _Rule(
        "interactions",  # an answer repeats what was retrieved for it
        f"interaction_id IN (SELECT interaction_id FROM retrievals WHERE {_CHUNKS})"
        " AND (answer IS NOT NULL OR extra::VARCHAR <> '{}')",
        "answer = NULL, extra = '{}'",
    ),
    _Rule("retrievals", f"{_CHUNKS} AND external_id <> chunk_id", "external_id = chunk_id"),
    _Rule(
        "signals",
        f"source IS NOT NULL AND interaction_id IN (SELECT interaction_id FROM interactions WHERE {_ANCHORS})",
        "source = NULL",
    ),
    _Rule("chunk_names", _CHUNKS, None),
    _Rule("candidates", _PAIRS, None),
    _Rule(
        "judgments",
        f"({_PAIRS} OR {_BESIDE}) AND (raw_answer IS NOT NULL OR quote IS NOT NULL OR reason IS NOT NULL)",
        "raw_answer = NULL, quote = NULL, reason = NULL",
    ),
    _Rule(
        "permuted_asks", "raw_answer IS NOT NULL AND pair_id IN (SELECT pair_id FROM shown_pairs)", "raw_answer = NULL"
    ),
    _Rule("reviews", f"{_PAIRS} AND note IS NOT NULL", "note = NULL"),
    _Rule("triage_scores", _PAIRS, None),
    _Rule("cross_encoder_scores", _PAIRS, None),
    _Rule("alike_pairs", f"{_PAIRS} OR alike_id IN (SELECT pair_id FROM gone_pairs)", None),
    _Rule(
        "embeddings",  # those of chunks and anchors that were mined go by their own ids
        "text_id IN (FROM gone_texts UNION ALL SELECT chunk_id FROM gone_chunks"
        " UNION ALL SELECT anchor_id FROM gone_anchors)",
        None,
    ),
    _Rule(
        "synthetic_questions",
        f"({_ANCHORS} OR repeats IN (SELECT anchor_id FROM gone_anchors) OR {_GENERATED}) AND text <> ''",
        "text = '', repeats = NULL",
    ),
    _Rule("generations", f"{_CHUNKS} AND raw_answer IS NOT NULL", "raw_answer = NULL"),
    _Rule("anchors", _ANCHORS, None),
    _Rule("chunks", _CHUNKS, None),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be forgotten, by the name that the log, or the reviews, give it."""

    kind: Kind
    name: str

    @property
    def remembered(self) -> str:
        """What will be kept of the name."""
        return name_hash(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """What forgetting takes away, counted in rows by table, and what it cannot reach.

    `names` are all names of the same texts, since a text goes wherever it stands. `left` says where a text, or the
    reviewer's name, stands within another text of the store. `lines` are those of the logs that hold it, `outputs`
    exports and models of builds that do. `pair_ids` are the pairs that show it, to reviewers for instance.
    """

    request: Request
    done_before: bool
    anchors: tuple[str, ...]
    chunks: tuple[str, ...]
    names: tuple[str, ...]
    rows: Mapping[str, int]
    builds: tuple[str, ...]
    left: tuple[str, ...]
    lines: tuple[str, ...]
    outputs: tuple[str, ...]
    pair_ids: tuple[str, ...]
    texts: tuple[str, ...]


def plan(store: Store, request: Request) -> Plan:
    """Find out what forgetting would take away; nothing is changed.

    Raises:
        MissingError: nothing has that name.
    """
    known = bool(store.scalar("SELECT 1 FROM forgotten WHERE forgotten_id = ?", [request.remembered]))
    if request.kind == "reviewer":
        return _plan_reviewer(store, request, known)
    anchors, chunks = _named(store, request)
    if not anchors and not chunks:
        raise MissingError(f"no {request.kind} {request.name!r} in the logs", hint="uncited status")
    _lay_out(store, anchors, chunks)
    texts = [
        str(row["text"])
        for row in store.rows(
            f"SELECT text FROM anchors WHERE {_ANCHORS} UNION ALL SELECT text FROM chunks WHERE {_CHUNKS}"
        )
    ]
    hashes = pa.table({"text_id": pa.array([text_id(text) for text in texts], pa.string())})
    _temporary(store, "gone_texts", hashes)
    counted: dict[str, int] = {}
    for rule in _RULES:
        rows = store.count(f"SELECT count(*) FROM {rule.table} WHERE {rule.rows}")
        counted[rule.table] = counted.get(rule.table, 0) + rows
    builds = _strings(store, f"SELECT DISTINCT build_id AS found FROM build_labels WHERE {_PAIRS} ORDER BY 1")
    return Plan(
        request=request,
        done_before=known,
        anchors=tuple(anchors),
        chunks=tuple(chunks),
        names=_names(store),
        rows={table: rows for table, rows in counted.items() if rows},
        builds=builds,
        left=tuple(_left(store, texts)),
        lines=_strings(store, _LINES),
        outputs=_outputs(store, builds),
        pair_ids=_strings(store, "SELECT pair_id AS found FROM shown_pairs ORDER BY 1"),
        texts=tuple(texts),
    )


def _named(store: Store, request: Request) -> tuple[list[str], list[str]]:
    """Return the anchors and the chunks that a name stands for, or stood for when it was forgotten."""
    before = "SELECT forgotten_id AS found FROM forgotten WHERE named_by = $remembered AND kind = $kind"
    given = {"name": request.name}
    if request.kind == "query-id":
        asked = "SELECT anchor_id AS found FROM interactions WHERE query_id = $name UNION "
        found = store.rows(f"{asked}{before} ORDER BY 1", {**given, "remembered": request.remembered, "kind": "anchor"})
        return [str(row["found"]) for row in found], []
    texts = """
        SELECT chunk_id AS found FROM chunk_names WHERE external_id = $name
        UNION SELECT chunk_id FROM chunks WHERE chunk_id = $name UNION
    """
    found = store.rows(f"{texts}{before} ORDER BY 1", {**given, "remembered": request.remembered, "kind": "chunk"})
    chunks = [str(row["found"]) for row in found]
    written = store.rows(  # questions that a model wrote about a chunk say what it says
        "SELECT DISTINCT anchor_id FROM synthetic_anchors WHERE chunk_id IN (SELECT unnest($chunks))",
        {"chunks": chunks},
    )
    return [str(row["anchor_id"]) for row in written], chunks


def _lay_out(store: Store, anchors: Sequence[str], chunks: Sequence[str]) -> None:
    _temporary(store, "gone_anchors", pa.table({"anchor_id": pa.array(anchors, pa.string())}))
    _temporary(store, "gone_chunks", pa.table({"chunk_id": pa.array(chunks, pa.string())}))
    store.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE gone_pairs AS SELECT pair_id FROM pairs WHERE {_ANCHORS} OR {_CHUNKS};
        CREATE OR REPLACE TEMP TABLE shown_pairs AS
            FROM gone_pairs UNION SELECT pair_id FROM judgments WHERE {_BESIDE}
            UNION SELECT pair_id FROM candidate_pairs JOIN (
                FROM reference_chunks WHERE {_CHUNKS}
            ) AS shown USING (policy_name, anchor_id) WHERE proposed = 'negative'
        """
    )


def _temporary(store: Store, name: str, rows: pa.Table) -> None:
    with store.view_of("given_rows", rows):
        store.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM given_rows")


def _names(store: Store) -> tuple[str, ...]:
    return _strings(
        store,
        f"""
        SELECT DISTINCT query_id AS found FROM interactions WHERE {_ANCHORS} AND query_id IS NOT NULL
        UNION SELECT external_id FROM chunk_names WHERE {_CHUNKS} ORDER BY 1
        """,
    )


_LINES = f"""
    SELECT DISTINCT coalesce(path, file, import_id) || ':' || line AS found
    FROM interactions LEFT JOIN imports USING (import_id)
    WHERE {_ANCHORS} OR interaction_id IN (SELECT interaction_id FROM retrievals WHERE {_CHUNKS}) ORDER BY 1
"""


def _outputs(store: Store, builds: Sequence[str]) -> tuple[str, ...]:
    rows = store.rows(
        """
        SELECT kind || ' ' || path AS found FROM build_outputs
        WHERE build_id IN (SELECT unnest($builds))
           OR build_id IN (SELECT build_id FROM removed_build_labels SEMI JOIN gone_pairs USING (pair_id)) ORDER BY 1
        """,
        {"builds": list(builds)},
    )
    return tuple(str(row["found"]) for row in rows)


def _left(store: Store, texts: Sequence[str]) -> list[str]:
    """Say in which columns a text stands as a part of another one, which no rule takes away."""
    wanted = [text for text in texts if len(text) >= _SHORTEST]
    columns = store.rows(
        """
        SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND data_type IN ('VARCHAR', 'JSON') AND schema_name = 'main'
            AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE NOT temporary)
            AND NOT ends_with(column_name, '_id') ORDER BY ALL
        """
    )
    touched = {rule.table: " OR ".join(f"({r.rows})" for r in _RULES if r.table == rule.table) for rule in _RULES}
    found = []
    for row in columns:
        table, column = str(row["table_name"]), str(row["column_name"])
        others = f"NOT coalesce({touched[table]}, false)" if table in touched else "true"
        rows = store.count(
            f"""
            SELECT count(*) FROM {table} WHERE {others}
                AND len(list_filter($texts::VARCHAR[], lambda sought: contains({table}.{column}::VARCHAR, sought))) > 0
            """,
            {"texts": [*wanted, *(json.dumps(text, ensure_ascii=False)[1:-1] for text in wanted)]},
        )
        if rows:
            found.append(f"{table}.{column}: {rows} rows")
    return found


def _plan_reviewer(store: Store, request: Request, known: bool) -> Plan:
    given = {"name": request.name}
    reviews = store.count("SELECT count(*) FROM reviews WHERE reviewer = $name", given)
    if not reviews and not known:
        raise MissingError(f"no reviewer {request.name!r}", hint="uncited review status --policy NAME")
    signals = store.count("SELECT count(*) FROM signals WHERE source = $name", given)
    builds = tuple(build for build, names in _reviewers_of_builds(store).items() if request.name in names)
    counted = {"reviews": reviews, "signals": signals, "builds": len(builds)}
    pairs = store.rows("SELECT DISTINCT pair_id FROM reviews WHERE reviewer = $name ORDER BY 1", given)
    return Plan(
        request=request,
        done_before=known,
        anchors=(),
        chunks=(),
        names=(request.name,),
        rows={table: rows for table, rows in counted.items() if rows},
        builds=builds,
        left=(),
        lines=_strings(store, _ORIGINS, given),
        outputs=_outputs_of_reviewer(store, builds),
        pair_ids=tuple(str(row["pair_id"]) for row in pairs),
        texts=(),
    )


# Of a file or a dataset of a review server with thousands of lines or records, how many is enough.
_ORIGINS = """
    SELECT origin || ': ' || count(*) || CASE WHEN count(*) = 1 THEN ' answer' ELSE ' answers' END AS found FROM (
        SELECT regexp_replace(origin, '[:/][^:/]*$', '') AS origin FROM reviews WHERE reviewer = $name
    ) GROUP BY origin ORDER BY origin
"""


def _outputs_of_reviewer(store: Store, builds: Sequence[str]) -> tuple[str, ...]:
    """Manifests name the reviewers of a build; the weights of a model do not."""
    rows = store.rows(
        """
        SELECT kind || ' ' || path AS found FROM build_outputs
        WHERE build_id IN (SELECT unnest($builds)) AND kind = 'export' ORDER BY 1
        """,
        {"builds": list(builds)},
    )
    return tuple(str(row["found"]) for row in rows)


def _reviewers_of_builds(store: Store) -> dict[str, Mapping[str, int]]:
    rows = store.rows("SELECT build_id, settings FROM builds ORDER BY build_id")
    return {str(row["build_id"]): json.loads(str(row["settings"])).get("reviewers", {}) for row in rows}


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
        for rule in _RULES:
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
    gone = "positive_id IN (FROM gone_chunks) OR negative_id IN (FROM gone_chunks) OR " + _ANCHORS
    store.execute(
        f"""
        INSERT INTO removed_build_labels BY NAME FROM build_labels WHERE {_PAIRS};
        INSERT INTO removed_triplets BY NAME FROM triplets WHERE {gone};
        DELETE FROM build_labels WHERE {_PAIRS};
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


def erasure_pending(store: Store) -> bool:
    """Tell whether something was forgotten whose bytes may still be in the file."""
    return bool(store.scalar("SELECT 1 FROM forgotten WHERE erased_at IS NULL LIMIT 1"))


def erase(path: Path, progress: Progress = silent) -> None:
    """Write a database anew from its rows and put it in place of the old one, so that no freed block is left.

    Until the last moment the old file stays as it is, and nobody else can write to it. No store may have it open.

    Raises:
        UsageError: there is no room for a second file, or it cannot be written.
        ProviderError: another process has the file open.
    """
    fresh = path.with_name(f".{path.name}.new")
    beside = [fresh, Path(f"{fresh}.wal")]
    for leftover in beside:
        leftover.unlink(missing_ok=True)
    with Store(path) as store:
        store.execute("FORCE CHECKPOINT")
    try:
        Store(fresh).close()
        with duckdb.connect(":memory:", config={"temp_directory": f"{fresh}.tmp"}) as connection:
            connection.execute(f"ATTACH '{_quoted(path)}' AS old (READ_ONLY); ATTACH '{_quoted(fresh)}' AS fresh")
            _copy(connection, progress)
            connection.execute("FORCE CHECKPOINT fresh; DETACH fresh")
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(fresh, path)
    except (OSError, duckdb.Error) as error:
        raise UsageError(
            f"what is forgotten is out of every table, but {path} could not be written anew: {error}",
            hint="uncited forget   # once there is room for a second file of that size",
        ) from error
    finally:
        for leftover in beside:
            leftover.unlink(missing_ok=True)


def _copy(connection: duckdb.DuckDBPyConnection, progress: Progress) -> None:
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'fresh' ORDER BY table_name"
    ).fetchall()
    progress.start("Writing the file anew", len(tables))
    for (table,) in tables:
        connection.execute(f"DELETE FROM fresh.{table}; INSERT INTO fresh.{table} BY NAME FROM old.{table}")
        progress.advance()
    connection.execute("UPDATE fresh.forgotten SET erased_at = now() WHERE erased_at IS NULL")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _strings(store: Store, sql: str, parameters: Mapping[str, object] | None = None) -> tuple[str, ...]:
    return tuple(str(row["found"]) for row in store.rows(sql, parameters or {}))
