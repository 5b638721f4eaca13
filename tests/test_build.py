import itertools
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.builds import build_labels, build_triplets, get_build, latest_build, triplet_batches
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import anchor_id, chunk_id
from store.labels import labelled_candidates
from store.policies import add_policy
from store.text import NEAR_DUPLICATE, NEAR_QUERY, normalised, query_trigrams, similarity
from tests.labelled_store import POLICY, distinct, fill, judge, log, pair, question, review
from train.alike import Alike, alike_chunks, alike_queries, queries_like_chunks
from train.splits import assign_splits, split_groups
from train.triplets import BuildResult, build

LEFT_OUT = ("guarded", "kept_from_training", "duplicates", "excluded", "undecided", "unreviewed")
USED = ("human_positives", "human_negatives", "judge_positives", "judge_negatives")


def texts_of(store: Store, result: BuildResult, split: str | None = None) -> set[tuple[str, str, str]]:
    rows = build_triplets(store, result.build.build_id).to_pylist()
    return {(r["anchor"], r["positive"], r["negative"]) for r in rows if split in (None, r["split"])}


def test_every_positive_meets_every_negative_of_its_query(store: Store) -> None:
    result = build(store, fill(store, 4, positives=2, negatives=3), test_share=0)
    triplets = texts_of(store, result)
    assert len(triplets) == 4 * 2 * 3 == result.counts["triplets_train"]
    for anchor, positive, negative in triplets:
        assert positive.startswith("good")
        assert negative.startswith("bad")
        number = int(positive.split("of")[1].split("word")[0])
        assert anchor == question(number)
        assert f"of{number}word0 " in negative


def test_the_cap_uses_all_negatives_in_turn(store: Store) -> None:
    policy = fill(store, 1, positives=3, negatives=6)
    result = build(store, policy, test_share=0, negatives_per_positive=2)
    triplets = texts_of(store, result)
    assert len(triplets) == 6
    assert len({negative for _, _, negative in triplets}) == 6


def test_a_candidate_negative_that_people_call_positive_becomes_a_positive(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    cited, relevant, not_relevant = distinct("cited"), distinct("relevant"), distinct("not")
    log(store, "what?", [cited, relevant, not_relevant], cited=[cited])
    review(store, "what?", {cited: "yes", relevant: "yes", not_relevant: "no"})
    result = build(store, policy, test_share=0)
    assert texts_of(store, result) == {("what?", cited, not_relevant), ("what?", relevant, not_relevant)}
    assert (result.counts["promoted"], result.counts["demoted"]) == (1, 0)
    assert result.uncited.successes == 1
    assert result.uncited.trials == 2
    assert result.uncited.low < 0.5 < result.uncited.high


def test_a_cited_chunk_that_people_refuse_becomes_a_negative(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    cited, relevant = distinct("cited"), distinct("relevant")
    log(store, "what?", [cited, relevant], cited=[cited])
    review(store, "what?", {cited: "no", relevant: "yes"})
    result = build(store, policy, test_share=0)
    assert texts_of(store, result) == {("what?", relevant, cited)}
    assert (result.counts["promoted"], result.counts["demoted"]) == (1, 1)


def test_judge_labels_are_used_only_when_asked_and_never_over_a_person(store: Store) -> None:
    policy = fill(store, 1)
    query, seen, unseen = "what else?", distinct("seen"), distinct("unseen")
    log(store, query, [seen, unseen, distinct("cited")], cited=[distinct("cited")])
    review(store, query, {seen: "yes"})
    judge_id = judge(store, query, {seen: "no", unseen: "no"})
    without = build(store, policy, test_share=0)
    assert without.judge_labels == 0
    assert without.counts["judged_only"] == 1
    assert all(anchor != query for anchor, _, _ in texts_of(store, without))
    with_judge = build(store, policy, test_share=0, judge_labels=True, uncertified=True)
    assert with_judge.judge_labels == 1
    assert (query, seen, unseen) in texts_of(store, with_judge)
    assert with_judge.build.settings["judges"] == {judge_id: 1}
    assert with_judge.build.settings["reviewers"] == {"ann": 5}
    assert without.build.build_id != with_judge.build.build_id


def test_everything_left_out_is_counted_and_the_counts_add_up(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    good, bad, copy = distinct("good"), distinct("bad"), distinct("good").upper() + "!"
    names = ["twin", "spam", "unsure", "split", "discarded", "open", "judged"]
    twin, spam, unsure, disputed, discarded, unanswered, judged = (distinct(name) for name in names)
    chunks = [good, bad, copy, twin, spam, unsure, disputed, discarded, unanswered, judged]
    log(store, "what?", chunks, cited=[good], duplicates={twin: good})
    labels = {good: "yes", bad: "no", copy: "no", twin: "no", spam: "spam", unsure: "unsure", disputed: "no"}
    review(store, "what?", {**labels, discarded: None})
    review(store, "what?", {disputed: "yes"}, reviewer="bob")
    judge(store, "what?", {judged: "no"})
    counts = build(store, policy, test_share=0).counts
    assert {name: counts[name] for name in (*LEFT_OUT, "judged_only")} == {
        "guarded": 1,
        "duplicates": 1,
        "excluded": 2,
        "undecided": 2,
        "unreviewed": 2,
        "kept_from_training": 0,
        "judged_only": 1,
    }
    assert counts["candidates"] == sum(counts[name] for name in (*LEFT_OUT, *USED)) == 10


def test_a_flagged_duplicate_that_people_call_positive_is_one(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    good, twin, bad = distinct("good"), distinct("twin"), distinct("bad")
    log(store, "what?", [good, twin, bad], cited=[good], duplicates={twin: good})
    review(store, "what?", {twin: "yes", bad: "no"})
    assert texts_of(store, build(store, policy, test_share=0)) == {("what?", twin, bad)}


def test_a_positive_of_the_same_query_written_otherwise_is_no_negative(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    good, bad = distinct("good"), distinct("bad")
    log(store, "What is it?", [good, bad], cited=[good])
    log(store, "what is it", [good, bad], cited=[bad])
    review(store, "What is it?", {good: "yes", bad: "no"})
    review(store, "what is it", {good: "no"})
    result = build(store, policy, test_share=0)
    assert texts_of(store, result) == {("What is it?", good, bad)}
    assert result.counts["guarded"] == 1


def test_queries_without_a_positive_or_a_negative_give_labels_but_no_triplets(store: Store) -> None:
    policy = fill(store, 2)
    log(store, "only good?", [distinct("lonely")], cited=[distinct("lonely")])
    log(store, "only bad?", [distinct("poor")])
    review(store, "only good?", {distinct("lonely"): "yes"})
    review(store, "only bad?", {distinct("poor"): "no"})
    result = build(store, policy)
    assert (result.counts["without_positive"], result.counts["without_negative"]) == (1, 1)
    assert build_labels(store, result.build.build_id).num_rows == 10
    assert result.counts["queries"] == 4


def test_the_same_labels_give_the_same_build_and_later_reviews_leave_it_alone(store: Store) -> None:
    policy = fill(store, 6)
    first = build(store, policy)
    again = build(store, policy)
    assert first.is_new
    assert not again.is_new
    assert again.build == first.build == latest_build(store, policy.name)
    labels, triplets = (read(store, first.build.build_id) for read in (build_labels, build_triplets))
    query = question(0)
    review(store, query, {distinct("good0of", 0): "no", distinct("bad0of", 0): "yes"}, minute=5)
    changed = build(store, policy)
    assert changed.is_new
    assert changed.build.build_id != first.build.build_id
    for named in (first.build.build_id, first.build.build_id[:14], first.build.build_id[6:14]):
        assert get_build(store, named) == first.build
    assert build_labels(store, first.build.build_id) == labels
    assert build_triplets(store, first.build.build_id) == triplets
    assert build_labels(store, changed.build.build_id) != labels


def test_the_order_in_which_labels_came_does_not_matter(tmp_path: Path) -> None:
    ids = []
    for name, order in (("a", range(5)), ("b", reversed(range(5)))):
        with Store(tmp_path / name) as store:
            policy, _ = add_policy(store, POLICY)
            for i in order:
                good, bad = distinct("good", i), distinct("bad", i)
                log(store, question(i), [good, bad], cited=[good])
                review(store, question(i), {good: "yes", bad: "no"})
            ids.append(build(store, policy).build.build_id)
    assert ids[0] == ids[1]


def test_another_seed_splits_otherwise(store: Store) -> None:
    policy = fill(store, 12)
    splits = {frozenset(a for a, _, _ in texts_of(store, build(store, policy, seed=seed), "test")) for seed in range(5)}
    assert len(splits) > 1


def test_a_triplet_batch_is_never_lost_or_repeated(store: Store) -> None:
    result = build(store, fill(store, 5, positives=2), test_share=0)
    whole = build_triplets(store, result.build.build_id)
    for size in (1, 7, 30, 31):
        assert pa.concat_tables(triplet_batches(store, result.build.build_id, size=size)).equals(whole)


@pytest.mark.parametrize("share", [-0.1, 1.0, 3])
def test_a_test_share_out_of_range_is_refused(store: Store, share: float) -> None:
    with pytest.raises(UsageError, match="test share"):
        build(store, fill(store, 3), test_share=share)


def test_what_is_missing_is_named_with_the_next_command(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    with pytest.raises(MissingError, match="no candidates") as error:
        build(store, policy)
    assert error.value.hint == "uncited mine --policy answers"
    good, bad = distinct("good"), distinct("bad")
    log(store, "what?", [good, bad], cited=[good])
    judge(store, "what?", {bad: "no"})
    with pytest.raises(
        MissingError, match="1 have a judge's label; --judge-labels uses what is certified of those"
    ) as error:
        build(store, policy)
    assert error.value.hint == "uncited review push --policy answers"
    review(store, "what?", {bad: "no"})
    with pytest.raises(MissingError, match=r"0 have a positive, 1 a negative"):
        build(store, policy)
    review(store, "what?", {good: "yes"})
    with pytest.raises(InvalidDataError, match="form one group"):
        build(store, policy)
    assert build(store, policy, test_share=0).counts["triplets_train"] == 1


def test_labels_know_their_judge_and_reviewers(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    log(store, "what?", ["a", "b"], cited=["a"])
    review(store, "what?", {"a": "yes"}, reviewer="zoe")
    review(store, "what?", {"a": "yes"}, reviewer="bob")
    judge_id = judge(store, "what?", {"a": "no", "b": "no"})
    rows = {row["chunk"]: row for row in labelled_candidates(store, policy).to_pylist()}
    assert (rows["a"]["reviewers"], rows["a"]["judge_id"], rows["a"]["label"]) == (["bob", "zoe"], None, "yes")
    assert (rows["b"]["reviewers"], rows["b"]["judge_id"], rows["b"]["label"]) == ([], judge_id, "no")


# Splits


def grouped(
    queries: dict[str, str], positives: dict[str, list[str]], chunks: dict[str, str], documents: dict[str, list[str]]
) -> set[frozenset[str]]:
    found = split_groups(alike_queries(queries), positives, alike_chunks(chunks), documents)
    members = defaultdict(set)
    for anchor, group in found.of.items():
        members[group].add(anchor)
    assert all(group == min(anchors) for group, anchors in members.items())
    return {frozenset(anchors) for anchors in members.values()}


def test_queries_hang_together_by_wording_and_by_positives() -> None:
    copy = distinct("x") + " more"
    queries = {
        "a": "how to sort a dataframe by column",
        "b": "How to sort dataframe by column?",
        "c": "one",
        "d": "two",
    }
    queries |= {"e": "three", "f": "four", "g": "five"}
    chunks = {"p": distinct("p"), "q": distinct("q"), "x": distinct("x"), "copy": copy, "y": distinct("y")}
    positives = {"b": ["p"], "c": ["p", "q"], "d": ["x"], "e": ["copy"], "f": ["y"]}
    assert similarity(chunks["x"], copy) >= NEAR_DUPLICATE
    assert grouped(queries, positives, chunks, {}) == {
        frozenset("abc"),
        frozenset("de"),
        frozenset("f"),
        frozenset("g"),
    }


def test_documents_hold_together_unless_they_are_categories() -> None:
    names = [f"a{i:02}" for i in range(40)]
    queries = {name: question(i) for i, name in enumerate(names)}
    chunks = {f"p{name}": distinct("pos", i) for i, name in enumerate(names)}
    positives = {name: [f"p{name}"] for name in names}
    documents = {f"p{name}": ["DataFrame"] for name in names[:30]}
    documents |= {f"p{name}": ["DataFrame", "tutorial"] for name in names[:3]}
    found = split_groups(alike_queries(queries), positives, alike_chunks(chunks), documents)
    assert found.unlinked_documents == {"DataFrame": 30}
    assert len(set(found.of.values())) == 38
    assert {found.of[name] for name in names[:3]} == {"a00"}


def test_a_document_in_both_splits_is_said_in_the_result(store: Store) -> None:
    policy, _ = add_policy(store, POLICY)
    for i in range(20):
        good, bad = distinct("good", i), distinct("bad", i)
        log(store, question(i), [good, bad], cited=[good], documents={good: "everything"})
        review(store, question(i), {good: "yes", bad: "no"})
    result = build(store, policy)
    assert result.counts["documents_in_both"] == 1
    assert result.build.settings["unlinked_documents"] == {"everything": 20}
    assert result.counts["groups"] == 20


def test_a_train_negative_that_a_test_query_is_to_find_is_kept_from_training(store: Store) -> None:
    policy = fill(store, 10)
    held_back = sorted({positive for _, positive, _ in texts_of(store, build(store, policy), "test")})
    trained_on = sorted({anchor for anchor, _, _ in texts_of(store, build(store, policy), "train")})
    near = held_back[0] + " indeed"
    log(store, trained_on[0], [near], cited=[])
    review(store, trained_on[0], {near: "no"})
    result = build(store, policy)
    assert trained_on[0] in {anchor for anchor, _, _ in texts_of(store, result, "train")}
    assert near not in {negative for _, _, negative in texts_of(store, result)}
    assert result.counts["kept_from_training"] == 1


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=40),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 5),
)
def test_the_split_is_balanced_and_neither_side_is_empty(sizes: list[int], share: float, seed: int) -> None:
    groups = {f"a{i}-{j}": f"g{i}" for i, size in enumerate(sizes) for j in range(size)}
    splits = assign_splits(groups, set(groups), test_share=share, seed=seed)
    tested = sum(splits[group] == "test" for group in groups.values())
    assert 0 < tested < len(groups)
    assert abs(tested - share * len(groups)) <= max(sizes)
    assert splits == assign_splits(dict(reversed(groups.items())), set(groups), test_share=share, seed=seed)


def test_a_new_query_moves_few_of_the_others() -> None:
    before = {f"anchor_{i}": f"anchor_{i}" for i in range(200)}
    after = before | {f"new_{i}": f"new_{i}" for i in range(10)}
    one = assign_splits(before, set(before), test_share=0.3, seed=0)
    two = assign_splits(after, set(after), test_share=0.3, seed=0)
    assert sum(one[group] != two[group] for group in before) <= 10


# Alike


words = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=14).map(" ".join)


def pairs(found: Alike, texts: dict[str, str]) -> set[tuple[str, str]]:
    return {(one, two) for one, two in itertools.permutations(texts, 2) if found.any_alike(one, [two])}


@given(st.lists(words, min_size=2, max_size=12))
@settings(max_examples=150)
def test_alike_chunks_are_those_whose_similarity_reaches_the_threshold(texts: list[str]) -> None:
    named = {f"t{i}": text for i, text in enumerate(texts)}
    expected = {
        (one, two)
        for one, two in itertools.permutations(named, 2)
        if similarity(named[one], named[two]) >= NEAR_DUPLICATE
    }
    assert pairs(alike_chunks(named), named) == expected


@given(st.lists(st.text("abcd ", max_size=12), min_size=2, max_size=12))
@settings(max_examples=150)
def test_alike_queries_are_those_that_share_their_trigrams(texts: list[str]) -> None:
    def same(one: str, two: str) -> bool:
        left, right = query_trigrams(normalised(one)), query_trigrams(normalised(two))
        return normalised(one) == normalised(two) or len(left & right) / len(left | right) >= NEAR_QUERY

    named = {f"t{i}": text for i, text in enumerate(texts)}
    expected = {(one, two) for one, two in itertools.permutations(named, 2) if same(named[one], named[two])}
    assert pairs(alike_queries(named), named) == expected
    across = {(one, two) for one, two in itertools.product(named, repeat=2) if same(named[one], named[two])}
    assert set(queries_like_chunks(named, named)) == across


@pytest.mark.parametrize(
    ("one", "two", "alike"),
    [
        ("How can I drop duplicate rows?", "how can i drop duplicate row", True),
        ("symptoms of the flu", "symptoms of flu", True),
        ("what is the capital of France", "what is the capital of Spain", False),
        ("How do I read a CSV file?", "How do I read an Excel file?", False),
        ("I love coffee", "I hate coffee", False),
    ],
)
def test_queries_are_alike_when_they_ask_the_same(one: str, two: str, alike: bool) -> None:
    assert alike_queries({"1": one, "2": two}).any_alike("1", ["2"]) is alike


# The whole, under any labelling

QUERIES = ["what is it", "What is it?", "who goes there", "when was that", "how so", "whither"]
SHARED = [distinct("shared", 0), distinct("shared", 0).upper() + "!", distinct("shared", 1)]
ANSWERS = st.sampled_from([None, "yes", "no", "no", "unsure"])


def retrieved_for(number: int) -> list[str]:
    own = distinct("own", number)
    return [own, own + " indeed", distinct("other", number), *SHARED]


@pytest.mark.slow
@given(
    reviewed=st.lists(st.lists(ANSWERS, min_size=6, max_size=6), min_size=3, max_size=len(QUERIES)),
    judged=st.lists(ANSWERS, min_size=6, max_size=6),
    judge_labels=st.booleans(),
    shared_chunks=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_under_any_labelling_nothing_leaks_and_no_negative_is_a_positive(
    tmp_path_factory: pytest.TempPathFactory,
    reviewed: list[list[str | None]],
    judged: list[str | None],
    judge_labels: bool,
    shared_chunks: bool,
) -> None:
    asked = {"judge_labels": judge_labels, "uncertified": judge_labels, "shared_chunks": shared_chunks}
    with Store(tmp_path_factory.mktemp("any") / "uncited.duckdb") as store:
        policy, _ = add_policy(store, POLICY)
        for i, answers in enumerate(reviewed):
            chunks = retrieved_for(i)
            log(store, QUERIES[i], chunks, cited=chunks[:1])
            review(store, QUERIES[i], {chunk: a for chunk, a in zip(chunks, answers, strict=True) if a})
            judge(store, QUERIES[i], {chunk: a for chunk, a in zip(chunks, judged, strict=True) if a})
        try:
            result = build(store, policy, **asked)
        except (MissingError, InvalidDataError):
            return
        assert not build(store, policy, **asked).is_new
        rows = build_labels(store, result.build.build_id).to_pylist()
        triplets = build_triplets(store, result.build.build_id).to_pylist()
        assert result.counts["candidates"] == sum(result.counts[name] for name in (*LEFT_OUT, *USED))
        positives = defaultdict(set)
        for row in rows:
            if row["role"] == "positive":
                positives[normalised(row["anchor"])].add(row["chunk"])
        for t in triplets:
            own = positives[normalised(t["anchor"])]
            assert t["positive"] in own
            assert all(similarity(t["negative"], good) < NEAR_DUPLICATE for good in own)
        _assert_parted(rows, triplets, shared_chunks)


def _assert_parted(rows: list[dict[str, str]], triplets: list[dict[str, str]], shared_chunks: bool) -> None:
    """No test query, and no chunk of one, stands in training, neither exactly nor nearly; where chunks may be shared,
    none that a test query is to find."""
    split_of = {row["anchor"]: row["split"] for row in rows}
    asked = {split: {anchor for anchor, found in split_of.items() if found == split} for split in ("train", "test")}
    assert all(split_of[t["anchor"]] == t["split"] for t in triplets)
    for one, two in itertools.product(asked["train"], asked["test"]):
        assert not alike_queries({"1": one, "2": two}).any_alike("1", ["2"])
    tested = {
        row["chunk"] for row in rows if row["split"] == "test" and (row["role"] == "positive" or not shared_chunks)
    }
    trained_on = {t[side] for t in triplets if t["split"] == "train" for side in ("positive", "negative")}
    trained_on |= {row["chunk"] for row in rows if row["split"] == "train"}
    for one, two in itertools.product(tested, trained_on):
        assert similarity(one, two) < NEAR_DUPLICATE
    groups = defaultdict(set)
    for row in rows:
        groups[row["split_group"]].add(row["split"])
    assert all(len(splits) == 1 for splits in groups.values())


def test_ids_in_a_build_are_those_of_the_texts(store: Store) -> None:
    result = build(store, fill(store, 2), test_share=0)
    for row in build_triplets(store, result.build.build_id).to_pylist():
        assert row["anchor_id"] == anchor_id(row["anchor"])
        assert row["positive_id"] == chunk_id(row["positive"])
    for row in build_labels(store, result.build.build_id).to_pylist():
        assert row["pair_id"] == pair(row["anchor"], row["chunk"])
