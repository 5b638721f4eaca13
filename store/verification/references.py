"""Whether every id leads somewhere."""

from collections.abc import Iterator
from typing import NamedTuple

from store.database import Store
from store.verification.problems import Checked, Problem

_SHOWN = 1000  # rows of a column that are named; a column that is wholly wrong need not be listed wholly


class Reference(NamedTuple):
    """A column whose values are ids of rows of another table."""

    table: str
    column: str
    to_table: str
    to_column: str


# What a column of this name refers to, wherever it stands. A new table that uses these names is checked as well.
_MEANT: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("chunk_id", "positive_id", "negative_id", "reference_chunk_id", "duplicate_of"), ("chunks", "chunk_id")
    ),
    **dict.fromkeys(("pair_id", "propagated_from", "alike_id"), ("pairs", "pair_id")),
    "anchor_id": ("anchors", "anchor_id"),
    "interaction_id": ("interactions", "interaction_id"),
    "import_id": ("imports", "import_id"),
    "judge_id": ("judges", "judge_id"),
    "build_id": ("builds", "build_id"),
    "policy_id": ("policies", "policy_id"),
    "policy_name": ("policies", "name"),
    "labelling_fingerprint": ("policies", "labelling_fingerprint"),
    "example_set_id": ("example_sets", "example_set_id"),
    "submission_id": ("batches", "submission_id"),
    "audit_id": ("audits", "audit_id"),
    "search_id": ("searches", "search_id"),
    "generation_id": ("generations", "generation_id"),
}

# Values that refer to nothing, and are meant to.
_NOTHING = {"interaction_id": "", "audit_id": "review streams"}

# Tables whose rows refer to others of their own.
_CARRIED = (
    Reference("judgments", "carried_from", "judgments", "judgment_id"),
    Reference("reviews", "carried_from", "reviews", "review_id"),
)


def references(store: Store) -> list[Reference]:
    """Return every reference of the schema, by the names of its columns."""
    columns = store.rows(
        """
        SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND schema_name = 'main'
            AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE NOT temporary)
        ORDER BY table_name, column_index
        """
    )
    found = [
        Reference(str(row["table_name"]), str(row["column_name"]), *_MEANT[str(row["column_name"])])
        for row in columns
        if row["column_name"] in _MEANT
    ]
    return [r for r in found if (r.table, r.column) != (r.to_table, r.to_column)] + list(_CARRIED)


def check_references(store: Store) -> Iterator[Checked]:
    """Check each reference of the schema. What was forgotten is missing rightly."""
    for table, column, to_table, to_column in references(store):
        rows = store.count(f"SELECT count({column}) FROM {table}")
        missing = store.rows(
            f"""
            SELECT {column} AS missing, count(*) AS rows FROM {table} ANTI JOIN (
                SELECT {to_column} AS {column} FROM {to_table} UNION ALL SELECT forgotten_id FROM forgotten
            ) USING ({column})
            WHERE {column} IS NOT NULL AND {column} <> $nothing GROUP BY ALL ORDER BY ALL LIMIT {_SHOWN}
            """,
            {"nothing": _NOTHING.get(column, "")},
        )
        yield Checked(
            f"{table}.{column}",
            rows,
            tuple(
                Problem(
                    table,
                    f"{row['rows']} with this {column}",
                    "leads nowhere",
                    f"a row of {to_table}",
                    str(row["missing"]),
                )
                for row in missing
            ),
        )
    yield _triplets_of_labelled_pairs(store)


# The largest tables have no index of their keys, since that would take most of the time of an import or of mining.
_KEYS = {
    "chunks": ("chunk_id",),
    "chunk_names": ("external_id", "chunk_id"),
    "retrievals": ("interaction_id", "rank"),
    "pairs": ("pair_id",),
    "candidates": ("policy_name", "pair_id", "source", "interaction_id"),
}


def check_keys(store: Store) -> Iterator[Checked]:
    """Check that no key of these tables is there twice."""
    for table, key in _KEYS.items():
        columns = ", ".join(key)
        rows = store.rows(
            f"SELECT {columns}, count(*) AS rows FROM {table} GROUP BY {columns} HAVING count(*) > 1"
            f" ORDER BY {columns} LIMIT {_SHOWN}"
        )
        problems = tuple(
            Problem(table, " ".join(str(row[name]) for name in key), "is there more than once", "1", str(row["rows"]))
            for row in rows
        )
        yield Checked(f"keys of {table}", store.count(f"SELECT count(*) FROM {table}"), problems)


def _triplets_of_labelled_pairs(store: Store) -> Checked:
    """Check that a build's triplets are made of pairs that it labelled so, in the same split."""
    rows = store.rows(
        f"""
        WITH labelled AS (
            SELECT build_id, anchor_id, chunk_id, role, split FROM build_labels JOIN pairs USING (pair_id)
        ), sides AS (
            SELECT build_id, triplet_id, anchor_id, positive_id AS chunk_id, 'positive' AS role, split FROM triplets
            UNION ALL
            SELECT build_id, triplet_id, anchor_id, negative_id, 'negative', split FROM triplets
        )
        SELECT build_id, triplet_id, chunk_id, role, split
        FROM sides ANTI JOIN labelled USING (build_id, anchor_id, chunk_id, role, split)
        ORDER BY ALL LIMIT {_SHOWN}
        """
    )
    problems = tuple(
        Problem(
            "triplets",
            f"{row['triplet_id']} of {row['build_id']}",
            f"its {row['role']} is not labelled so",
            f"a label of role {row['role']} in split {row['split']}",
            str(row["chunk_id"]),
        )
        for row in rows
    )
    return Checked("triplets of labelled pairs", store.count("SELECT count(*) FROM triplets"), problems)
