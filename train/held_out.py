"""The test split of a build: what is ranked for whom."""

from collections.abc import Mapping
from typing import NamedTuple

from store.builds import Build, build_labels, build_pool
from store.database import Store
from store.errors import MissingError
from store.synthetic import synthetic_purposes

POOL_SIZE = 10_000


class HeldOut(NamedTuple):
    """What is ranked for whom: texts by id, the group of each query, and `qrels`, relevance 1 or 0 by query and chunk.

    A pair that is absent from `qrels` has no label; it is never a 0. `synthetic` are the queries that a model wrote.
    """

    build_id: str
    queries: Mapping[str, str]
    groups: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    pool: Mapping[str, str]
    human_labels: int
    synthetic: frozenset[str] = frozenset()


def read_held_out(store: Store, build: Build, *, pool_size: int = POOL_SIZE) -> HeldOut:
    """Read what `compare` needs, so that the database can be closed before the long part begins.

    Raises:
        MissingError: the build has no test query with a positive.
    """
    import pyarrow.compute as pc

    labels = build_labels(store, build.build_id)
    rows = labels.filter(pc.equal(labels["split"], "test")).to_pylist()
    if not any(row["role"] == "positive" for row in rows):
        raise MissingError(
            f"{build.build_id} holds back no query with a positive for testing",
            hint="uncited build --test-share 0.3",
        )
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        qrels.setdefault(row["anchor_id"], {})[row["chunk_id"]] = int(row["role"] == "positive")
    pool = build_pool(store, build.build_id, pool_size)
    return HeldOut(
        build.build_id,
        {row["anchor_id"]: row["anchor"] for row in rows},
        {row["anchor_id"]: row["split_group"] for row in rows},
        qrels,
        dict(zip(pool["chunk_id"].to_pylist(), pool["text"].to_pylist(), strict=True)),
        sum(row["source"] == "human" for row in rows),
        frozenset(qrels.keys() & synthetic_purposes(store).keys()),
    )
