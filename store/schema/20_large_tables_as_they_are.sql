-- Indexes on millions of pairs took half of the time of mining; mining itself keeps these rows apart. To compress texts
-- took a tenth of an import, and made every look at some of them four times as slow, to halve a file.
CREATE TABLE uncompressed_chunks (
    chunk_id VARCHAR NOT NULL,
    text VARCHAR NOT NULL USING COMPRESSION uncompressed,
    kind VARCHAR NOT NULL
);
INSERT INTO uncompressed_chunks SELECT chunk_id, text, kind FROM chunks;
DROP TABLE chunks;
ALTER TABLE uncompressed_chunks RENAME TO chunks;
CREATE TABLE unkeyed_pairs (pair_id VARCHAR NOT NULL, anchor_id VARCHAR NOT NULL, chunk_id VARCHAR NOT NULL);
INSERT INTO unkeyed_pairs SELECT pair_id, anchor_id, chunk_id FROM pairs;
DROP TABLE pairs;
ALTER TABLE unkeyed_pairs RENAME TO pairs;
CREATE TABLE unkeyed_candidates (
    policy_name VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,            -- cited, uncited, random ...
    interaction_id VARCHAR NOT NULL,    -- '' where no interaction stands behind it
    proposed VARCHAR NOT NULL,          -- positive or negative
    rank INTEGER,
    score DOUBLE,
    duplicate_of VARCHAR,               -- the cited chunk that this one (nearly) repeats
    similarity DOUBLE,                  -- to it: 1.0 = the same text after normalisation
    search_id VARCHAR,                  -- NULL: no search, but a log or a file
    too_close VARCHAR                   -- the filter that such a chunk did not pass: it may well be relevant
);
INSERT INTO unkeyed_candidates
SELECT policy_name, pair_id, source, interaction_id, proposed, rank, score, duplicate_of, similarity, search_id, too_close
FROM candidates;
DROP TABLE candidates;
ALTER TABLE unkeyed_candidates RENAME TO candidates;
