-- Reviews that were frozen as examples for a judge.
CREATE TABLE example_sets (
    example_set_id VARCHAR PRIMARY KEY, -- hash of the rule and of the pairs with their labels
    labelling_fingerprint VARCHAR NOT NULL,
    rule JSON NOT NULL,                 -- how many are shown, how they are chosen, from which reviews
    frozen_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE example_set_pairs (
    example_set_id VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    label VARCHAR NOT NULL,             -- as people had it then
    PRIMARY KEY (example_set_id, pair_id)
);
-- The same question with the labels in another order. They show how firm a judge is; they are no judgments.
CREATE TABLE permuted_asks (
    pair_id VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    judge_id VARCHAR NOT NULL,
    ask INTEGER NOT NULL,               -- 1-based; each has its own order of the labels
    prompt_id VARCHAR NOT NULL,
    label VARCHAR,                      -- NULL: no usable answer
    raw_answer VARCHAR,
    answered_model VARCHAR,
    prompt_tokens BIGINT,
    cached_tokens BIGINT,
    completion_tokens BIGINT,
    reasoning_tokens BIGINT,
    cost_usd DOUBLE,
    duration_ms BIGINT,
    asked_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pair_id, labelling_fingerprint, judge_id, ask)
);
-- What a judge's confidence is worth against people, and what is made of it. The newest of a judge counts.
CREATE TABLE calibrations (
    calibration_id VARCHAR PRIMARY KEY, -- hash of judge, labelling fingerprint, positive labels and all that was fitted
    judge_id VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    positive_labels VARCHAR[] NOT NULL,
    reviews_hash VARCHAR NOT NULL,      -- of the pairs, the judge's probabilities and people's labels
    method VARCHAR NOT NULL,            -- as it is, logistic or isotonic
    parameters JSON NOT NULL,
    report JSON NOT NULL,               -- Brier score, calibration error, curve
    fitted_at TIMESTAMPTZ NOT NULL
);
-- What was handed to an endpoint's Batch API. A pair in an open batch is not asked about elsewhere.
CREATE TABLE batches (
    submission_id VARCHAR PRIMARY KEY,  -- hash of the requests; also in the batch's metadata at the endpoint
    batch_id VARCHAR,                   -- the endpoint's; NULL: it is not known whether the endpoint took it
    base_url VARCHAR NOT NULL,
    judge_id VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    requests BIGINT NOT NULL,
    status VARCHAR NOT NULL,            -- as the endpoint names it
    submitted_at TIMESTAMPTZ NOT NULL,
    collected_at TIMESTAMPTZ            -- NULL: open
);
CREATE TABLE batch_pairs (
    submission_id VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    PRIMARY KEY (submission_id, pair_id)
);
