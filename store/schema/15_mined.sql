-- What put chunks forward that no log had retrieved: a source with all its settings.
CREATE TABLE searches (
    search_id VARCHAR PRIMARY KEY,      -- hash of source and settings
    source VARCHAR NOT NULL,            -- bm25, dense, other-kind or random
    settings JSON NOT NULL,
    first_run_at TIMESTAMPTZ NOT NULL
);
ALTER TABLE candidates ADD COLUMN search_id VARCHAR;    -- NULL: no search, but a log or a file
ALTER TABLE candidates ADD COLUMN too_close VARCHAR;    -- the filter that such a chunk did not pass: it may well be relevant
CREATE OR REPLACE VIEW candidate_pairs AS
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
        max(similarity) AS similarity,
        max(too_close) AS too_close
    FROM candidates JOIN pairs USING (pair_id)
    GROUP BY policy_name, pair_id;
-- What a cross-encoder gave a pair while hits were rescored. Scores of one model; they label nothing.
CREATE TABLE cross_encoder_scores (
    model VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    score FLOAT NOT NULL,
    PRIMARY KEY (model, pair_id)
);
