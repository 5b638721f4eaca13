"""Drawing audits: whom chance chooses for blind review, frozen before anybody is asked.

A pilot is drawn like an audit of all pairs, and certifies nothing: its answers may be read and used at will, to choose
a judge or the part of its labels that an audit is worth while for. Such an audit is about one group, from a confidence
of the judge on; nothing that was read before its draw can make its sample any better.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from store.audits import (
    THRESHOLDS,
    Group,
    audit_rows,
    audits_by_group,
    group_of,
    ids_hash,
    question_number,
    row_about,
    sample_of_all,
)
from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.policies import Policy
from store.review_streams import audit_seed, new_seed, uniform


class Drawable(NamedTuple):
    """A candidate pair that nobody has answered, as it is judged now.

    `shown` tells that it was put before reviewers with a judge's suggestion, so that somebody may have read that.
    """

    pair_id: str
    anchor_id: str
    group: Group | None
    confidence: float | None
    shown: bool
    synthetic: bool  # a model wrote its question


class Draw(NamedTuple):
    """What was drawn. Of the `size` pairs, `unseen` had not been in the audit stream, and `shown` may be known.

    Of the `synthetic` of them a model wrote the question.
    """

    audit_id: str
    population: int
    size: int
    unseen: int
    shown: int
    synthetic: int


def drawable_pairs(store: Store, policy: Policy) -> list[Drawable]:
    """Return the candidate pairs that nobody has answered, ordered by id; near-repeats of cited chunks excepted."""
    found = store.rows(
        """
        SELECT pair_id, anchor_id, judged.label, judged.confidence, proposed,
               coalesce(stream, '') <> 'audit' AND pair_id IN (SELECT pair_id FROM review_records) AS shown,
               anchor_id IN (SELECT anchor_id FROM synthetic_anchors) AS synthetic
        FROM candidate_pairs
        LEFT JOIN (FROM review_streams WHERE labelling_fingerprint = $fingerprint) AS drawn USING (pair_id)
        LEFT JOIN (FROM current_judgments WHERE labelling_fingerprint = $fingerprint) AS judged USING (pair_id)
        ANTI JOIN (SELECT pair_id FROM reviews WHERE labelling_fingerprint = $fingerprint) AS answered USING (pair_id)
        WHERE policy_name = $policy AND duplicate_of IS NULL
        ORDER BY pair_id
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [
        Drawable(
            pair_id=str(row["pair_id"]),
            anchor_id=str(row["anchor_id"]),
            group=group_of(policy, row["label"], str(row["proposed"])),  # type: ignore[arg-type]
            confidence=row["confidence"],  # type: ignore[arg-type]
            shown=bool(row["shown"]),
            synthetic=bool(row["synthetic"]),
        )
        for row in found
    ]


def drawn_from(
    pairs: Iterable[Drawable], group: Group | None, min_confidence: float, *, include_shown: bool = True
) -> list[Drawable]:
    """Return those of the pairs from which an audit of a group (None: all) from a confidence on is drawn."""
    return [
        pair
        for pair in pairs
        if (group is None or pair.group == group)
        and (not min_confidence or (pair.confidence or 0) >= min_confidence)
        and (include_shown or not pair.shown)
    ]


def draw_audit(
    store: Store,
    policy: Policy,
    size: int,
    *,
    group: Group | None = None,
    min_confidence: float = 0.0,
    include_shown: bool = False,
    pilot: bool = False,
) -> Draw:
    """Draw an audit at random, and freeze it with its population, its order and the thresholds to be tested.

    Args:
        store: where it is kept.
        policy: whose pairs.
        size: pairs to draw.
        group: draw from the pairs of this group alone; None: from all.
        min_confidence: draw from those alone that the judge labelled with at least this confidence.
        include_shown: draw from pairs too that were put before reviewers with a judge's suggestion. What a person
            answers then is not blind for certain, so the certificate counts them.
        pilot: it certifies nothing, and replaces nothing but the audit that the review streams make.

    Raises:
        UsageError: `size` is below 1.
        MissingError: fewer pairs than `size` may be drawn.
    """
    if size < 1:
        raise UsageError(f"a sample of {size} pairs says nothing: at least 1")
    inside = drawn_from(drawable_pairs(store, policy), group, min_confidence)
    frame = drawn_from(inside, group, min_confidence, include_shown=include_shown)
    shown = {pair.pair_id: pair.shown for pair in frame}
    if len(shown) < size:
        raise _too_few(policy, size, len(shown), len(inside))
    seed = new_seed()
    population_hash = ids_hash(shown)
    audit_id = content_id("audit", policy.name, policy.labelling_fingerprint, seed, population_hash, size)
    now = datetime.now(UTC)
    audit = {
        "audit_id": [audit_id],
        "policy_name": [policy.name],
        "labelling_fingerprint": [policy.labelling_fingerprint],
        "seed": [seed],
        "population": pa.array([len(shown)], pa.int64()),
        "population_hash": [population_hash],
        "size": pa.array([size], pa.int64()),
        "thresholds": pa.array([[0.0] if group else list(THRESHOLDS)], pa.list_(pa.float64())),
        "drawn_at": pa.array([now], pa.timestamp("us", tz="UTC")),
        "pair_group": pa.array([group], pa.string()),
        "min_confidence": [min_confidence],
        "pilot": [pilot],
    }
    with store.transaction():
        _count_replaced(store, policy, group, pilot=pilot)
        store.insert("audits", pa.table(audit))
        pairs = {"audit_id": pa.array([audit_id] * len(shown), pa.string()), "pair_id": pa.array(shown, pa.string())}
        store.insert("audit_pairs", pa.table(pairs))
        chosen = _in_order(seed, shown)[:size]
        unseen = _put_into(store, policy, audit_id, 1, chosen, shown, size / len(shown), now)
    written = {pair.pair_id for pair in inside if pair.synthetic}
    return Draw(audit_id, len(shown), size, unseen, sum(shown[pair] for pair in chosen), len(written & set(chosen)))


def unfinished_audits(store: Store, policy: Policy, group: Group | None) -> dict[str, int]:
    """Return the drawn audits that a fresh one about a group (None: all) would take the place of before it is answered.

    Returns:
        Audit ids, with how many of the pairs drawn wait for an answer; pilots and the review streams are none.
    """
    found: dict[str, int] = {}
    for about, audit in audits_by_group(store, policy, resolution="majority").items():
        waiting = sum(pair.sampled and not pair.reviewed for pair in audit.pairs)
        if audit.drawn and group in (None, about) and waiting:
            found[audit.audit_id] = waiting
    return found


def unanswered_pilot(store: Store, policy: Policy) -> int:
    """Return how many pairs of the newest pilot wait for an answer; 0 where an audit of all pairs came after it."""
    newest = next((row for row in audit_rows(store, policy) if row.group is None), None)
    if newest is None or not newest.pilot:
        return 0
    pairs = sample_of_all(store, policy, resolution="majority").pairs
    return sum(pair.sampled and not pair.reviewed for pair in pairs)


def _too_few(policy: Policy, size: int, drawable: int, unanswered: int) -> MissingError:
    left = (
        f"{size} pairs of policy {policy.name!r} cannot be drawn: only {drawable} are left that nobody has answered and"
        " that were never put before reviewers together with a judge's suggestion"
    )
    if unanswered >= size:
        left += f"; with those that were, there are {unanswered}: --include-shown draws them too, and the certificate"
        left += " will say so"
    return MissingError(left, hint=f"uncited audit plan --policy {policy.name}")


def extend_audit(store: Store, policy: Policy, size: int, *, group: Group | None = None) -> Draw:
    """Draw more pairs for the newest audit about a group: the next ones in the order that its seed has fixed.

    Whoever looks at answers before cannot choose which pairs these are, and the bound permits to look
    (`labeling.sequential_bounds`).

    Raises:
        UsageError: `size` is below 1.
        MissingError: no audit was drawn, or fewer pairs than `size` are left in what it was drawn from.
    """
    if size < 1:
        raise UsageError(f"{size} more pairs say nothing more: at least 1")
    row = row_about(audit_rows(store, policy), group)
    if row is None or (group is None and row.group):
        about = f" about the {group}" if group else ""
        raise MissingError(
            f"no audit{about} of policy {policy.name!r} has been drawn, so none can be extended",
            hint=f"uncited audit plan --policy {policy.name}",
        )
    frame = store.rows(
        """
        SELECT pair_id, batch FROM (FROM audit_pairs WHERE audit_id = $audit)
        LEFT JOIN (FROM audit_draws WHERE audit_id = $audit) USING (pair_id)
        """,
        {"audit": row.audit_id},
    )
    batch = 1 + max(int(str(pair["batch"])) for pair in frame if pair["batch"])
    left = [str(pair["pair_id"]) for pair in frame if pair["batch"] is None]
    if len(left) < size:
        raise MissingError(
            f"the audit was drawn from {len(frame)} pairs, of which {len(left)} are left: {size} cannot be added",
            hint=f"uncited audit plan --policy {policy.name}",
        )
    chosen = _in_order(row.seed, left)[:size]
    drawable = drawable_pairs(store, policy)
    shown = {pair.pair_id: pair.shown for pair in drawable}
    written = {pair.pair_id for pair in drawable if pair.synthetic}
    probability = (len(frame) - len(left) + size) / len(frame)
    with store.transaction():
        unseen = _put_into(store, policy, row.audit_id, batch, chosen, shown, probability, datetime.now(UTC))
    known = sum(shown.get(pair, False) for pair in chosen)
    return Draw(row.audit_id, len(frame), size, unseen, known, len(written & set(chosen)))


def _in_order(seed: str, pairs: Collection[str]) -> list[str]:
    return sorted(pairs, key=lambda pair: uniform(seed, "audit", pair))


def _put_into(
    store: Store,
    policy: Policy,
    audit_id: str,
    batch: int,
    pairs: Sequence[str],
    shown: Mapping[str, bool],
    probability: float,
    now: datetime,
) -> int:
    """Add pairs to the sample of an audit, and to the audit stream; return how many were not in that."""
    seed = audit_seed(store, policy) or new_seed()
    fingerprint = policy.labelling_fingerprint
    drawn_at = pa.array([now] * len(pairs), pa.timestamp("us", tz="UTC"))
    draws = {
        "audit_id": pa.array([audit_id] * len(pairs), pa.string()),
        "pair_id": pa.array(pairs, pa.string()),
        "batch": pa.array([batch] * len(pairs), pa.int32()),
        "shown": pa.array([shown.get(pair, False) for pair in pairs], pa.bool_()),
        "drawn_at": drawn_at,
    }
    store.insert("audit_draws", pa.table(draws))
    with store.view_of("chosen", pa.table({"pair_id": pa.array(pairs, pa.string())})):
        there = store.count(
            """
            SELECT count(*) FROM review_streams SEMI JOIN chosen USING (pair_id)
            WHERE labelling_fingerprint = ? AND stream = 'audit'
            """,
            [fingerprint],
        )
        store.execute(
            """
            UPDATE review_streams SET stream = 'audit', probability = $probability, drawn_at = $now
            WHERE labelling_fingerprint = $fingerprint AND stream = 'targeted'
                  AND pair_id IN (SELECT pair_id FROM chosen)
            """,
            {"probability": probability, "now": now, "fingerprint": fingerprint},
        )
    columns = {
        "pair_id": pa.array(pairs, pa.string()),
        "labelling_fingerprint": pa.array([fingerprint] * len(pairs), pa.string()),
        "stream": pa.array(["audit"] * len(pairs), pa.string()),
        "probability": pa.array([probability] * len(pairs), pa.float64()),
        "seed": pa.array([seed] * len(pairs), pa.string()),
        "drawn_at": drawn_at,
    }
    store.insert("review_streams", pa.table(columns))
    return len(pairs) - there


def _count_replaced(store: Store, policy: Policy, group: Group | None, *, pilot: bool) -> None:
    """Let each audit that is about to be replaced count as asked, if there are answers to it.

    Else one could read the answers, draw again until they please, and ask for the first time only then.
    """
    for about, audit in audits_by_group(store, policy, resolution="majority").items():
        replaced = not audit.drawn or (not pilot and group in (None, about))
        if not replaced or not any(pair.sampled and pair.reviewed for pair in audit.pairs):
            continue
        asked = store.scalar(
            "SELECT 1 FROM audit_questions WHERE labelling_fingerprint = ? AND audit_id = ? AND pair_group = ?",
            [policy.labelling_fingerprint, audit.audit_id, about],
        )
        if not asked:
            unasked = content_id("audit-question", policy.labelling_fingerprint, audit.audit_id, about)
            question_number(store, policy, about, audit.audit_id, unasked, record=True)
