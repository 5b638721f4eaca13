-- Interactions that the monitor has come by, drawn into its sample or not; a larger share draws of the others later.
CREATE TABLE monitored (
    policy_name VARCHAR NOT NULL,
    interaction_id VARCHAR NOT NULL,
    drawn BOOLEAN NOT NULL,
    share DOUBLE NOT NULL,              -- the chance that it had
    seed VARCHAR NOT NULL,              -- random, one a policy; the draw can be repeated from it
    considered_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (policy_name, interaction_id)
);
