-- Random samples of pairs that `audit draw` chose for blind review, each with what it was drawn from. Append-only.
CREATE TABLE audits (
    audit_id VARCHAR PRIMARY KEY,       -- hash of policy, seed, population and size
    policy_name VARCHAR NOT NULL,
    labelling_fingerprint VARCHAR NOT NULL,
    seed VARCHAR NOT NULL,              -- random; the draw can be repeated from it
    population BIGINT NOT NULL,         -- pairs that might have been drawn
    population_hash VARCHAR NOT NULL,   -- of their ids
    size BIGINT NOT NULL,               -- pairs that were drawn
    thresholds DOUBLE[] NOT NULL,       -- of the judge's confidence, in the order in which they are tested
    drawn_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE audit_pairs (
    audit_id VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    sampled BOOLEAN NOT NULL,
    PRIMARY KEY (audit_id, pair_id)
);
-- What was asked of the audits under a question. Each further one gets a smaller part of the permitted error.
CREATE TABLE audit_questions (
    audit_question_id VARCHAR PRIMARY KEY,  -- hash of all that may be chosen once answers are there
    labelling_fingerprint VARCHAR NOT NULL,
    audit_id VARCHAR NOT NULL,          -- 'review streams': the one that the streams of review make
    pair_group VARCHAR NOT NULL,        -- negatives, promoted or confirmed
    number INTEGER NOT NULL,            -- 1-based, within fingerprint and group
    asked_at TIMESTAMPTZ NOT NULL
);
-- What was certified. Whether it still holds is found out when it is used.
CREATE TABLE certificates (
    certificate_id VARCHAR PRIMARY KEY, -- hash of the body
    policy_name VARCHAR NOT NULL,
    pair_group VARCHAR NOT NULL,
    body JSON NOT NULL,
    issued_at TIMESTAMPTZ NOT NULL
);
