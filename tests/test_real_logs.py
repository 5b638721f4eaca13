"""The main job on real RAG logs: TREC RAG 2024 topics, what was retrieved for them, what real answers cited."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labeling.judge import judge_candidates
from labeling.local_argilla import Server
from labeling.policies import load_policy
from labeling.review import submit_reviews
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from mining.candidates import mine
from mining.import_log import import_files
from store.builds import build_triplets
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import log_counts
from store.labels import labelled_candidates
from store.policies import Policy, add_policy
from store.workspace import JudgeSettings
from tests.judge_stub import Call, Response, labelled, serving
from tests.reviewing import TARGETED_ONLY, connected
from train import trainer
from train.export import export
from train.recipe import Recipe
from train.rows import read_training_split
from train.statistics import clopper_pearson
from train.triplets import build

if TYPE_CHECKING:
    from argilla import Argilla

POLICY = """\
name: real-logs
anchor: a question that a user asked
candidate: a passage that the search retrieved
question: Does the passage answer the question, at least in part?
labels:
  - {name: answers, meaning: it has a correct answer or an essential part of one, role: positive}
  - {name: does-not-answer, meaning: nothing in it answers the question, role: negative}
signals: {cited: answers}
"""
RELEVANT = 2  # NIST grades run from 0 to 3


def grades_by_pair(folder: Path) -> Mapping[str, int]:
    """NIST's grade of every pair that was graded, by pair id."""
    texts, queries = {}, {}
    for line in (folder / "interactions.jsonl").open(encoding="utf-8"):
        logged = json.loads(line)
        queries[logged["query_id"]] = logged["query"]
        texts.update({chunk["chunk_id"]: chunk["text"] for chunk in logged["retrieved"]})
    graded = map(json.loads, (folder / "qrels.jsonl").open(encoding="utf-8"))
    return {
        pair_id(anchor_id(queries[g["query_id"]]), chunk_id(texts[g["chunk_id"]])): g["grade"]
        for g in graded
        if g["query_id"] in queries and g["chunk_id"] in texts
    }


def scripted_judge(call: Call) -> Response:
    """A lenient judge: whatever shares a long word with the query answers it; quotes the first words."""
    words = {word.strip("?.,").lower() for word in call.texts["anchor"].split()}
    chunk = call.texts["candidate"]
    shared = {word for word in words if len(word) > 5 and word in chunk.lower()}
    return labelled("answers" if shared else "does-not-answer", quote=chunk[:40])


@pytest.mark.slow
def test_real_logs_become_triplets_that_people_have_checked(
    real_logs: Path,
    argilla_server: Server,
    client: "Argilla",
    store: Store,
    minilm: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = real_logs / "crowdrag25"
    grades = grades_by_pair(folder)
    imported = import_files(store, [folder / "interactions.jsonl"])
    assert (imported.interactions, imported.rejected) == (258, 0)
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy, _ = add_policy(store, load_policy(tmp_path / "policy.yaml"))
    mined = {source.source: source for source in mine(store, policy).sources}
    logged = [json.loads(line) for line in (folder / "interactions.jsonl").open(encoding="utf-8")]
    counts = log_counts(store)
    assert counts.retrievals == sum(len(line["retrieved"]) for line in logged)
    assert counts.cited == sum(texts_cited(line) for line in logged)
    assert mined["uncited"].pairs + mined["cited"].pairs <= counts.retrievals

    with serving(scripted_judge) as stub:
        settings = JudgeSettings(model="stub", base_url=stub.url, concurrency=32)
        judged = judge_candidates(store, policy, settings, {})
        assert judged.remaining == 0
        assert judged.judged == len(stub.calls) == len({call.body["messages"][-1]["content"] for call in stub.calls})
        assert judge_candidates(store, policy, settings, {}).judged == 0
        assert len(stub.calls) == judged.judged, "nothing is asked twice"

    answers = reviews_from_grades(store, policy, grades)
    pushed = push_reviews(store, policy, client, TARGETED_ONLY)
    assert pushed.new == judged.judged
    assert push_reviews(store, policy, client, TARGETED_ONLY).unchanged == pushed.new
    with connected(argilla_server, "nist") as reviewer:
        assert submit_reviews(reviewer, policy, answers) == len(answers)
    assert pull_reviews(store, policy, client, TARGETED_ONLY).new == len(answers)
    assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 0

    built = build(store, policy)
    manifest = export(store, built.build, tmp_path / "export")
    recipe = Recipe(base_model=minilm, batch_size=4, max_steps=2)
    trained = trainer.train(read_training_split(store, built.build), recipe, out=tmp_path / "model")
    assert (tmp_path / "export" / "train.jsonl").exists()
    assert manifest.body
    assert trained.run["steps"] == 2

    naive, exported = negatives_that_are_relevant(store, policy, grades, built.build.build_id)
    with capsys.disabled():
        print(
            f"\nrelevant among naive negatives (all uncited, graded): {naive.successes} of {naive.trials}"
            f" = {naive.value:.1%} ({naive.low:.1%} to {naive.high:.1%})"
        )
        print(
            f"relevant among exported negatives (graded):           {exported.successes} of {exported.trials}"
            f" = {exported.value:.1%} ({exported.low:.1%} to {exported.high:.1%})"
        )
    assert naive.value > 0.3, "on these logs about half of the uncited chunks are relevant"
    assert exported.trials > 50
    assert exported.successes == 0


def texts_cited(line: Mapping[str, Any]) -> int:
    """Count the retrieved chunks whose text was cited; one text may stand there under two ids."""
    cited = {chunk["text"] for chunk in line["retrieved"] if chunk["chunk_id"] in line["cited"]}
    return sum(chunk["text"] in cited for chunk in line["retrieved"])


def reviews_from_grades(store: Store, policy: Policy, grades: Mapping[str, int]) -> dict[str, str]:
    """Answer every second graded candidate as its grade says."""
    candidates = labelled_candidates(store, policy).to_pylist()
    asked = [row["pair_id"] for row in candidates if row["pair_id"] in grades and not row["duplicate_of"]][::2]
    return {pair: "answers" if grades[pair] >= RELEVANT else "does-not-answer" for pair in asked}


def negatives_that_are_relevant(store: Store, policy: Policy, grades: Mapping[str, int], build_id: str):  # noqa: ANN201
    """The share of relevant chunks among all uncited chunks, and among the negatives of the triplets."""
    uncited = [
        grades[row["pair_id"]]
        for row in labelled_candidates(store, policy).to_pylist()
        if row["proposed"] == "negative" and row["pair_id"] in grades
    ]
    triplets = build_triplets(store, build_id).to_pylist()
    pairs = {pair_id(row["anchor_id"], row["negative_id"]) for row in triplets}
    taken = [grades[pair] for pair in pairs if pair in grades]
    return tuple(clopper_pearson(sum(g >= RELEVANT for g in found), len(found)) for found in (uncited, taken))
