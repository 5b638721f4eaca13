-- Where a log lay and what its bytes were, so that a line can be found again and its file compared. NULL: not known.
ALTER TABLE imports ADD COLUMN path VARCHAR;            -- absolute; NULL for standard input
ALTER TABLE imports ADD COLUMN file_hash VARCHAR;       -- SHA-256 of the bytes of the file
ALTER TABLE imports ADD COLUMN corpus_path VARCHAR;     -- absolute; NULL where there was no corpus
ALTER TABLE imports ADD COLUMN corpus_hash VARCHAR;
-- Where builds went: exports, and models that were trained on them.
CREATE TABLE build_outputs (
    build_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,              -- export or model
    path VARCHAR NOT NULL,              -- absolute
    written_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (build_id, kind, path)
);
-- What was removed because somebody asked for it. Nothing but hashes is left.
CREATE TABLE forgotten (
    forgotten_id VARCHAR PRIMARY KEY,   -- the id of an anchor or a chunk; else a hash of the kind and the name
    kind VARCHAR NOT NULL,              -- anchor, chunk, query-id, chunk-id or reviewer
    named_by VARCHAR,                   -- of an anchor or a chunk: the query-id or chunk-id by which it was forgotten
    pseudonym VARCHAR,                  -- of a reviewer
    forgotten_at TIMESTAMPTZ NOT NULL,
    erased_at TIMESTAMPTZ,              -- when the file was written anew without it; NULL: that is still to be done
    allowed_at TIMESTAMPTZ              -- since when it may be imported again; NULL: it may not
);
-- Builds that are not what they were, and what was taken out of them: hashes, by which they can still be checked.
CREATE TABLE build_alterations (
    build_id VARCHAR NOT NULL,
    forgotten_id VARCHAR NOT NULL,
    settings_too BOOLEAN NOT NULL,      -- names were taken out of its settings: its id cannot be worked out any more
    altered_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (build_id, forgotten_id)
);
CREATE TABLE removed_build_labels AS FROM build_labels LIMIT 0;
CREATE TABLE removed_triplets AS FROM triplets LIMIT 0;
