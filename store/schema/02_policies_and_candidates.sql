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
