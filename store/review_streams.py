"""Review streams: which pairs are the random audit sample, and which are reviewed because it helps.

Only a random sample says anything about the pairs that nobody looked at, so how a pair came into the audit must never
depend on what it says, on a judge or on a ranking. Each pair is drawn once, when it first goes to review under a
labelling fingerprint: from a hash of the pair's id and of a random seed that is made for the fingerprint and stored.
The draw and the probability that stood behind it are kept; a share that is changed later concerns later pairs only.

Pairs that somebody has answered before they are first drawn (a file of labels, answers carried over from an earlier
question) are never drawn into the audit; their probability is 0. Somebody chose them, for reasons that may have to do
with their label, and saw a judge's answer or a ranking with them: taken into the sample, they would pass for answers
that chance asked for, blind. Nor can they be asked again for the audit's sake. So they lie outside of what the audit
speaks about, and need not lie within it, since their label is known. For the same reason a carried audit answer does
not count for the audit of the new question, whose wording nobody has tested yet: take the sample from this table, not
from the stream that a review was given in.

`store.audits` may move further pairs into the audit stream, at random as well; it keeps what it drew them from.

The other way round, a pair that was drawn into the audit and is answered in another way afterwards (by a file of
labels) stays in the sample, with that answer: whoever left it out would let somebody's choice decide who is in it.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from store.database import Store
from store.policies import Policy

ReviewStream = Literal["targeted", "audit"]


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """How far the pairs of one stream are; `answered` by at least one person."""

    stream: ReviewStream
    pairs: int
    answered: int


def draw_streams(
    store: Store, policy: Policy, pair_ids: Sequence[str], *, audit_share: float
) -> dict[str, ReviewStream]:
    """Draw the streams of those pairs that have none yet; return the streams of all, by pair id.

    Args:
        store: where the draws are kept.
        policy: under whose labelling fingerprint the pairs are reviewed.
        pair_ids: the pairs that go to review.
        audit_share: the probability, from 0 to 1, with which a new pair is drawn into the audit.
    """
    fingerprint = policy.labelling_fingerprint
    known = drawn_streams(store, policy)
    new = [pair for pair in dict.fromkeys(pair_ids) if pair not in known]
    if new:
        seed = audit_seed(store, policy) or new_seed()
        answered = _answered(store, fingerprint)
        probability = [0.0 if pair in answered else audit_share for pair in new]
        drawn: list[ReviewStream] = [
            "audit" if uniform(seed, "stream", pair) < chance else "targeted"
            for pair, chance in zip(new, probability, strict=True)
        ]
        columns = {
            "pair_id": pa.array(new, pa.string()),
            "labelling_fingerprint": pa.array([fingerprint] * len(new), pa.string()),
            "stream": pa.array(drawn, pa.string()),
            "probability": pa.array(probability, pa.float64()),
            "seed": pa.array([seed] * len(new), pa.string()),
            "drawn_at": pa.array([datetime.now(UTC)] * len(new), pa.timestamp("us", tz="UTC")),
        }
        store.insert("review_streams", pa.table(columns))
        known |= dict(zip(new, drawn, strict=True))
    return {pair: known[pair] for pair in pair_ids}


def new_seed() -> str:
    """Return a seed for draws that nobody can foresee or choose, 32 hex digits."""
    return secrets.token_hex(16)


def uniform(seed: str, purpose: str, pair_id: str) -> float:
    """Return a number in [0, 1) that looks drawn at random, and is the same every time for the same arguments."""
    digest = hashlib.sha256(f"{seed} {purpose} {pair_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def audit_place(seed: str, pair_id: str) -> float:
    """Return where an audit pair stands among the others, in [0, 1): they are asked in this order.

    People do not always answer in order (Find similar, bulk answers), so those that happen to be answered need be no
    random sample. Those up to a place below which all are answered are one.
    """
    return uniform(seed, "order", pair_id)


def audit_seed(store: Store, policy: Policy) -> str | None:
    """Return the seed from which the streams of a policy's question are drawn; None before the first draw."""
    found = store.scalar(
        "SELECT seed FROM review_streams WHERE labelling_fingerprint = ? LIMIT 1", [policy.labelling_fingerprint]
    )
    return None if found is None else str(found)


def stream_counts(store: Store, policy: Policy) -> list[StreamCounts]:
    """Count the candidate pairs of a policy that have been drawn, and those of them with an answer; empty if none."""
    rows = store.rows(
        """
        SELECT stream, count(*) AS pairs, count(*) FILTER (pair_id IN (
            SELECT pair_id FROM reviews WHERE labelling_fingerprint = $fingerprint
        )) AS answered
        FROM review_streams
        SEMI JOIN (FROM candidate_pairs WHERE policy_name = $policy) AS candidate_pairs USING (pair_id)
        WHERE labelling_fingerprint = $fingerprint GROUP BY stream ORDER BY stream
        """,
        {"policy": policy.name, "fingerprint": policy.labelling_fingerprint},
    )
    return [StreamCounts(**row) for row in rows]  # type: ignore[arg-type]


def drawn_streams(store: Store, policy: Policy) -> dict[str, ReviewStream]:
    """Return the streams of the pairs that have been drawn under a policy's question, by pair id."""
    found = store.table(
        "SELECT pair_id, stream FROM review_streams WHERE labelling_fingerprint = ?", [policy.labelling_fingerprint]
    )
    return dict(zip(found["pair_id"].to_pylist(), found["stream"].to_pylist(), strict=True))


def _answered(store: Store, fingerprint: str) -> set[str]:
    found = store.table("SELECT DISTINCT pair_id FROM reviews WHERE labelling_fingerprint = ?", [fingerprint])
    return set(found["pair_id"].to_pylist())
