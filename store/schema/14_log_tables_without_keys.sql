-- Import itself keeps these rows apart. Indexes on millions of ids took most of its time, and memory that grew with them.
CREATE TABLE unkeyed_chunks (chunk_id VARCHAR NOT NULL, text VARCHAR NOT NULL, kind VARCHAR NOT NULL);
INSERT INTO unkeyed_chunks SELECT chunk_id, text, kind FROM chunks;
DROP TABLE chunks;
ALTER TABLE unkeyed_chunks RENAME TO chunks;
CREATE TABLE unkeyed_chunk_names (
    external_id VARCHAR NOT NULL,
    chunk_id VARCHAR NOT NULL,
    document VARCHAR,
    title VARCHAR
);
INSERT INTO unkeyed_chunk_names SELECT external_id, chunk_id, document, title FROM chunk_names;
DROP TABLE chunk_names;
ALTER TABLE unkeyed_chunk_names RENAME TO chunk_names;
CREATE TABLE unkeyed_retrievals (
    interaction_id VARCHAR NOT NULL,
    rank INTEGER NOT NULL,              -- 1-based
    chunk_id VARCHAR NOT NULL,
    external_id VARCHAR NOT NULL,
    score DOUBLE
);
INSERT INTO unkeyed_retrievals SELECT interaction_id, rank, chunk_id, external_id, score FROM retrievals;
DROP TABLE retrievals;
ALTER TABLE unkeyed_retrievals RENAME TO retrievals;
