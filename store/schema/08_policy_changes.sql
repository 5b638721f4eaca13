ALTER TABLE judgments ADD COLUMN carried_from VARCHAR;  -- the judgment, under an earlier wording, that was kept
DROP VIEW current_judgments;
CREATE VIEW current_judgments AS
    SELECT * FROM judgments WHERE label IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, labelling_fingerprint ORDER BY judged_at DESC, judgment_id
    ) = 1;
