"""Several builds in one run: batches of one task, rows as often as their weight says, and no test that leaks."""

import dataclasses
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.builds import build_labels
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.errors import UsageError
from store.ids import anchor_id, chunk_id
from store.policies import add_policy
from tests.labelled_store import POLICY, distinct, fill, pair, question, review_pairs
from tests.training import split_of
from train import trainer
from train.batches import Meets, Task, apart_sampler
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.tasks import read_training_splits, rows_of_all, without
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")


def named(policy: str, count: int, *, synthetic: int = 0) -> TrainingSplit:
    """Make the split of a policy, some of whose questions a model wrote."""
    split = split_of([(f"{policy} {i}{i}{i}?", f"yes {policy} {i}", f"no {policy} {i}") for i in range(count)])
    written = {f"{policy} {i}{i}{i}?" for i in range(synthetic)}
    column = pa.array([text in written for text in split.labels["anchor"].to_pylist()])
    labels = split.labels.set_column(split.labels.column_names.index("synthetic"), "synthetic", column)
    told = {"name": policy, "version": 1, "question": "Is it?", "labelling_fingerprint": "f"}
    nothing = {"build_id": "build_1", "labels": [], "reviewers": 0, "judges": [], "certificates": []}
    provenance = {**nothing, "policy": told, "uncertified": False, "synthetic_queries": synthetic}
    return dataclasses.replace(split, labels=labels, provenance=provenance)


def recipe(**weights: float) -> Recipe:
    return Recipe(base_model="m", weights=tuple(weights.items())).complete()


def test_each_policy_is_a_task_and_so_is_what_a_weight_names() -> None:
    rows = rows_of_all([named("taste", 4, synthetic=1), named("topic", 3)], recipe(topic=2, synthetic=0.5))
    found = {task.name: (len(task.rows), task.weight) for task in rows.tasks}
    assert found == {"taste": (3, 1.0), "taste, synthetic": (1, 0.5), "topic": (3, 2.0)}
    assert sorted(place for task in rows.tasks for place in task.rows) == list(range(7))
    assert rows.seen == 9.5
    (only, *none) = rows_of_all([named("taste", 4, synthetic=1)], recipe(synthetic=0)).tasks
    assert (only.name, len(only.rows), none) == ("taste", 3, [])


def test_a_weight_for_what_is_not_there_and_weights_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="'judge'; there are human, taste, text"):
        rows_of_all([named("taste", 2)], recipe(judge=2))
    with pytest.raises(UsageError, match="every weight is zero"):
        rows_of_all([named("taste", 2)], recipe(human=0))
    for wrong in ({"human": -1.0}, {"human": float("nan")}):
        with pytest.raises(UsageError, match="zero or more"):
            recipe(**wrong)


@settings(deadline=None)  # the first example imports torch
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=4, max_size=4),
    size=st.integers(1, 4),
)
def test_a_batch_holds_one_task_and_epochs_show_rows_as_often_as_weighed(
    sizes: list[int], weights: list[float], size: int
) -> None:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    tasks = [
        Task(str(i), tuple(range(start, start + count)), weights[i])
        for i, (start, count) in enumerate(zip(starts, sizes, strict=True))
    ]
    total = sum(sizes)
    sampler = apart_sampler([Meets(frozenset(), frozenset())] * total, tasks)(
        range(total), batch_size=size, drop_last=False, seed=0
    )
    task_of = {row: task for task in tasks for row in task.rows}
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(len({task_of[row].name for row in batch}) == 1 for batch in batches)
    seen = Counter(row for batch in batches for row in batch)
    for task in tasks:
        if task.weight >= 1:
            assert {seen[row] for row in task.rows} == {int(task.weight)}
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert len(list(sampler)) == len(batches)


def test_what_one_build_tests_with_is_trained_on_by_none(store: Store) -> None:
    other = dataclasses.replace(POLICY, name="taste", question="Does the passage taste of the question?")
    builds = [build(store, fill(store, 12), seed=0).build]
    policy, _ = add_policy(store, other)
    for i in range(12):
        chunks = {distinct("good0of", i): "no"} | {distinct(f"bad{k}of", i): "yes" for k in range(3)}
        ids = [(anchor_id(question(i)), chunk_id(text)) for text in chunks]
        put_candidates(store, "taste", [Candidate(*key, "uncited", "negative", "interaction_1", 1) for key in ids])
        review_pairs(store, policy, {pair(question(i), text): label for text, label in chunks.items()})
    builds.append(build(store, policy, seed=5, test_share=0.5).build)
    splits = read_training_splits(store, builds)
    for mine, others in ((0, 1), (1, 0)):
        tested = [row for row in build_labels(store, builds[others].build_id).to_pylist() if row["split"] == "test"]
        assert {row["anchor_id"] for row in tested}.isdisjoint(splits[mine].triplets["anchor_id"].to_pylist())
        assert {row["chunk_id"] for row in tested}.isdisjoint(splits[mine].labels["chunk_id"].to_pylist())
    assert sum(int(str(split.provenance["left_out_for_other_tests"])) for split in splits) > 0


def test_a_song_that_a_test_asks_about_is_no_chunk_of_the_other_builds_either() -> None:
    songs = split_of([("Blue", "Red", "Green"), ("Green", "Yellow", "White"), ("Pink", "Black", "Brown")])
    kept = without(songs, {"anchor_1": " RED "}, {"chunk_1": "pink"})
    assert kept.triplets["anchor"].to_pylist() == ["Green"]
    assert set(kept.labels["anchor"].to_pylist()) == {"Blue", "Green"}
    assert set(kept.labels["chunk"].to_pylist()) == {"Green", "Yellow", "White"}
    assert without(songs, {}, {}) is songs


def test_one_run_learns_of_several_policies_and_says_how_much_of_each(minilm: str, tmp_path: Path) -> None:
    splits = [named("taste", 6, synthetic=2), named("topic", 4)]
    weighed = Recipe(base_model=minilm, batch_size=2, weights=(("taste", 2.0), ("synthetic", 0.5)))
    run = trainer.train(splits, weighed, out=tmp_path / "model").run
    assert [build["policy"]["name"] for build in run["builds"]] == ["taste", "topic"]
    found = {task["name"]: (task["rows"], task["weight"]) for task in run["tasks"]}
    assert found == {"taste": (4, 2.0), "taste, synthetic": (2, 1.0), "topic": (4, 1.0)}
    assert run["steps"] == 4 + 1 + 2
    assert not trainer.train(splits, weighed, out=tmp_path / "model").is_new
