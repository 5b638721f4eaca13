ALTER TABLE judgments ADD COLUMN confidence DOUBLE;          -- the judge's P(label), where it can be known
ALTER TABLE judgments ADD COLUMN prompt_characters BIGINT;   -- of the messages; with prompt_tokens, what a token holds
-- The stage at which a judge stood when it was last used. The last run decides which judges count.
CREATE TABLE judge_stages (
    labelling_fingerprint VARCHAR NOT NULL,
    judge_id VARCHAR NOT NULL,
    stage INTEGER NOT NULL,             -- 1-based
    started_at TIMESTAMPTZ NOT NULL,    -- the same for all stages of a run
    PRIMARY KEY (labelling_fingerprint, judge_id)
);
-- What a server was found to take from a model's callers; forgotten when it takes it no more.
CREATE TABLE endpoint_forms (
    base_url VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    answer_form VARCHAR NOT NULL,       -- json_schema, json_object ...
    dropped VARCHAR[] NOT NULL,         -- parameters that it refused
    learned_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (base_url, model)
);
-- Of the run that came last, the last stage that answered; else whatever was answered last.
CREATE OR REPLACE VIEW current_judgments AS
    SELECT judgments.* FROM judgments LEFT JOIN judge_stages USING (labelling_fingerprint, judge_id)
    WHERE label IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, labelling_fingerprint
        ORDER BY started_at DESC NULLS LAST, stage DESC, judged_at DESC, judgment_id
    ) = 1;
