"""Judgments: what language models answered about pairs. Append-only."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from store.database import Store
from store.ids import canonical_json, content_id
from store.policies import Policy

_COLUMNS: dict[str, pa.DataType] = {
    "pair_id": pa.string(),
    "labelling_fingerprint": pa.string(),
    "judge_id": pa.string(),
    "reference_chunk_id": pa.string(),
    "prompt_id": pa.string(),
    "label": pa.string(),
    "error": pa.string(),
    "quote": pa.string(),
    "quote_found": pa.bool_(),
    "reason": pa.string(),
    "confidence": pa.float64(),
    "raw_answer": pa.string(),
    "answered_model": pa.string(),
    "prompt_characters": pa.int64(),
    "prompt_tokens": pa.int64(),
    "cached_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "reasoning_tokens": pa.int64(),
    "cost_usd": pa.float64(),
    "duration_ms": pa.int64(),
    "judged_at": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """One answer of a judge about a pair, or one failure to answer: exactly one of `label` and `error` is set.

    Token counts are None where the server does not tell. `prompt_tokens` includes the cached ones. `confidence` is
    what the judge's own numbers say of P(label); None where it gives none.
    """

    pair_id: str
    labelling_fingerprint: str
    judge_id: str
    prompt_id: str
    judged_at: datetime
    reference_chunk_id: str | None = None
    label: str | None = None
    error: str | None = None
    quote: str | None = None
    quote_found: bool | None = None
    reason: str | None = None
    confidence: float | None = None
    raw_answer: str | None = None
    answered_model: str | None = None
    prompt_characters: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: int | None = None


def add_judge(store: Store, config: Mapping[str, object]) -> str:
    """Record a judge's full configuration once and return its id, the hash of it.

    `config` holds what can change an answer (model, endpoint, prompt template, schema, sampling) and nothing else:
    no secret, no concurrency, no timeout.
    """
    key = judge_id_of(config)
    row = {
        "judge_id": [key],
        "config": [canonical_json(dict(config))],
        "first_used_at": [datetime.now(UTC)],
    }
    store.insert("judges", pa.table(row))
    return key


def judge_id_of(config: Mapping[str, object]) -> str:
    """Return the id that a judge with this configuration has or would have."""
    return content_id("judge", dict(config))


class TokenHabits(NamedTuple):
    """How a model counted tokens so far. None: no judgment tells."""

    characters_a_token: float | None  # of prompts
    cached_share: float | None  # of the prompt's tokens
    completion_tokens: float | None  # a pair


def token_habits(store: Store, config: Mapping[str, object]) -> TokenHabits:
    """Sum up past judgments of the model that `config` names, asked in the same way."""
    (row,) = store.rows(
        """
        SELECT sum(prompt_characters) FILTER (prompt_tokens > 0)
                   / sum(prompt_tokens) FILTER (prompt_characters > 0) AS characters_a_token,
               sum(cached_tokens) / sum(prompt_tokens) FILTER (cached_tokens IS NOT NULL) AS cached_share,
               avg(completion_tokens) AS completion_tokens
        FROM judgments JOIN judges USING (judge_id)
        WHERE config ->> '$.model' = $model AND config ->> '$.kind' IS NOT DISTINCT FROM $kind
        """,
        {"model": config["model"], "kind": config.get("kind")},
    )
    return TokenHabits(**row)  # type: ignore[arg-type]


def set_judge_stages(store: Store, policy: Policy, judge_ids: Sequence[str]) -> None:
    """Say which judges a run uses, in the order of its stages: where they differ, the last one's label counts.

    They come before all judges of earlier runs.
    """
    store.insert(
        "judge_stages",
        pa.table(
            {
                "labelling_fingerprint": [policy.labelling_fingerprint] * len(judge_ids),
                "judge_id": pa.array(judge_ids, pa.string()),
                "stage": pa.array(range(1, len(judge_ids) + 1), pa.int32()),
                "started_at": [datetime.now(UTC)] * len(judge_ids),
            }
        ),
        replace=True,
    )


def add_judgments(store: Store, judgments: Sequence[Judgment]) -> None:
    """Append judgments. Call it at least once a second during a run, so that a crash loses no more than that."""
    columns = {name: pa.array([getattr(j, name) for j in judgments], kind) for name, kind in _COLUMNS.items()}
    keys = [
        content_id("judgment", {k: str(v) for k in _COLUMNS if (v := getattr(j, k)) is not None}) for j in judgments
    ]
    store.insert("judgments", pa.table({"judgment_id": pa.array(keys, pa.string()), **columns}))


class Said(NamedTuple):
    """What judges said of a pair: the label that counts, or else the last error."""

    label: str | None
    error: str | None
    judge_id: str | None


def what_judges_said(store: Store, policy: Policy, pair_ids: Collection[str]) -> dict[str, Said]:
    """Map those of the pairs that a judge was asked about under a policy to what was said."""
    with store.view_of("asked", pa.table({"pair_id": pa.array(pair_ids, pa.string())})):
        found = store.table(
            """
            SELECT pair_id, any_value(current_judgments.label) AS label,
                   CASE WHEN any_value(current_judgments.label) IS NULL
                        THEN arg_max(judgments.error, judgments.judged_at) END AS error,
                   any_value(current_judgments.judge_id) AS judge_id
            FROM judgments SEMI JOIN asked USING (pair_id)
            LEFT JOIN current_judgments USING (pair_id, labelling_fingerprint)
            WHERE labelling_fingerprint = ? GROUP BY pair_id
            """,
            [policy.labelling_fingerprint],
        )
    return {row.pop("pair_id"): Said(**row) for row in found.to_pylist()}


def judge_configs(store: Store) -> dict[str, str]:
    """Map the id of every judge used to its configuration as JSON."""
    return {str(row["judge_id"]): str(row["config"]) for row in store.rows("FROM judges ORDER BY judge_id")}
