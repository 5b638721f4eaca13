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
