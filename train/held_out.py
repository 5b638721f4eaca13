"""The test split of a build: what is ranked for whom."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from store.builds import Build, build_labels, build_pool
from store.database import Store
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.monitor import logged_fields
from store.policies import get_policy_by_id
from store.synthetic import synthetic_purposes
from store.test_split import chunk_kinds, judges_by_split, queries_shown_to_judges, query_segments
from train.exports.grades import grades

POOL_SIZE = 10_000


class HeldOut(NamedTuple):
    """What is ranked for whom: texts by id, the group of each query, and `qrels`, relevance 1 or 0 by query and chunk.

    A pair that is absent from `qrels` has no label; it is never a 0. `synthetic` are the queries that a model wrote.
    `grades` has what each label is worth to nDCG where the policy's labels stand on a scale, and is empty elsewhere.
    `sources` tells who gave each label (human, propagated, judge), `kinds` the kind of each labelled chunk, and
    `segments` the segment of each query by the property that parts them. `judges` are the models whose labels stand
    in the test split, `judges_of_both` those of judges whose labels stand in the train split of the build too;
    `shown_to_judges` counts the queries that judges of the build saw as examples.
    """

    build_id: str
    queries: Mapping[str, str]
    groups: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    pool: Mapping[str, str]
    human_labels: int
    synthetic: frozenset[str] = frozenset()
    policy: str = ""
    grades: Mapping[str, Mapping[str, int]] = {}
    sources: Mapping[str, Mapping[str, str]] = {}
    kinds: Mapping[str, str] = {}
    segments: Mapping[str, Mapping[str, str]] = {}
    judges: tuple[str, ...] = ()
    judges_of_both: tuple[str, ...] = ()
    shown_to_judges: int = 0


def labels_id(test: HeldOut) -> str:
    """Name all that the ranking of the labelled chunks, and its parts, rests on besides the models.

    Texts are named by the ids of queries and chunks. The pool has no part in it: it grows with the collection.
    """
    labels = (test.qrels, test.grades, test.sources, test.kinds, test.segments)
    return content_id("labels", test.build_id, test.groups, sorted(test.synthetic), *labels)


def read_held_out(store: Store, build: Build, *, pool_size: int = POOL_SIZE, by: str = "length") -> HeldOut:
    """Read what `compare` needs, so that the database can be closed before the long part begins.

    Args:
        store: holds the build.
        build: whose test split.
        pool_size: how many chunks to search at most, unless more have labels; the others are drawn at random, once.
        by: what parts the queries: `length`, `source`, or a field of the log's own.

    Raises:
        MissingError: the build has no test query with a positive.
        UsageError: no line of the logs holds the field `by`.
    """
    import pyarrow.compute as pc

    if by not in ("length", "source", *logged_fields(store)):
        raise UsageError(f"--by {by}: no line of the logs holds {by}", hint="--by length")
    labels = build_labels(store, build.build_id)
    rows = labels.filter(pc.equal(labels["split"], "test")).to_pylist()
    policy = get_policy_by_id(store, build.policy_id)
    if not any(row["role"] == "positive" for row in rows):
        raise MissingError(
            f"{build.build_id} holds back no query with a positive for testing",
            hint=f"uncited build --policy {policy.name} --test-share 0.3",
        )
    worth = grades(policy) if policy.scale == "ordered" else {}
    qrels: dict[str, dict[str, int]] = {}
    graded: dict[str, dict[str, int]] = {}
    sources: dict[str, dict[str, str]] = {}
    for row in rows:
        anchor, chunk = row["anchor_id"], row["chunk_id"]
        qrels.setdefault(anchor, {})[chunk] = int(row["role"] == "positive")
        sources.setdefault(anchor, {})[chunk] = row["source"]
        if worth:
            graded.setdefault(anchor, {})[chunk] = worth[row["label"]]
    pool = build_pool(store, build.build_id, pool_size)
    used = cast("Mapping[str, int]", build.settings.get("judges", {}))
    judges = judges_by_split(store, build.build_id, policy.labelling_fingerprint, used)
    return HeldOut(
        build_id=build.build_id,
        queries={row["anchor_id"]: row["anchor"] for row in rows},
        groups={row["anchor_id"]: row["split_group"] for row in rows},
        qrels=qrels,
        pool=dict(zip(pool["chunk_id"].to_pylist(), pool["text"].to_pylist(), strict=True)),
        human_labels=sum(row["source"] == "human" for row in rows),
        synthetic=frozenset(qrels.keys() & synthetic_purposes(store).keys()),
        policy=policy.name,
        grades=graded,
        sources=sources,
        kinds=chunk_kinds(store, build.build_id),
        segments={f"query {by}": query_segments(store, build.build_id, by)},
        judges=tuple(sorted(set(judges["test"].values()))),
        judges_of_both=tuple(sorted({model for judge, model in judges["test"].items() if judge in judges["train"]})),
        shown_to_judges=queries_shown_to_judges(store, build.build_id, used),
    )
