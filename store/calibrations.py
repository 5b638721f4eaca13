"""What judges and people said about the same pairs, and what was learned from it about a judge's confidence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.ids import canonical_json, content_id
from store.labels import Resolution
from store.policies import Policy


@dataclass(frozen=True, slots=True)
class JudgedAndReviewed:
    """A judge's newest answer about a pair for which people settled a label.

    `blind`: all people who answered did so in the audit, or in an imported file, with no suggestion before them.
    `asks` counts usable answers to the same question with its labels in another order, `agreeing` those of them that
    gave the judge's label.
    """

    pair_id: str
    anchor_id: str
    anchor: str
    human: str
    blind: bool
    label: str
    confidence: float | None
    asks: int
    agreeing: int


def judges_that_labelled(store: Store, policy: Policy) -> dict[str, dict[str, object]]:
    """Map the judges that labelled pairs under a policy's question, the last used first, to their configurations."""
    found = store.rows(
        """
        SELECT judge_id, config FROM judges JOIN (
            SELECT judge_id, max(judged_at) AS last FROM judgments
            WHERE labelling_fingerprint = ? AND label IS NOT NULL GROUP BY judge_id
        ) USING (judge_id) ORDER BY last DESC, judge_id
        """,
        [policy.labelling_fingerprint],
    )
    return {str(row["judge_id"]): json.loads(str(row["config"])) for row in found}


def judged_and_reviewed(
    store: Store, policy: Policy, judge_id: str, *, resolution: Resolution = "majority"
) -> list[JudgedAndReviewed]:
    """Return what a judge and people both labelled under a policy's question, ordered by pair_id.

    `resolution` as for `store.labels.labelled_candidates`.
    """
    found = store.table(
        """
        WITH judged AS (
            SELECT pair_id, label, confidence FROM judgments
            WHERE labelling_fingerprint = $fingerprint AND judge_id = $judge AND label IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY judged_at DESC, judgment_id) = 1
        ), seen AS (
            SELECT pair_id, bool_and(stream IN ('audit', 'imported', 'adjudication') AND suggested IS NULL) AS blind
            FROM current_reviews WHERE labelling_fingerprint = $fingerprint GROUP BY pair_id
        ), permuted AS (
            SELECT pair_id, label AS permuted_label FROM permuted_asks
            WHERE labelling_fingerprint = $fingerprint AND judge_id = $judge AND label IS NOT NULL
        )
        SELECT pair_id, anchor_id, anchors.text AS anchor, settled.label AS human, blind, judged.label, confidence,
               count(permuted_label) AS asks, count(*) FILTER (permuted_label = judged.label) AS agreeing
        FROM judged
        JOIN (
            FROM labels($resolution) WHERE labelling_fingerprint = $fingerprint AND source = 'human'
        ) AS settled USING (pair_id)
        JOIN seen USING (pair_id) JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id)
        LEFT JOIN permuted USING (pair_id)
        WHERE settled.label IS NOT NULL
        GROUP BY ALL ORDER BY pair_id
        """,
        {"fingerprint": policy.labelling_fingerprint, "judge": judge_id, "resolution": resolution},
    )
    return [JudgedAndReviewed(**row) for row in found.to_pylist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutedAsk:
    """One answer to the question with its labels in another order; `label` is None where it could not be used."""

    pair_id: str
    labelling_fingerprint: str
    judge_id: str
    ask: int  # 1-based
    prompt_id: str
    label: str | None
    raw_answer: str | None
    answered_model: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    duration_ms: int | None
    asked_at: datetime


_ASK_COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("pair_id", "labelling_fingerprint", "judge_id"), pa.string()),
    "ask": pa.int32(),
    **dict.fromkeys(("prompt_id", "label", "raw_answer", "answered_model"), pa.string()),
    **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"), pa.int64()),
    "cost_usd": pa.float64(),
    "duration_ms": pa.int64(),
    "asked_at": pa.timestamp("us", tz="UTC"),
}


def add_permuted_asks(store: Store, asks: Sequence[PermutedAsk]) -> None:
    """Append answers."""
    columns = {name: pa.array([getattr(ask, name) for ask in asks], kind) for name, kind in _ASK_COLUMNS.items()}
    store.insert("permuted_asks", pa.table(columns))


def permuted_asks_done(store: Store, policy: Policy, judge_id: str) -> set[tuple[str, int]]:
    """Return (pair_id, ask) of what was asked already."""
    found = store.table(
        "SELECT pair_id, ask FROM permuted_asks WHERE labelling_fingerprint = ? AND judge_id = ?",
        [policy.labelling_fingerprint, judge_id],
    )
    return set(zip(found["pair_id"].to_pylist(), found["ask"].to_pylist(), strict=True))


@dataclass(frozen=True, slots=True)
class StoredMap:
    """What was made of a judge's confidence: method and parameters of a `labeling.calibration.Recalibration`.

    `confidence` says where the confidence came from that it was fitted to.
    """

    confidence: str
    method: str
    parameters: Mapping[str, Sequence[float]]


def put_calibration(
    store: Store,
    policy: Policy,
    judge_id: str,
    *,
    fitted_to: Sequence[Sequence[object]],
    method: str,
    parameters: Mapping[str, Sequence[float]],
    report: Mapping[str, object],
) -> str:
    """Store what was fitted to which reviews; return its id. The same again is stored once.

    Args:
        store: where.
        policy: whose question, and which of its labels are positive.
        judge_id: whose confidence.
        fitted_to: one row a pair: all that went into the fit.
        method: of the map.
        parameters: of the map.
        report: what was measured.
    """
    reviews_hash = content_id("reviews", [list(row) for row in fitted_to])
    positive = _positive(policy)
    key = content_id("calibration", judge_id, policy.labelling_fingerprint, positive, reviews_hash)
    store.insert(
        "calibrations",
        pa.table(
            {
                "calibration_id": [key],
                "judge_id": [judge_id],
                "labelling_fingerprint": [policy.labelling_fingerprint],
                "positive_labels": pa.array([positive], pa.list_(pa.string())),
                "reviews_hash": [reviews_hash],
                "method": [method],
                "parameters": [canonical_json({name: list(values) for name, values in parameters.items()})],
                "report": [canonical_json(dict(report))],
                "fitted_at": pa.array([datetime.now(UTC)], pa.timestamp("us", tz="UTC")),
            }
        ),
        replace=True,
    )
    return key


def newest_map(store: Store, policy: Policy, judge_id: str) -> StoredMap | None:
    """Return the newest map that fits what a judge says of a pair asked about once, or None.

    It is of the policy's question and positive labels; maps of repeated asks, which only reviewed pairs have, are none.
    """
    found = store.rows(
        """
        SELECT report ->> '$.confidence' AS confidence, method, parameters FROM calibrations
        WHERE judge_id = $judge AND labelling_fingerprint = $fingerprint AND positive_labels = $positive
          AND (report ->> '$.confidence') IS DISTINCT FROM 'repeated asks'
        ORDER BY fitted_at DESC, calibration_id LIMIT 1
        """,
        {"judge": judge_id, "fingerprint": policy.labelling_fingerprint, "positive": _positive(policy)},
    )
    if not found:
        return None
    row = found[0]
    return StoredMap(str(row["confidence"]), str(row["method"]), json.loads(str(row["parameters"])))


def _positive(policy: Policy) -> list[str]:
    return sorted(label.name for label in policy.labels if label.role == "positive")
