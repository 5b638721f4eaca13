"""The schema, as the ordered list of changes that made it.

A migration that has shipped never changes; a new need appends a new one. Each runs in one transaction together with
the row that records it, so a database is always at exactly one version.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import duckdb

from store.errors import InvalidDataError


class Migration(NamedTuple):
    """One change of the schema. Numbers are consecutive, from 1."""

    number: int
    name: str
    sql: str


MIGRATIONS = (
    Migration(
        1,
        "logs",
        """
        CREATE TABLE imports (
            import_id VARCHAR PRIMARY KEY,      -- hash of the bytes of the file and of its corpus
            file VARCHAR NOT NULL,
            imported_at TIMESTAMPTZ NOT NULL,
            interactions BIGINT NOT NULL,       -- lines accepted
            rejected BIGINT NOT NULL            -- lines refused under --skip-invalid
        );
        CREATE TABLE anchors (anchor_id VARCHAR PRIMARY KEY, text VARCHAR NOT NULL);
        CREATE TABLE chunks (chunk_id VARCHAR PRIMARY KEY, text VARCHAR NOT NULL, kind VARCHAR NOT NULL);
        -- One text may carry several names in the logs, and one name several texts over time.
        CREATE TABLE chunk_names (
            external_id VARCHAR NOT NULL,
            chunk_id VARCHAR NOT NULL,
            document VARCHAR,
            title VARCHAR,
            PRIMARY KEY (external_id, chunk_id)
        );
        CREATE TABLE interactions (
            interaction_id VARCHAR PRIMARY KEY,
            anchor_id VARCHAR NOT NULL,
            external_id VARCHAR,                -- the log's own id of the interaction
            query_id VARCHAR,                   -- the log's own id of the query
            answer VARCHAR,
            source VARCHAR,
            happened_at TIMESTAMPTZ,
            extra JSON NOT NULL,                -- what the line held besides, untouched
            import_id VARCHAR NOT NULL,
            line BIGINT NOT NULL                -- 1-based
        );
        CREATE TABLE retrievals (
            interaction_id VARCHAR NOT NULL,
            rank INTEGER NOT NULL,              -- 1-based
            chunk_id VARCHAR NOT NULL,
            external_id VARCHAR NOT NULL,
            score DOUBLE,
            PRIMARY KEY (interaction_id, rank)
        );
        CREATE TABLE signals (
            interaction_id VARCHAR NOT NULL,
            chunk_id VARCHAR,                   -- NULL: about the interaction as a whole
            signal VARCHAR NOT NULL,
            value DOUBLE NOT NULL,
            happened_at TIMESTAMPTZ
        );
        """,
    ),
    Migration(
        2,
        "policies and candidates",
        """
        CREATE TABLE policies (
            name VARCHAR NOT NULL,
            version INTEGER NOT NULL,
            policy_id VARCHAR NOT NULL,         -- hash of name and fingerprints; an edit undone brings it again
            labelling_fingerprint VARCHAR NOT NULL,
            training_fingerprint VARCHAR NOT NULL,
            body JSON NOT NULL,
            added_at TIMESTAMPTZ NOT NULL,
            PRIMARY KEY (name, version)
        );
        CREATE TABLE pairs (pair_id VARCHAR PRIMARY KEY, anchor_id VARCHAR NOT NULL, chunk_id VARCHAR NOT NULL);
        CREATE TABLE candidates (
            policy_name VARCHAR NOT NULL,
            pair_id VARCHAR NOT NULL,
            source VARCHAR NOT NULL,            -- cited, uncited, random ...
            interaction_id VARCHAR NOT NULL,    -- '' where no interaction stands behind it
            proposed VARCHAR NOT NULL,          -- positive or negative
            rank INTEGER,
            score DOUBLE,
            duplicate_of VARCHAR,               -- the cited chunk that this one (nearly) repeats
            similarity DOUBLE,                  -- to it: 1.0 = the same text after normalisation
            PRIMARY KEY (policy_name, pair_id, source, interaction_id)
        );
        -- One row a pair: what all its appearances say together.
        CREATE VIEW candidate_pairs AS
            SELECT
                policy_name,
                pair_id,
                any_value(pairs.anchor_id) AS anchor_id,
                any_value(pairs.chunk_id) AS chunk_id,
                CASE WHEN bool_or(proposed = 'positive') THEN 'positive' ELSE 'negative' END AS proposed,
                list_sort(list_distinct(list(source))) AS sources,
                count(*) AS appearances,
                min(rank) AS rank,
                arg_min(score, rank) AS score,
                arg_min(interaction_id, (coalesce(rank, 2147483647), interaction_id)) AS interaction_id,
                arg_max(duplicate_of, (similarity, duplicate_of)) AS duplicate_of,
                max(similarity) AS similarity
            FROM candidates JOIN pairs USING (pair_id)
            GROUP BY policy_name, pair_id;
        """,
    ),
    Migration(
        3,
        "judgments, reviews and labels",
        """
        CREATE TABLE judges (judge_id VARCHAR PRIMARY KEY, config JSON NOT NULL, first_used_at TIMESTAMPTZ NOT NULL);
        -- Append-only. Exactly one of label and error is set.
        CREATE TABLE judgments (
            judgment_id VARCHAR PRIMARY KEY,
            pair_id VARCHAR NOT NULL,
            labelling_fingerprint VARCHAR NOT NULL,
            judge_id VARCHAR NOT NULL,
            reference_chunk_id VARCHAR,         -- the cited chunk that the prompt showed
            prompt_id VARCHAR NOT NULL,         -- hash of the messages as sent
            label VARCHAR,
            error VARCHAR,                      -- kind of failure
            quote VARCHAR,
            quote_found BOOLEAN,                -- the quote is really in the chunk
            reason VARCHAR,
            raw_answer VARCHAR,                 -- what came back, or what the failure said
            answered_model VARCHAR,             -- as the server names it
            prompt_tokens BIGINT,               -- cached ones included
            cached_tokens BIGINT,
            completion_tokens BIGINT,           -- reasoning ones included
            reasoning_tokens BIGINT,
            cost_usd DOUBLE,
            duration_ms BIGINT,
            judged_at TIMESTAMPTZ NOT NULL,
            CHECK ((label IS NULL) <> (error IS NULL))
        );
        -- Append-only. A reviewer who changes an answer adds a row.
        CREATE TABLE reviews (
            review_id VARCHAR PRIMARY KEY,
            pair_id VARCHAR NOT NULL,
            labelling_fingerprint VARCHAR NOT NULL,
            reviewer VARCHAR NOT NULL,
            status VARCHAR NOT NULL,            -- submitted, or discarded (no label)
            label VARCHAR,
            stream VARCHAR NOT NULL,            -- targeted, audit or imported
            note VARCHAR,
            reviewed_at TIMESTAMPTZ NOT NULL,
            recorded_at TIMESTAMPTZ NOT NULL,
            origin VARCHAR NOT NULL,            -- Argilla record, or file and line
            CHECK (status IN ('submitted', 'discarded')),
            CHECK ((label IS NULL) = (status = 'discarded'))
        );
        CREATE VIEW current_reviews AS
            SELECT * FROM reviews
            QUALIFY row_number() OVER (
                PARTITION BY pair_id, labelling_fingerprint, reviewer
                ORDER BY reviewed_at DESC, recorded_at DESC, review_id
            ) = 1;
        CREATE VIEW current_judgments AS
            SELECT * FROM judgments WHERE label IS NOT NULL
            QUALIFY row_number() OVER (
                PARTITION BY pair_id, labelling_fingerprint ORDER BY judged_at DESC, judgment_id
            ) = 1;
        -- The majority of the reviewers. A tie, or only discards, is an answer too: label is NULL.
        CREATE VIEW human_labels AS
            WITH votes AS (
                SELECT pair_id, labelling_fingerprint, label, count(*) AS votes
                FROM current_reviews WHERE label IS NOT NULL GROUP BY ALL
            ), best AS (
                SELECT pair_id, labelling_fingerprint, max(votes) AS votes FROM votes GROUP BY ALL
            ), winners AS (
                SELECT pair_id, labelling_fingerprint,
                       CASE WHEN count(*) = 1 THEN min(label) END AS label
                FROM votes JOIN best USING (pair_id, labelling_fingerprint, votes)
                GROUP BY ALL
            )
            SELECT pair_id, labelling_fingerprint, winners.label, reviewers
            FROM (
                SELECT pair_id, labelling_fingerprint, count(*) AS reviewers
                FROM current_reviews GROUP BY ALL
            ) LEFT JOIN winners USING (pair_id, labelling_fingerprint);
        -- The label of a pair. A human answer, even "no answer", outranks a judge's.
        CREATE VIEW labels AS
            SELECT pair_id, labelling_fingerprint, label, 'human' AS source, NULL AS judge_id
            FROM human_labels
            UNION ALL
            SELECT pair_id, labelling_fingerprint, label, 'judge' AS source, judge_id
            FROM current_judgments ANTI JOIN human_labels USING (pair_id, labelling_fingerprint);
        """,
    ),
    Migration(
        4,
        "builds",
        """
        CREATE TABLE builds (
            build_id VARCHAR PRIMARY KEY,       -- hash of all that it holds
            policy_id VARCHAR NOT NULL,
            settings JSON NOT NULL,
            built_at TIMESTAMPTZ NOT NULL
        );
        -- The labels as they stood, so that a build never changes afterwards.
        CREATE TABLE build_labels (
            build_id VARCHAR NOT NULL,
            pair_id VARCHAR NOT NULL,
            split VARCHAR NOT NULL,             -- train or test
            split_group VARCHAR NOT NULL,       -- queries that must stay together
            label VARCHAR NOT NULL,
            role VARCHAR NOT NULL,
            source VARCHAR NOT NULL,            -- human or judge
            PRIMARY KEY (build_id, pair_id)
        );
        CREATE TABLE triplets (
            build_id VARCHAR NOT NULL,
            triplet_id VARCHAR NOT NULL,
            split VARCHAR NOT NULL,
            anchor_id VARCHAR NOT NULL,
            positive_id VARCHAR NOT NULL,       -- chunk ids
            negative_id VARCHAR NOT NULL,
            PRIMARY KEY (build_id, triplet_id)
        );
        """,
    ),
    Migration(
        5,
        "triage",
        """
        CREATE TABLE triage_scores (
            pair_id VARCHAR NOT NULL,
            scorer VARCHAR NOT NULL,            -- names the model and the method
            score DOUBLE NOT NULL,              -- higher: more likely relevant. Orders a queue, labels nothing
            scored_at TIMESTAMPTZ NOT NULL,
            PRIMARY KEY (pair_id, scorer)
        );
        """,
    ),
)


def current_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of the last migration applied; 0 for an empty database."""
    known = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'migrations'"
    ).fetchall()
    if not known[0][0]:
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()[0][0])


def migrate(connection: duckdb.DuckDBPyConnection, file: str) -> None:
    """Bring the database to the newest version, one recorded transaction a migration.

    Raises:
        InvalidDataError: a newer uncited wrote `file`.
    """
    version = current_version(connection)
    newest = MIGRATIONS[-1].number
    if version > newest:
        raise InvalidDataError(
            f"{file} was written by a newer uncited (schema {version}; this one knows {newest})",
            hint="pip install --upgrade uncited",
        )
    for migration in MIGRATIONS[version:]:
        connection.execute("BEGIN")
        try:
            if migration.number == 1:
                connection.execute(
                    "CREATE TABLE migrations"
                    " (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
                )
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?)",
                [migration.number, migration.name, datetime.now(UTC)],
            )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
