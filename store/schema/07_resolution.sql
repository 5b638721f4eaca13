DROP VIEW labels;
DROP VIEW human_labels;
DROP VIEW current_reviews;
-- What each reviewer last answered about a pair. Somebody who adjudicates does not lose the answer given as a reviewer.
CREATE VIEW current_reviews AS
    SELECT * FROM reviews
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, labelling_fingerprint, reviewer, stream = 'adjudication'
        ORDER BY reviewed_at DESC, recorded_at DESC, review_id
    ) = 1;
CREATE VIEW votes AS
    SELECT pair_id, labelling_fingerprint, reviewer, status, label, stream, note, reviewed_at, origin
    FROM current_reviews WHERE stream <> 'adjudication';
-- The newest adjudication of a pair, whoever gave it.
CREATE VIEW adjudications AS
    SELECT pair_id, labelling_fingerprint, reviewer, status, label, note, reviewed_at
    FROM current_reviews WHERE stream = 'adjudication'
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, labelling_fingerprint ORDER BY reviewed_at DESC, recorded_at DESC, review_id
    ) = 1;
-- What people settled about a pair, one column a rule of resolution; NULL is an answer too: they settled nothing.
--   majority     an adjudication, else what most reviewers said; a tie, or only discards, settles nothing
--   strict       what all reviewers said; a discard against a label is a disagreement
--   adjudicated  what all reviewers said, else an adjudication
CREATE VIEW human_labels AS
    WITH counted AS (
        SELECT pair_id, labelling_fingerprint, label, count(*) AS reviewers FROM votes GROUP BY ALL
    ), ranked AS (
        SELECT *, max(reviewers) FILTER (label IS NOT NULL)
                      OVER (PARTITION BY pair_id, labelling_fingerprint) AS most
        FROM counted
    ), tallied AS (
        SELECT pair_id, labelling_fingerprint,
               CASE WHEN count(label) FILTER (reviewers = most) = 1 THEN min(label) FILTER (reviewers = most) END AS most,
               CASE WHEN count(*) = 1 THEN min(label) END AS unanimous,
               count(*) > 1 AS disagree
        FROM ranked GROUP BY pair_id, labelling_fingerprint
    )
    SELECT pair_id, labelling_fingerprint,
           CASE WHEN adjudications.status IS NOT NULL THEN adjudications.label ELSE most END AS majority,
           unanimous AS strict,
           CASE WHEN coalesce(disagree, true) THEN adjudications.label ELSE unanimous END AS adjudicated
    FROM tallied FULL JOIN adjudications USING (pair_id, labelling_fingerprint);
-- The label of a pair under a rule of resolution. A human answer, even "no answer", outranks a judge's.
CREATE MACRO labels(rule) AS TABLE
    SELECT pair_id, labelling_fingerprint,
           CASE rule
               WHEN 'majority' THEN majority
               WHEN 'strict' THEN strict
               WHEN 'adjudicated' THEN adjudicated
               ELSE error('no rule of resolution: ' || rule)
           END AS label,
           'human' AS source, NULL AS judge_id
    FROM human_labels
    UNION ALL
    SELECT pair_id, labelling_fingerprint, label, 'judge' AS source, judge_id
    FROM current_judgments ANTI JOIN human_labels USING (pair_id, labelling_fingerprint);
