import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import uncited
from mining.import_log import import_files
from store.errors import MissingError
from store.interactions import log_counts
from store.labels import labelled_candidates
from store.reviews import Review, add_reviews
from store.workspace import create_workspace
from tests.reviewing import fill
from train.triplets import build

CHUNKS = [{"chunk_id": "a", "text": "first"}, {"chunk_id": "b", "text": "second", "score": 0.5}]


def test_what_an_application_logs_can_be_imported(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for query in ("one?", "zwei? ü\u2028"):
        uncited.log(file, query, retrieved=CHUNKS, cited=["a"], answer="because", query_id=query)
    with uncited.open(create_workspace(tmp_path / "w").root) as store:
        assert import_files(store, [file]).interactions == 2
        counts = log_counts(store)
    assert (counts.chunks, counts.retrievals, counts.cited) == (2, 4, 2)


def log_many(file: Path, process: int) -> None:
    for number in range(50):
        uncited.log(file, f"{process}-{number}?", retrieved=[{"chunk_id": "a", "text": "x" * 20_000}], cited=[])


def test_processes_that_log_to_one_file_tear_no_line(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    workers = [multiprocessing.get_context("spawn").Process(target=log_many, args=(file, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    queries = {json.loads(line)["query"] for line in file.read_text(encoding="utf-8").splitlines()}
    assert len(queries) == 150


def test_a_build_loads_as_a_dataset_of_anchor_positive_negative(tmp_path: Path) -> None:
    root = create_workspace(tmp_path / "w").root
    with uncited.open(root) as store:
        policy = fill(store)
        reviews = [
            Review(
                pair_id=row["pair_id"],
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer="ann",
                status="submitted",
                label="answers" if row["proposed"] == "positive" else "related",
                stream="targeted",
                reviewed_at=datetime(2026, 1, 1, tzinfo=UTC),
                origin="test",
            )
            for row in labelled_candidates(store, policy).to_pylist()
        ]
        add_reviews(store, reviews)
        triplets = build(store, policy, test_share=0.4).counts
    dataset = uncited.load_build(root, policy=policy.name)
    assert dataset["train"].column_names == ["anchor", "positive", "negative"]
    assert dataset["train"].num_rows == triplets["triplets_train"] > 0
    assert dataset["test"].num_rows == triplets["triplets_test"] > 0


def test_a_build_that_is_not_there_is_missing(tmp_path: Path) -> None:
    root = create_workspace(tmp_path / "w").root
    with pytest.raises(MissingError, match="no build"):
        uncited.load_build(root, policy="answers")
    with pytest.raises(MissingError, match="not an uncited workspace"):
        uncited.open(tmp_path / "nowhere")
