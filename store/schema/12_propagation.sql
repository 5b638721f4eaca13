-- Pairs of one anchor (the same once normalised) whose chunks (nearly) repeat each other. It follows from the texts
-- alone, so no row ever changes.
CREATE TABLE alike_pairs (
    pair_id VARCHAR NOT NULL,
    alike_id VARCHAR NOT NULL,          -- the other pair; every two stand here both ways round
    similarity DOUBLE NOT NULL,         -- of the chunks, as in `candidates`
    exact BOOLEAN NOT NULL,             -- the same text once normalised
    PRIMARY KEY (pair_id, alike_id)
);
-- The candidates of a policy that have been compared with each other, anchor by anchor.
CREATE TABLE compared_pairs (policy_name VARCHAR NOT NULL, pair_id VARCHAR NOT NULL, PRIMARY KEY (policy_name, pair_id));
DROP MACRO TABLE labels;
-- What people settled about a pair under a rule of resolution.
CREATE MACRO settled_labels(rule) AS TABLE
    SELECT pair_id, labelling_fingerprint,
           CASE rule
               WHEN 'majority' THEN majority
               WHEN 'strict' THEN strict
               WHEN 'adjudicated' THEN adjudicated
               ELSE error('no rule of resolution: ' || rule)
           END AS label
    FROM human_labels;
-- What people settled about its duplicates, for a pair that nobody has answered. Nothing where they settled different
-- things about several duplicates, or answered about one and settled nothing.
CREATE MACRO propagated_labels(rule, propagate) AS TABLE
    WITH offered AS (
        SELECT alike_pairs.pair_id, labelling_fingerprint, settled.label, alike_id, similarity
        FROM alike_pairs JOIN settled_labels(rule) AS settled ON settled.pair_id = alike_id
        WHERE CASE propagate
                  WHEN 'none' THEN false
                  WHEN 'exact' THEN exact
                  WHEN 'near' THEN true
                  ELSE error('no way to propagate: ' || propagate)
              END
    )
    SELECT pair_id, labelling_fingerprint, min(label) AS label,
           arg_max(alike_id, (similarity, alike_id)) AS propagated_from, max(similarity) AS similarity
    FROM offered ANTI JOIN human_labels USING (pair_id, labelling_fingerprint)
    GROUP BY pair_id, labelling_fingerprint
    HAVING count(DISTINCT label) = 1 AND count(label) = count(*);
-- The label of a pair under a rule of resolution. A human answer, even "no answer", outranks that about a duplicate,
-- and that one a judge's.
CREATE MACRO labels(rule, propagate := 'none') AS TABLE
    SELECT pair_id, labelling_fingerprint, label, 'human' AS source, NULL AS judge_id,
           NULL AS propagated_from, NULL AS similarity
    FROM settled_labels(rule)
    UNION ALL BY NAME
    SELECT pair_id, labelling_fingerprint, label, 'propagated' AS source, propagated_from, similarity
    FROM propagated_labels(rule, propagate)
    UNION ALL BY NAME
    SELECT pair_id, labelling_fingerprint, label, 'judge' AS source, judge_id
    FROM current_judgments ANTI JOIN human_labels USING (pair_id, labelling_fingerprint)
    ANTI JOIN propagated_labels(rule, propagate) AS spread USING (pair_id, labelling_fingerprint);
ALTER TABLE build_labels ADD COLUMN propagated_from VARCHAR;    -- the pair that people answered, where source says so
