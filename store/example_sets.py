"""Reviewed pairs frozen as examples for judges, and what of people's labels may serve as such."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from store.database import Store
from store.errors import MissingError
from store.ids import canonical_json, content_id
from store.labels import Resolution
from store.policies import Policy


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair with the label that people gave it."""

    pair_id: str
    anchor_id: str
    anchor: str
    chunk: str
    label: str


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """A frozen set. `rule` says how the shown ones are chosen from it, as JSON can hold it."""

    example_set_id: str
    labelling_fingerprint: str
    rule: Mapping[str, object]
    pairs: tuple[LabelledPair, ...]


def people_labelled(store: Store, policy: Policy, *, resolution: Resolution = "majority") -> list[LabelledPair]:
    """Return the pairs that people gave one of the policy's own labels (not `unsure`), ordered by pair_id.

    Without those of the audit: a judge that was shown its answers could not be tested by it any more. Of questions that
    a model wrote, those that were written for examples only.
    `resolution` as for `store.labels.labelled_candidates`.
    """
    found = store.table(
        """
        SELECT pair_id, anchor_id, anchors.text AS anchor, chunks.text AS chunk, settled.label
        FROM labels($resolution) AS settled JOIN pairs USING (pair_id)
        JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        ANTI JOIN (FROM review_streams WHERE stream = 'audit') AS audited USING (pair_id, labelling_fingerprint)
        ANTI JOIN (FROM synthetic_anchors WHERE purpose <> 'few-shot') AS written USING (anchor_id)
        WHERE labelling_fingerprint = $fingerprint AND source = 'human'
            AND settled.label IN (SELECT unnest($labels))
        ORDER BY pair_id
        """,
        {
            "fingerprint": policy.labelling_fingerprint,
            "labels": [label.name for label in policy.labels],
            "resolution": resolution,
        },
    )
    return [LabelledPair(**row) for row in found.to_pylist()]


def anchors_of_tests(store: Store) -> dict[str, str]:
    """Map the anchors in the test split of any build, by id, to their texts."""
    return _texts(
        store.table(
            """
            SELECT DISTINCT anchor_id, text FROM build_labels JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id)
            WHERE split = 'test'
            """
        )
    )


def candidate_anchors(store: Store, policy: Policy) -> dict[str, str]:
    """Map the anchors of a policy's candidates, by id, to their texts."""
    return _texts(
        store.table(
            "SELECT DISTINCT anchor_id, text FROM candidate_pairs JOIN anchors USING (anchor_id) WHERE policy_name = ?",
            [policy.name],
        )
    )


def build_groups(store: Store, builds: Sequence[str]) -> dict[str, set[str]]:
    """Map each anchor of these builds to the groups that must stay together, as `build/group`."""
    found = store.table(
        """
        SELECT DISTINCT anchor_id, build_id || '/' || split_group AS member
        FROM build_labels JOIN pairs USING (pair_id) WHERE build_id IN (SELECT unnest($builds))
        """,
        {"builds": list(builds)},
    )
    groups: dict[str, set[str]] = {}
    for row in found.to_pylist():
        groups.setdefault(row["anchor_id"], set()).add(row["member"])
    return groups


def put_example_set(store: Store, policy: Policy, rule: Mapping[str, object], pairs: Sequence[LabelledPair]) -> str:
    """Freeze examples; return the id, a hash of the rule and of the pairs with their labels."""
    labels = sorted((pair.pair_id, pair.label) for pair in pairs)
    key = content_id("examples", dict(rule), policy.labelling_fingerprint, [list(label) for label in labels])
    with store.transaction():
        store.insert(
            "example_sets",
            pa.table(
                {
                    "example_set_id": [key],
                    "labelling_fingerprint": [policy.labelling_fingerprint],
                    "rule": [canonical_json(dict(rule))],
                    "frozen_at": pa.array([datetime.now(UTC)], pa.timestamp("us", tz="UTC")),
                }
            ),
        )
        store.insert(
            "example_set_pairs",
            pa.table(
                {
                    "example_set_id": [key] * len(labels),
                    "pair_id": [pair_id for pair_id, _ in labels],
                    "label": [label for _, label in labels],
                }
            ),
        )
    return key


def example_sets(store: Store, policy: Policy) -> list[str]:
    """Return the ids of the sets frozen under a policy's question, the newest first; without those that lost a text."""
    found = store.rows(
        """
        SELECT example_set_id FROM example_sets WHERE labelling_fingerprint = ? AND example_set_id NOT IN (
            SELECT example_set_id FROM example_set_pairs JOIN pairs USING (pair_id)
            WHERE anchor_id IN (SELECT forgotten_id FROM forgotten) OR chunk_id IN (SELECT forgotten_id FROM forgotten)
        ) ORDER BY frozen_at DESC, 1
        """,
        [policy.labelling_fingerprint],
    )
    return [str(row["example_set_id"]) for row in found]


def get_example_set(store: Store, example_set_id: str) -> ExampleSet:
    """Return a frozen set.

    Raises:
        MissingError: this workspace has none of that id, or a text of it was forgotten.
    """
    found = store.rows("FROM example_sets WHERE example_set_id = ?", [example_set_id])
    if not found:
        raise MissingError(f"no example set {example_set_id} in this workspace")
    pairs = store.table(
        """
        SELECT pair_id, anchor_id, anchors.text AS anchor, chunks.text AS chunk, label
        FROM example_set_pairs JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
        WHERE example_set_id = ? ORDER BY pair_id
        """,
        [example_set_id],
    )
    if pairs.num_rows < store.count(
        "SELECT count(*) FROM example_set_pairs WHERE example_set_id = ?", [example_set_id]
    ):
        raise MissingError(f"a text of example set {example_set_id} was forgotten")
    return ExampleSet(
        example_set_id,
        str(found[0]["labelling_fingerprint"]),
        json.loads(str(found[0]["rule"])),
        tuple(LabelledPair(**row) for row in pairs.to_pylist()),
    )


def _texts(anchors: pa.Table) -> dict[str, str]:
    return dict(zip(anchors["anchor_id"].to_pylist(), anchors["text"].to_pylist(), strict=True))
