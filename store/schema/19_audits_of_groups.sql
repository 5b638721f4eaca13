-- An audit may be about a part of the judge's labels, may be extended, or may only help to choose what to audit.
ALTER TABLE audits ADD COLUMN pair_group VARCHAR;                       -- negatives, promoted or confirmed; NULL: all
ALTER TABLE audits ADD COLUMN min_confidence DOUBLE DEFAULT 0.0;        -- the judge's, of the pairs it was drawn from
ALTER TABLE audits ADD COLUMN pilot BOOLEAN DEFAULT false;              -- certifies nothing
-- The samples. A batch extends the ones before it; its pairs are the next ones in the order that the seed fixed.
CREATE TABLE audit_draws (
    audit_id VARCHAR NOT NULL,
    pair_id VARCHAR NOT NULL,
    batch INTEGER NOT NULL,             -- 1-based
    shown BOOLEAN NOT NULL,             -- the pair had been put before reviewers with a judge's suggestion
    drawn_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (audit_id, pair_id)
);
INSERT INTO audit_draws
    SELECT audit_id, pair_id, 1, false, drawn_at FROM audit_pairs JOIN audits USING (audit_id) WHERE sampled;
ALTER TABLE audit_pairs DROP COLUMN sampled;
-- A certificate spoke about the pairs alone that nobody had reviewed.
UPDATE certificates SET body = json_merge_patch(body, json_object(
    'confirmed', 0, 'bound_unreviewed', body -> '$.bound', 'shown', 0, 'min_confidence', 0.0
));
