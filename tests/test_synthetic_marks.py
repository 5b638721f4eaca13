"""What a model wrote is told apart from what was logged, wherever it is counted, split or measured."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from store.candidates import Candidate, put_candidates
from store.database import Store
from store.example_sets import people_labelled
from store.generations import Generation, add_generations
from store.ids import anchor_id, chunk_id
from store.policies import Policy
from store.status import workspace_status
from store.synthetic import SYNTHETIC, Purpose, Question, Retrieval, RoundTrip, add_questions, put_round_trips
from tests import labelled_store
from tests.labelled_store import distinct, fill, pair, question, review
from train.export import export
from train.held_out import read_held_out
from train.triplets import build


def write(store: Store, policy: Policy, query: str, chunk: str, purpose: Purpose) -> None:
    """Store a question that a model wrote about a chunk, accepted, as `uncited synthesize` does."""
    generation = Generation(
        request_id="request_1",
        prompt_id="prompt_1",
        writer="{}",
        policy_name=policy.name,
        labelling_fingerprint=policy.labelling_fingerprint,
        purpose=purpose,
        chunk_id=chunk_id(chunk),
        persona="p",
        difficulty="easy",
        prompt_characters=1,
        generated_at=datetime(2026, 1, 1, tzinfo=UTC),
        raw_answer=json.dumps([query]),
    )
    add_generations(store, [generation])
    add_questions(store, [Question(generation.generation_id, 1, anchor_id(query), query)])
    with store.transaction():
        put_round_trips(store, policy.name, [RoundTrip(anchor_id(query), Retrieval(20, 1), "yes", None)])
        put_candidates(store, policy.name, [Candidate(anchor_id(query), chunk_id(chunk), SYNTHETIC, "positive")])


def write_and_review(store: Store, policy: Policy, number: int, purpose: Purpose, chunk: str | None = None) -> str:
    """Add a written question with a positive and three negatives, all reviewed; return the question."""
    query = question(number)
    texts = [chunk or distinct("written", number), *(distinct(f"beside{place}", number) for place in range(3))]
    labelled_store.log(store, f"{question(number)} logged", texts)  # so that the chunks are known
    write(store, policy, query, texts[0], purpose)
    others = [Candidate(anchor_id(query), chunk_id(text), "bm25", "negative", rank=2) for text in texts[1:]]
    put_candidates(store, policy.name, others)
    review(store, query, {text: "yes" if text == texts[0] else "no" for text in texts})
    return query


@pytest.fixture
def policy(store: Store) -> Policy:
    return fill(store, 8)


def splits(store: Store, build_id: str) -> dict[str, str]:
    rows = store.rows(
        """
        SELECT DISTINCT anchors.text AS query, split FROM build_labels JOIN pairs USING (pair_id)
        JOIN anchors USING (anchor_id) WHERE build_id = ?
        """,
        [build_id],
    )
    return {str(row["query"]): str(row["split"]) for row in rows}


def test_questions_for_evaluation_are_tested_on_only_and_the_others_never(store: Store, policy: Policy) -> None:
    for_test = [write_and_review(store, policy, 100 + n, "evaluation") for n in range(4)]
    for_training = [write_and_review(store, policy, 200 + n, "training") for n in range(4)]
    for_examples = [write_and_review(store, policy, 300 + n, "few-shot") for n in range(4)]
    for share in (0.0, 0.9):
        for seed in range(2):
            found = splits(store, build(store, policy, test_share=share, seed=seed).build.build_id)
            assert {found[query] for query in for_test} == {"test"}
            assert {found[query] for query in for_training + for_examples} == {"train"}


def test_a_document_does_not_draw_training_questions_into_the_test(store: Store, policy: Policy) -> None:
    for number, purpose in ((100, "evaluation"), (200, "training")):
        text = distinct("written", number)
        labelled_store.log(store, f"of one document {number}", [text], documents={text: "manual"})
        write_and_review(store, policy, number, purpose)
    made = build(store, policy)
    found = splits(store, made.build.build_id)
    assert (found[question(100)], found[question(200)]) == ("test", "train")
    assert made.build.settings["unlinked_documents"] == {"manual": 2}


def test_where_a_positive_ties_them_together_the_test_question_is_left_out(store: Store, policy: Policy) -> None:
    shared = distinct("shared")
    write_and_review(store, policy, 100, "evaluation")
    write_and_review(store, policy, 101, "evaluation", shared)
    write_and_review(store, policy, 200, "training")
    put_candidates(store, policy.name, [Candidate(anchor_id(question(200)), chunk_id(shared), "bm25", "negative")])
    review(store, question(200), {shared: "yes"})
    made = build(store, policy)
    found = splits(store, made.build.build_id)
    assert question(101) not in found
    assert (found[question(100)], found[question(200)]) == ("test", "train")
    counts = made.counts
    assert counts["synthetic_left_out"] == 4
    left_out = ("guarded", "duplicates", "excluded", "undecided", "unreviewed", "synthetic_left_out")
    labels = [f"{who}_{role}" for who in ("human", "judge") for role in ("positives", "negatives")]
    assert counts["candidates"] == sum(counts[name] for name in [*left_out, *labels])


def test_a_build_counts_them_apart_and_one_without_them_says_nothing_of_them(store: Store, policy: Policy) -> None:
    assert not [name for name in build(store, policy).counts if name.startswith("synthetic")]
    write_and_review(store, policy, 100, "evaluation")
    write_and_review(store, policy, 200, "training")
    counts = build(store, policy).counts
    told = {name: counts[name] for name in counts if name.startswith("synthetic")}
    assert told == {
        "synthetic_queries": 2,
        "synthetic_labels": 8,
        "synthetic_triplets_train": 3,
        "synthetic_triplets_test": 3,
        "synthetic_left_out": 0,
    }


def test_the_test_set_knows_which_of_its_queries_a_model_wrote(store: Store, policy: Policy) -> None:
    written = write_and_review(store, policy, 100, "evaluation")
    test = read_held_out(store, build(store, policy).build)
    assert test.synthetic == {anchor_id(written)}
    assert len(test.queries) > 1


@pytest.mark.slow
def test_evaluation_measures_them_apart(store: Store, policy: Policy, minilm: str) -> None:
    from train.evaluate import compare

    for number in range(3):
        write_and_review(store, policy, 100 + number, "evaluation")
    test = read_held_out(store, build(store, policy).build)
    found = compare(test, {"base": minilm, "tuned": minilm})
    assert found.synthetic is not None
    assert found.synthetic.queries == 3
    assert found.collection.queries == len(test.queries) - 3
    only = test._replace(synthetic=frozenset())
    assert compare(only, {"base": minilm, "tuned": minilm}).collection.queries == len(test.queries)


def test_status_tells_them_apart(store: Store, policy: Policy) -> None:
    before = workspace_status(store)
    assert before.synthetic == ()
    write_and_review(store, policy, 100, "evaluation")
    after = workspace_status(store)
    assert after.policies[0].synthetic == 4
    assert [(count.purpose, count.accepted) for count in after.synthetic] == [("evaluation", 1)]
    assert after.log.anchors == before.log.anchors + 1, "the log's queries, without those that a model wrote"


def test_the_mark_stays_when_the_question_is_logged_later(store: Store, policy: Policy) -> None:
    query = write_and_review(store, policy, 100, "evaluation")
    labelled_store.log(store, query, [distinct("new")], cited=[distinct("new")])
    review(store, query, {distinct("new"): "yes"})
    made = build(store, policy)
    assert splits(store, made.build.build_id)[query] == "test"
    assert made.counts["synthetic_queries"] == 1
    assert pair(query, distinct("new")) in {str(row["pair_id"]) for row in store.rows("FROM build_labels")}


def test_only_questions_written_for_examples_may_be_examples_and_only_when_people_labelled_them(
    store: Store, policy: Policy
) -> None:
    shown = write_and_review(store, policy, 300, "few-shot")
    hidden = [write_and_review(store, policy, 100, "evaluation"), write_and_review(store, policy, 200, "training")]
    judged_only = question(301)
    labelled_store.log(store, "another", [distinct("written", 301)])
    write(store, policy, judged_only, distinct("written", 301), "few-shot")
    labelled_store.judge(store, judged_only, {distinct("written", 301): "yes"})
    anchors = {found.anchor for found in people_labelled(store, policy)}
    assert shown in anchors
    assert not anchors & {*hidden, judged_only}


def test_an_export_names_them(store: Store, policy: Policy, tmp_path: Path) -> None:
    plain = export(store, build(store, policy).build, tmp_path / "plain")
    assert "synthetic" not in plain.body
    for_test = write_and_review(store, policy, 100, "evaluation")
    for_training = write_and_review(store, policy, 200, "training")
    told = export(store, build(store, policy).build, tmp_path / "told").body["synthetic"]
    assert isinstance(told, list)
    assert {(row["query"], row["purpose"], row["split"]) for row in told} == {
        (for_test, "evaluation", "test"),
        (for_training, "training", "train"),
    }
