"""What may not stand in training data, and how an export tells what was left out."""

import pytest

from store.builds import Build, build_labels, build_triplets
from store.database import Store
from store.errors import MissingError
from store.policies import Policy
from tests.labelled_store import distinct, fill, log, question, review
from train.exports.left_out import left_out_of_build
from train.triplets import build


def sides(store: Store, policy: Policy) -> dict[str, list[str]]:
    """Map each split to its queries."""
    found: dict[str, set[str]] = {"train": set(), "test": set()}
    for row in build_triplets(store, build(store, policy).build.build_id).to_pylist():
        found[row["split"]].add(row["anchor"])
    return {split: sorted(queries) for split, queries in found.items()}


def add(store: Store, query: str, chunk: str, label: str) -> None:
    log(store, query, [chunk], cited=[])
    review(store, query, {chunk: label})


def chunks_of(store: Store, made: Build, split: str) -> set[str]:
    return {row["chunk"] for row in build_labels(store, made.build_id).to_pylist() if row["split"] == split}


@pytest.mark.parametrize("label", ["yes", "no"])
def test_a_chunk_of_a_test_query_is_in_no_train_label_unless_chunks_may_be_shared(store: Store, label: str) -> None:
    policy = fill(store, 8)
    queries = sides(store, policy)
    shared = distinct("everywhere")
    add(store, queries["test"][0], shared, "no")
    add(store, queries["train"][0], shared + " indeed", label)
    apart = build(store, policy)
    assert shared in chunks_of(store, apart.build, "test")
    assert shared + " indeed" not in chunks_of(store, apart.build, "train")
    assert apart.counts["kept_from_training"] == 1
    together = build(store, policy, shared_chunks=True)
    assert shared + " indeed" in chunks_of(store, together.build, "train")
    assert together.counts["kept_from_training"] == 0


def test_the_words_of_a_test_query_are_no_chunk_of_a_train_query(store: Store) -> None:
    policy = fill(store, 8)
    queries = sides(store, policy)
    add(store, queries["train"][0], queries["test"][0].upper(), "no")
    result = build(store, policy, shared_chunks=True)
    assert result.counts["kept_from_training"] == 1
    assert queries["test"][0].upper() not in chunks_of(store, result.build, "train")


def nearly(query: str) -> str:
    """A text that shares nine tenths of its trigrams with a question of `fill`."""
    return query.removesuffix("?") + " 9"


def test_what_nearly_repeats_a_test_query_is_no_chunk_of_a_train_query(store: Store) -> None:
    policy = fill(store, 8)
    queries = sides(store, policy)
    tested, trained = queries["test"][0], queries["train"][0]
    half, within = tested[:8] + " and so on", f"{tested} {distinct('answer')}"
    added = {nearly(tested), half, within}
    for chunk in added:
        add(store, trained, chunk, "no")
    result = build(store, policy, shared_chunks=True)
    assert result.counts["kept_from_training"] == 1
    assert added & chunks_of(store, result.build, "train") == {half, within}


@pytest.mark.parametrize(
    ("label", "shared_chunks", "kept"), [("yes", True, False), ("no", False, False), ("no", True, True)]
)
def test_a_train_query_that_nearly_repeats_what_a_test_query_is_to_find_is_left_out(
    store: Store, label: str, shared_chunks: bool, kept: bool
) -> None:
    policy = fill(store, 8)
    queries = sides(store, policy)
    near, half = queries["train"][:2]
    add(store, queries["test"][0], nearly(near), label)
    add(store, queries["test"][0], half[:8] + " and so on", label)
    result = build(store, policy, shared_chunks=shared_chunks)
    assert result.counts["kept_from_training"] == (0 if kept else 4), "all labels of the query"
    trained = {row["anchor"] for row in build_triplets(store, result.build.build_id, "train").to_pylist()}
    assert trained == {query for query in queries["train"] if kept or query != near}


def test_where_all_is_shared_the_way_out_is_named(store: Store) -> None:
    policy = fill(store, 6, negatives=0)
    for number in range(6):
        add(store, question(number), distinct("everywhere"), "no")
    with pytest.raises(MissingError, match="shares chunks with test queries") as raised:
        build(store, policy)
    assert raised.value.hint == "uncited build --policy answers --shared-chunks"
    assert build(store, policy, shared_chunks=True).counts["triplets_train"] > 0
    assert build(store, policy, test_share=0).counts["triplets_train"] == 6


def test_what_was_left_out_is_told_with_examples(store: Store) -> None:
    policy = fill(store, 6)
    good = distinct("good0of", 0)
    add(store, question(0), good + " indeed", "no")
    (entry,) = left_out_of_build(store, build(store, policy).build)
    assert entry["count"] == 1
    assert "repeats a positive of the same query" in str(entry["what"])
    cut = [text if len(text) <= 160 else text[:157] + "..." for text in (good + " indeed", good)]
    assert entry["examples"] == [{"anchor": question(0), "chunk": cut[0], "repeats": cut[1]}]
