CREATE TABLE builds (
    build_id VARCHAR PRIMARY KEY,       -- hash of all that it holds
    policy_id VARCHAR NOT NULL,
    settings JSON NOT NULL,
    built_at TIMESTAMPTZ NOT NULL
);
-- The labels as they stood, so that a build never changes afterwards.
CREATE TABLE build_labels (
    build_id VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL,             -- train or test
    split_group VARCHAR NOT NULL,       -- queries that must stay together
    label VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    source VARCHAR NOT NULL,            -- human or judge
    PRIMARY KEY (build_id, pair_id)
);
CREATE TABLE triplets (
    build_id VARCHAR NOT NULL,
    triplet_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    anchor_id VARCHAR NOT NULL,
    positive_id VARCHAR NOT NULL,       -- chunk ids
    negative_id VARCHAR NOT NULL,
    PRIMARY KEY (build_id, triplet_id)
);
