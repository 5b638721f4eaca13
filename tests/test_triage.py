"""Triage with the real all-MiniLM-L6-v2: an order, not a label."""

from pathlib import Path

import pytest

from labeling.triage import sentences, triage_candidates
from store.database import Store
from store.errors import MissingError
from tests.judging import POLICY, put_pairs

CHUNKS = [
    "Sort the rows of a table by a column.",  # cited
    "The weather was fine. Query number 0 asks how queries are numbered. Bread is baked in an oven.",
    "Bread is baked in an oven. Butter is churned from cream. The weather was fine.",
]


def scores(store: Store) -> dict[str, float]:
    found = store.rows(
        "SELECT chunks.text AS text, score FROM triage_scores JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)"
        " JOIN anchors USING (anchor_id) WHERE anchors.text = 'query 0'"
    )
    return {str(row["text"]): float(str(row["score"])) for row in found}


def test_the_best_sentence_of_a_chunk_decides(store: Store, minilm: str) -> None:
    policy = put_pairs(store, anchors=2, chunks=CHUNKS)
    result = triage_candidates(store, policy, model=minilm)
    assert result.scored == 6
    by_chunk = scores(store)
    assert by_chunk[CHUNKS[1]] > by_chunk[CHUNKS[2]] + 0.2
    assert all(-1 <= score <= 1 for score in by_chunk.values())
    assert store.count("SELECT count(*) FROM judgments") == 0


def test_what_has_been_scored_is_not_scored_again_and_the_scores_do_not_depend_on_the_rest(
    store: Store, minilm: str, tmp_path: Path
) -> None:
    policy = put_pairs(store, anchors=1, chunks=CHUNKS[:2])
    assert triage_candidates(store, policy, model=minilm).scored == 2
    put_pairs(store, anchors=1, chunks=CHUNKS)
    assert triage_candidates(store, policy, model=minilm).scored == 1
    assert triage_candidates(store, policy, model=minilm).scored == 0
    with Store(tmp_path / "at_once.duckdb") as at_once:
        put_pairs(at_once, anchors=1, chunks=CHUNKS)
        triage_candidates(at_once, policy, model=minilm)
        assert scores(at_once) == pytest.approx(scores(store), abs=2e-5)


def test_the_scorer_is_named_by_the_weights_and_not_by_where_they_lie(
    store: Store, minilm: str, tmp_path: Path
) -> None:
    policy = put_pairs(store, anchors=1, chunks=1)
    elsewhere = tmp_path / Path(minilm).name
    elsewhere.symlink_to(minilm, target_is_directory=True)
    first = triage_candidates(store, policy, model=minilm)
    second = triage_candidates(store, policy, model=str(elsewhere))
    assert first.scorer == second.scorer
    assert second.scored == 0
    assert str(tmp_path) not in first.scorer
    assert first.scorer.endswith("max-sentence cosine")


def test_a_model_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    put_pairs(store, anchors=1, chunks=1)
    with pytest.raises(MissingError, match="cannot load the model") as caught:
        triage_candidates(store, POLICY, model=str(tmp_path / "no-model"))
    assert caught.value.hint
    assert store.count("SELECT count(*) FROM triage_scores") == 0


def test_without_candidates_nothing_is_loaded_or_scored(store: Store) -> None:
    assert triage_candidates(store, POLICY, model="no-such-model").scored == 0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("pandas.DataFrame.sum\nAdds up.", ["pandas.DataFrame.sum", "Adds up."]),
        ("version 1.5 is old", ["version 1.5 is old"]),
        ("  \n ", ["  \n "]),
        ("", [""]),
    ],
)
def test_chunks_are_split_at_sentences_and_lines(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts
