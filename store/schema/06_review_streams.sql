-- The cited chunk beside which the other chunks of its anchor are judged and reviewed: the one that ranks best.
CREATE VIEW reference_chunks AS
    SELECT policy_name, anchor_id, arg_min(chunk_id, (coalesce(rank, 2147483647), chunk_id)) AS chunk_id
    FROM candidate_pairs WHERE proposed = 'positive' GROUP BY policy_name, anchor_id;
-- Append-only. Drawn once, when a pair first goes to review.
CREATE TABLE review_streams (
    pair_id VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    stream VARCHAR NOT NULL,            -- targeted or audit
    probability DOUBLE NOT NULL,        -- that this pair had of being drawn into the audit
    seed VARCHAR NOT NULL,              -- random, one a fingerprint; the draw can be repeated from it
    drawn_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pair_id, labelling_fingerprint),
    CHECK (stream IN ('targeted', 'audit'))
);
-- What has been put before reviewers, so that a record that somebody deleted there is not mistaken for a new one.
CREATE TABLE review_records (
    dataset_id VARCHAR NOT NULL,        -- Argilla's
    pair_id VARCHAR NOT NULL,
    PRIMARY KEY (dataset_id, pair_id)
);
ALTER TABLE reviews ADD COLUMN suggested VARCHAR;       -- the label that was shown with the question; NULL: none
ALTER TABLE reviews ADD COLUMN carried_from VARCHAR;    -- the review, under an earlier question, that still holds
DROP VIEW current_reviews;
CREATE VIEW current_reviews AS
    SELECT * FROM reviews
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, labelling_fingerprint, reviewer
        ORDER BY reviewed_at DESC, recorded_at DESC, review_id
    ) = 1;
CREATE TABLE embeddings (
    model VARCHAR NOT NULL,             -- names all that decides the numbers: weights, prompt, truncation
    text_id VARCHAR NOT NULL,           -- hash of the text
    embedding BLOB NOT NULL,            -- float32, little-endian
    PRIMARY KEY (model, text_id)
);
