-- One row a request for questions about a chunk. Append-only.
CREATE TABLE generations (
    generation_id VARCHAR PRIMARY KEY,
    request_id VARCHAR NOT NULL,        -- hash of model, messages, schema and sampling; what is answered is not sent again
    prompt_id VARCHAR NOT NULL,         -- hash of the messages as sent
    writer JSON NOT NULL,               -- model, endpoint, prompt template, sampling
    policy_name VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    chunk_id VARCHAR NOT NULL,
    persona VARCHAR NOT NULL,
    difficulty VARCHAR NOT NULL,
    error VARCHAR,                      -- kind of failure
    raw_answer VARCHAR,                 -- what came back, or what the failure said
    answered_model VARCHAR,             -- as the server names it
    prompt_characters BIGINT NOT NULL,
    prompt_tokens BIGINT,               -- cached ones included
    cached_tokens BIGINT,
    completion_tokens BIGINT,           -- reasoning ones included
    reasoning_tokens BIGINT,
    cost_usd DOUBLE,
    duration_ms BIGINT,
    generated_at TIMESTAMPTZ NOT NULL,
    CHECK (purpose IN ('evaluation', 'few-shot', 'training'))
);
-- The questions in those answers. Append-only.
CREATE TABLE synthetic_questions (
    generation_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,            -- 1-based: its place in the answer
    anchor_id VARCHAR,                  -- the anchor that it became; NULL: it went no further
    text VARCHAR NOT NULL,
    removed VARCHAR,                    -- why it went no further; NULL: to retrieval and judge
    repeats VARCHAR,                    -- the question that it repeats, if that is why
    PRIMARY KEY (generation_id, number)
);
-- What retrieval and the judge made of a question that went further. Append-only.
CREATE TABLE round_trips (
    anchor_id VARCHAR PRIMARY KEY,
    depth INTEGER NOT NULL,             -- so far down each list was its chunk looked for
    bm25_rank INTEGER,                  -- of its chunk, 1-based; NULL: not found
    dense_rank INTEGER,
    dense_model VARCHAR,                -- NULL: there was no dense retrieval
    label VARCHAR,                      -- the judge's; NULL: it was not asked, or gave none
    rejected VARCHAR,                   -- why; NULL: the question is accepted
    decided_at TIMESTAMPTZ NOT NULL
);
-- Anchors that a model wrote, whatever became of them; a mark that nothing takes away.
CREATE VIEW synthetic_anchors AS
    SELECT anchor_id, policy_name, purpose, chunk_id, persona, difficulty, generation_id, number,
           decided_at IS NOT NULL AND rejected IS NULL AS accepted
    FROM synthetic_questions JOIN generations USING (generation_id) LEFT JOIN round_trips USING (anchor_id)
    WHERE removed IS NULL;
