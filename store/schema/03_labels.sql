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
