"""What models were asked, judges and those that write questions, and what that cost."""

from store.database import Store

_ASKED = """
    WITH named AS (
        SELECT labelling_fingerprint, string_agg(DISTINCT name, ', ' ORDER BY name) AS policy
        FROM policies GROUP BY labelling_fingerprint
    ), asked AS (
        SELECT judge_id, labelling_fingerprint, judged_at AS asked_at, label IS NULL AS failed,
               prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, cost_usd, duration_ms,
               'judge' AS purpose, NULL::JSON AS writer
        FROM judgments WHERE carried_from IS NULL  -- nobody was asked about those that were carried over
        UNION ALL
        SELECT judge_id, labelling_fingerprint, asked_at, label IS NULL, prompt_tokens, cached_tokens,
               completion_tokens, reasoning_tokens, cost_usd, duration_ms, 'calibrate', NULL
        FROM permuted_asks
        UNION ALL
        SELECT NULL, labelling_fingerprint, generated_at, error IS NOT NULL, prompt_tokens, cached_tokens,
               completion_tokens, reasoning_tokens, cost_usd, duration_ms, 'synthesize', writer
        FROM generations
    )
"""


def judge_costs(store: Store, policy_name: str | None = None) -> list[dict[str, object]]:
    """Add up what models were asked, what failed included: labels of judges, and questions of those that write them.

    Args:
        store: holds the answers.
        policy_name: only questions under this policy, in any of its versions; None for all.

    Returns:
        One dict a (policy, model, purpose, day), the oldest first: policy, stage (1-based: where the judge stood when
        it was last used; None: alone, or long ago), judge_id, model, base_url, purpose ('judge', 'calibrate' for
        repeated questions, or 'synthesize', which has no judge_id), day (UTC), calls, failed (calls without a usable
        answer), prompt_tokens (cached ones included), cached_tokens, completion_tokens (reasoning ones included),
        reasoning_tokens, cost_usd (of the calls with a known price), unpriced (answered calls without one), seconds
        (waited for answers, summed over calls). A policy that only shares its question with another is named with it.
    """
    return store.rows(
        _ASKED
        + """
        SELECT coalesce(policy, labelling_fingerprint) AS policy, stage, judge_id,
               coalesce(config, writer) ->> '$.model' AS model,
               coalesce(config, writer) ->> '$.base_url' AS base_url,
               purpose, CAST(CAST(asked_at AS DATE) AS VARCHAR) AS day,
               count(*) AS calls, count(*) FILTER (failed) AS failed,
               CAST(coalesce(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
               CAST(coalesce(sum(cached_tokens), 0) AS BIGINT) AS cached_tokens,
               CAST(coalesce(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens,
               CAST(coalesce(sum(reasoning_tokens), 0) AS BIGINT) AS reasoning_tokens,
               coalesce(sum(cost_usd), 0.0) AS cost_usd,
               count(*) FILTER (cost_usd IS NULL AND duration_ms IS NOT NULL) AS unpriced,
               coalesce(sum(duration_ms), 0) / 1000.0 AS seconds
        FROM asked LEFT JOIN named USING (labelling_fingerprint) LEFT JOIN judges USING (judge_id)
        LEFT JOIN judge_stages USING (labelling_fingerprint, judge_id)
        WHERE $policy IS NULL OR labelling_fingerprint IN (
            SELECT labelling_fingerprint FROM policies WHERE name = $policy
        )
        GROUP BY ALL ORDER BY day, policy, stage, model, judge_id, purpose
        """,
        {"policy": policy_name},
    )
