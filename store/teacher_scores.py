"""What a teacher says of the pairs of a build: what a reranker scored, which is kept, or the judge."""

import time
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from store.builds import Build
from store.database import Store
from store.policies import get_policy_by_id
from store.progress import Progress

_PAIRS_AT_A_TIME = 64
_SECONDS = 1.0  # a run that is stopped loses what was scored since

Texts = tuple[str, str]


def taught_scores(
    store: Store,
    pairs: Mapping[str, Texts],
    *,
    model: str,
    score: Callable[[list[Texts]], Sequence[float]],
    progress: Progress,
) -> dict[str, float]:
    """Return the score of each pair; only pairs that are not stored yet are scored, and then stored.

    Args:
        store: keeps the scores.
        pairs: anchor and chunk text by pair id.
        model: names all that decides the numbers.
        score: scores pairs of texts; not called where nothing is new.
        progress: told of the pairs that are scored.
    """
    found = _stored(store, list(pairs), model)
    new = sorted(pairs.keys() - found.keys(), key=lambda key: (-sum(map(len, pairs[key])), key))
    if new:
        progress.start("Asking the teacher", len(new))
    waiting: dict[str, float] = {}
    stored_at = time.monotonic()
    try:
        for start in range(0, len(new), _PAIRS_AT_A_TIME):
            some = new[start : start + _PAIRS_AT_A_TIME]
            waiting |= zip(some, map(float, score([pairs[key] for key in some])), strict=True)
            progress.advance(len(some))
            if time.monotonic() - stored_at >= _SECONDS:
                _put(store, model, waiting)
                waiting, stored_at = {}, time.monotonic()
    finally:
        _put(store, model, waiting)
    return _stored(store, list(pairs), model)


def judge_confidences(store: Store, build: Build) -> dict[str, tuple[str, float]]:
    """Map each pair of a build of which a judge told its confidence to the judge's label and P(label)."""
    rows = store.rows(
        """
        SELECT pair_id, judged.label, confidence FROM current_judgments AS judged
        SEMI JOIN (FROM build_labels WHERE build_id = ?) AS labelled USING (pair_id)
        WHERE labelling_fingerprint = ? AND confidence IS NOT NULL
        """,
        [build.build_id, get_policy_by_id(store, build.policy_id).labelling_fingerprint],
    )
    return {str(row["pair_id"]): (str(row["label"]), float(str(row["confidence"]))) for row in rows}


def _stored(store: Store, pair_ids: Sequence[str], model: str) -> dict[str, float]:
    with store.view_of("asked", pa.table({"pair_id": pa.array(pair_ids, pa.string())})):
        found = store.table(
            "SELECT pair_id, score FROM cross_encoder_scores SEMI JOIN asked USING (pair_id) WHERE model = ?", [model]
        )
    return dict(zip(found["pair_id"].to_pylist(), found["score"].to_pylist(), strict=True))


def _put(store: Store, model: str, scores: Mapping[str, float]) -> None:
    columns = {
        "model": pa.array([model] * len(scores), pa.string()),
        "pair_id": pa.array(scores, pa.string()),
        "score": pa.array(scores.values(), pa.float32()),
    }
    store.insert("cross_encoder_scores", pa.table(columns))
