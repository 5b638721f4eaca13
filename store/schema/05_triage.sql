CREATE TABLE triage_scores (
    pair_id VARCHAR NOT NULL,
    scorer VARCHAR NOT NULL,            -- names the model and the method
    score DOUBLE NOT NULL,              -- higher: more likely relevant. Orders a queue, labels nothing
    scored_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (pair_id, scorer)
);
