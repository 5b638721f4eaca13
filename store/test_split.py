"""What an evaluation must know of a build's test split besides its labels."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from store.database import Store
from store.segments import segment_of


def chunk_kinds(store: Store, build_id: str) -> dict[str, str]:
    """Return the kind of each chunk that has a label in the test split of a build."""
    found = store.table(
        """
        SELECT DISTINCT chunk_id, kind FROM build_labels JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)
        WHERE build_id = ? AND split = 'test'
        """,
        [build_id],
    )
    return dict(zip(found["chunk_id"].to_pylist(), found["kind"].to_pylist(), strict=True))


def judges_by_split(
    store: Store, build_id: str, labelling_fingerprint: str, used: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return the judges whose labels stand in each split of a build, `train` and `test`: model by id.

    `used` are the judges whose labels are in the build; another one may have said the same of its pairs.
    """
    rows = store.rows(
        """
        SELECT split, judge_id, any_value(judges.config) AS config
        FROM build_labels JOIN judgments USING (pair_id, label) JOIN judges USING (judge_id)
        WHERE build_id = $build AND source = 'judge' AND labelling_fingerprint = $fingerprint
            AND judge_id IN (SELECT unnest($used))
        GROUP BY split, judge_id ORDER BY split, judge_id
        """,
        {"build": build_id, "fingerprint": labelling_fingerprint, "used": list(used)},
    )
    found: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for row in rows:
        model = json.loads(str(row["config"])).get("model", row["judge_id"])
        found[str(row["split"])][str(row["judge_id"])] = str(model)
    return found


def queries_shown_to_judges(store: Store, build_id: str, used: Iterable[str]) -> int:
    """Count the test queries of a build of which a pair, with people's label, stands before these judges as an example.

    Judges are shown no query of a test split that was there before; a later build may test with what they were shown.
    """
    return store.count(
        """
        SELECT count(DISTINCT anchor_id)
        FROM example_set_pairs JOIN pairs USING (pair_id) JOIN judges ON contains(config::VARCHAR, example_set_id)
        WHERE judge_id IN (SELECT unnest($used)) AND anchor_id IN (
            SELECT anchor_id FROM build_labels JOIN pairs USING (pair_id) WHERE build_id = $build AND split = 'test'
        )
        """,
        {"build": build_id, "used": list(used)},
    )


def query_segments(store: Store, build_id: str, by: str) -> dict[str, str]:
    """Return the segment (see `store.segments`) of each query in the test split of a build.

    A query that was asked several times is in the segment of most of its interactions.
    """
    rows = store.rows(
        """
        SELECT anchor_id, text AS query, source, extra
        FROM (SELECT DISTINCT anchor_id FROM build_labels JOIN pairs USING (pair_id)
              WHERE build_id = ? AND split = 'test')
        JOIN anchors USING (anchor_id) LEFT JOIN interactions USING (anchor_id)
        ORDER BY anchor_id
        """,
        [build_id],
    )
    asked: dict[str, Counter[str]] = {}
    for row in rows:
        extra: Mapping[str, object] = json.loads(str(row["extra"])) if row["extra"] else {}
        source = None if row["source"] is None else str(row["source"])
        asked.setdefault(str(row["anchor_id"]), Counter())[segment_of(by, str(row["query"]), source, extra)] += 1
    return {anchor: min(counts, key=lambda name: (-counts[name], name)) for anchor, counts in asked.items()}
