"""What forgetting would take away: a person's or a document's text in every table, or a reviewer's name."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.forgetting_rules import ANCHORS, BESIDE, CHUNKS, PAIRS, RULES
from store.forgotten import name_hash
from store.ids import text_id

Kind = Literal["query-id", "chunk-id", "reviewer"]

_SHORTEST = 12  # characters of a text that is looked for in other texts; a shorter one stands in many by chance


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
            f"SELECT text FROM anchors WHERE {ANCHORS} UNION ALL SELECT text FROM chunks WHERE {CHUNKS}"
        )
    ]
    hashes = pa.table({"text_id": pa.array([text_id(text) for text in texts], pa.string())})
    _temporary(store, "gone_texts", hashes)
    counted: dict[str, int] = {}
    for rule in RULES:
        rows = store.count(f"SELECT count(*) FROM {rule.table} WHERE {rule.rows}")
        counted[rule.table] = counted.get(rule.table, 0) + rows
    builds = _strings(store, f"SELECT DISTINCT build_id AS found FROM build_labels WHERE {PAIRS} ORDER BY 1")
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
        CREATE OR REPLACE TEMP TABLE gone_pairs AS SELECT pair_id FROM pairs WHERE {ANCHORS} OR {CHUNKS};
        CREATE OR REPLACE TEMP TABLE shown_pairs AS
            FROM gone_pairs UNION SELECT pair_id FROM judgments WHERE {BESIDE}
            UNION SELECT pair_id FROM candidate_pairs JOIN (
                FROM reference_chunks WHERE {CHUNKS}
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
        SELECT DISTINCT query_id AS found FROM interactions WHERE {ANCHORS} AND query_id IS NOT NULL
        UNION SELECT external_id FROM chunk_names WHERE {CHUNKS} ORDER BY 1
        """,
    )


_LINES = f"""
    SELECT DISTINCT coalesce(path, file, import_id) || ':' || line AS found
    FROM interactions LEFT JOIN imports USING (import_id)
    WHERE {ANCHORS} OR interaction_id IN (SELECT interaction_id FROM retrievals WHERE {CHUNKS}) ORDER BY 1
"""


def _outputs(store: Store, builds: Sequence[str]) -> tuple[str, ...]:
    rows = store.rows(
        """
        SELECT DISTINCT kind, path FROM build_outputs
        WHERE build_id IN (SELECT unnest($builds))
           OR build_id IN (SELECT build_id FROM removed_build_labels SEMI JOIN gone_pairs USING (pair_id)) ORDER BY ALL
        """,
        {"builds": list(builds)},
    )
    return _named_outputs(rows)


def _named_outputs(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Name kind and path of each; what failed or was moved is not where it was to be, and may be elsewhere."""
    return tuple(
        f"{row['kind']} {row['path']}" + ("" if os.path.lexists(str(row["path"])) else " (not there now)")
        for row in rows
    )


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
    touched = {rule.table: " OR ".join(f"({r.rows})" for r in RULES if r.table == rule.table) for rule in RULES}
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
        SELECT DISTINCT kind, path FROM build_outputs
        WHERE build_id IN (SELECT unnest($builds)) AND kind = 'export' ORDER BY ALL
        """,
        {"builds": list(builds)},
    )
    return _named_outputs(rows)


def _reviewers_of_builds(store: Store) -> dict[str, Mapping[str, int]]:
    rows = store.rows("SELECT build_id, settings FROM builds ORDER BY build_id")
    return {str(row["build_id"]): json.loads(str(row["settings"])).get("reviewers", {}) for row in rows}


def _strings(store: Store, sql: str, parameters: Mapping[str, object] | None = None) -> tuple[str, ...]:
    return tuple(str(row["found"]) for row in store.rows(sql, parameters or {}))
