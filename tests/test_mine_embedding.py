"""Chunks that repeat a cited one in other words, found with real weights: flagged, counted and named as such."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mining import repeated_by_embedding
from mining.candidates import MineResult, mine
from mining.hard_negatives import mine_negatives
from mining.import_log import import_files
from store.database import Store
from store.encoders import model_name
from store.errors import InvalidDataError, MissingError
from store.ids import anchor_id, chunk_id, pair_id
from store.judge_queue import set_scope
from store.policies import add_policy
from store.verification import verify
from store.workspace import MineSettings, create_workspace, open_workspace
from tests.labelled_store import POLICY, review
from tests.test_cli import run as run_command
from tests.test_mine import _all_rows, _log, _policy
from train.labelled import usable_labels

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CITED = "Fleas are wingless insects that feed on the blood of cats and dogs, and they lay their eggs in carpets."
SAID_ANEW = "Fleas are insects without wings which live on the blood of dogs and cats and put their eggs into carpets."
ON_FLEAS = "Fleas jump far; vacuum your carpets often so that their eggs and larvae are removed."
ON_BREAD = "Bread dough needs flour, water, salt and yeast, and an hour of rest before it goes into the oven."
ALSO_CITED = "A household with pets should wash all bedding at sixty degrees once a week."
SHOUTED = CITED.upper()


def _fill(store: Store) -> None:
    _log(
        store,
        "what are fleas?",
        [CITED, SAID_ANEW, ALSO_CITED, ON_FLEAS, ON_BREAD, SHOUTED],
        [("cited", 0), ("cited", 2)],
    )
    _log(store, "how to bake?", [ON_BREAD, CITED])


def _mine(store: Store, model: str, cosine: float | None = 0.9) -> MineResult:
    return mine(store, _policy(), MineSettings(model=model, duplicate_cosine=cosine))


def _flagged(store: Store) -> dict[object, tuple[object, ...]]:
    """Text of each flagged chunk -> text of what it repeats, how closely, and the model that says so."""
    rows = store.rows(
        "SELECT chunks.text AS text, twins.text AS twin, similarity, duplicate_model FROM candidates"
        " JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id) JOIN chunks AS twins ON twins.chunk_id = duplicate_of"
    )
    return {row["text"]: (row["twin"], row["similarity"], row["duplicate_model"]) for row in rows}


def test_a_chunk_whose_embedding_is_close_to_a_cited_one_is_flagged_with_the_model_that_says_so(
    store: Store,
    minilm: str,
    encoder: "SentenceTransformer",
) -> None:
    _fill(store)
    mine(store, _policy())
    asked_without = set_scope(store, _policy())
    result = _mine(store, minilm)
    flagged = _flagged(store)
    said, cited = encoder.encode_document([SAID_ANEW, CITED], normalize_embeddings=True)
    twin, cosine, model = flagged.pop(SAID_ANEW)
    assert (twin, model) == (CITED, model_name(minilm))
    assert float(str(cosine)) == pytest.approx(float(said @ cited), abs=1e-5)
    assert flagged == {SHOUTED: (CITED, 1.0, None)}, "what the text settles is settled by the text"
    assert [(source.source, source.duplicates, source.by_embedding) for source in result.sources] == [
        ("cited", 0, 0),
        ("uncited", 2, 1),
    ]
    assert set_scope(store, _policy()) == asked_without - 1


def test_it_is_the_closest_positive_that_is_repeated_and_the_threshold_itself_counts(
    store: Store,
    minilm: str,
    encoder: "SentenceTransformer",
) -> None:
    _fill(store)
    _mine(store, minilm, 0.001)
    others, positives = [SAID_ANEW, ON_FLEAS, ON_BREAD], [CITED, ALSO_CITED]
    vectors = encoder.encode_document(others + positives, normalize_embeddings=True)
    cosines = vectors[:3] @ vectors[3:].T
    flagged = _flagged(store)
    for text, row in zip(others, cosines, strict=True):
        if row.max() > 0.002:
            assert flagged[text][0] == positives[int(row.argmax())]
            assert flagged[text][1] == pytest.approx(float(row.max()), abs=1e-5)
    exactly = float(str(flagged[SAID_ANEW][1]))
    _mine(store, minilm, exactly)
    assert SAID_ANEW in _flagged(store)
    _mine(store, minilm, exactly + 1e-6)
    assert SAID_ANEW not in _flagged(store)


def test_switched_off_nothing_is_flagged_any_more_and_the_rows_are_those_of_a_store_that_never_had_it(
    store: Store, minilm: str, tmp_path: Path
) -> None:
    _fill(store)
    mine(store, _policy())
    before = _all_rows(store)
    mine(store, _policy(), MineSettings(model="no/such-model"))
    assert _all_rows(store) == before, "off by default, and no model is asked for"
    _mine(store, minilm)
    assert _all_rows(store) != before
    result = _mine(store, minilm, None)
    assert (result.new, result.removed, _all_rows(store)) == (0, 0, before)


def test_a_second_run_encodes_nothing_and_changes_nothing(
    store: Store,
    minilm: str,
    encoded: list[str],
) -> None:
    _fill(store)
    _log(store, "nothing is cited here", ["never needed"], [])
    _log(store, "all is settled by text", ["one two three", "One two, three!"])
    _log(store, "all is cited", ["a positive alone"])
    _mine(store, minilm)
    assert sorted(encoded) == sorted([CITED, SAID_ANEW, ALSO_CITED, ON_FLEAS, ON_BREAD])
    encoded.clear()
    before = _all_rows(store)
    result = _mine(store, minilm)
    assert (result.new, result.removed, encoded) == (0, 0, [])
    assert _all_rows(store) == before
    _mine(store, minilm, 0.5)
    assert encoded == []
    _log(store, "what are fleas?", ["a new chunk"], [], "later")
    _mine(store, minilm)
    assert encoded == ["a new chunk"]


def test_the_dense_search_and_the_duplicates_share_their_embeddings_and_not_their_settings(
    store: Store,
    minilm: str,
    encoded: list[str],
) -> None:
    _fill(store)
    settings = MineSettings(model=minilm, duplicate_cosine=0.9, per_query={"dense": 1})
    mine(store, _policy(), settings)
    chunks = len(encoded)
    mine_negatives(store, _policy(), settings)
    assert len(encoded) == chunks + 2 + 1, "two queries, and the chunk that its text had settled"
    (search,) = store.rows("FROM searches")
    mine_negatives(store, _policy(), MineSettings(model=minilm, per_query={"dense": 1}))
    assert store.rows("FROM searches") == [search]


def test_however_little_is_held_in_memory_the_result_is_the_same(
    store: Store, minilm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["flea", "egg", "carpet", "dog", "bread"]
    for number in range(7):
        texts = [f"{words[(number + n) % 5]} and {words[(number * n) % 5]} {n}" for n in range(2 + number)]
        _log(store, f"query {number}", texts, [("cited", 0), ("cited", 1)] if number > 2 else [("cited", 0)])
    _mine(store, minilm, 0.6)
    expected = _all_rows(store)
    assert store.count("SELECT count(DISTINCT pair_id) FROM candidates WHERE duplicate_model IS NOT NULL") > 5
    _mine(store, minilm, None)
    monkeypatch.setattr(repeated_by_embedding, "_CHUNKS_AT_A_TIME", 1)
    monkeypatch.setattr(repeated_by_embedding, "_COSINES_AT_A_TIME", 1)
    _mine(store, minilm, 0.6)
    assert _all_rows(store) == expected


def test_a_run_that_is_stopped_while_it_encodes_changes_no_candidate_and_goes_on_where_it_was(
    store: Store,
    minilm: str,
    encoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sentence_transformers import SentenceTransformer

    _fill(store)
    mine(store, _policy())
    before = _all_rows(store)
    remembering = SentenceTransformer.encode

    def stopped(self: SentenceTransformer, inputs: list[str], **options: object) -> object:
        if len(encoded) >= 2:
            raise KeyboardInterrupt
        return remembering(self, inputs, **options)

    monkeypatch.setattr("store.embeddings._TEXTS_AT_A_TIME", 1)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(SentenceTransformer, "encode", stopped)
        with pytest.raises(KeyboardInterrupt):
            _mine(store, minilm)
    assert _all_rows(store) == before
    _mine(store, minilm)
    assert len(encoded) == len(set(encoded)) == 5
    assert SAID_ANEW in _flagged(store)


def test_a_model_that_is_not_there_is_named_and_nothing_changes(store: Store) -> None:
    _fill(store)
    with pytest.raises(MissingError, match="no/such-model"):
        _mine(store, "no/such-model")
    assert store.count("SELECT count(*) FROM candidates") == 0


def test_labels_given_before_are_treated_as_those_of_other_duplicates(store: Store, minilm: str) -> None:
    _fill(store)
    policy, _ = add_policy(store, POLICY)
    review(store, "what are fleas?", {CITED: "yes", SAID_ANEW: "no", ON_FLEAS: "no"})

    def used(cosine: float | None) -> tuple[set[str], int]:
        mine(store, policy, MineSettings(model=minilm, duplicate_cosine=cosine))
        labels, counts = usable_labels(store, policy, trusts_judge=lambda _: True, resolution="majority")
        return {label.chunk for label in labels if label.role == "negative"}, counts["duplicates"]

    assert used(None) == ({SAID_ANEW, ON_FLEAS}, 1)
    assert used(0.9) == ({ON_FLEAS}, 2), "a negative one rests while the pair is flagged"
    assert used(None) == ({SAID_ANEW, ON_FLEAS}, 1)
    review(store, "what are fleas?", {SAID_ANEW: "yes"}, minute=1)
    mine(store, policy, MineSettings(model=minilm, duplicate_cosine=0.9))
    labels, _ = usable_labels(store, policy, trusts_judge=lambda _: True, resolution="majority")
    assert {(label.chunk, label.role) for label in labels if label.duplicate_of} == {(SAID_ANEW, "positive")}


def test_mine_and_lineage_say_what_an_embedding_settled(tmp_path: Path, minilm: str) -> None:
    root = create_workspace(tmp_path / "w").root
    (root / "uncited.toml").write_text(f"[mine]\nmodel = {json.dumps(minilm)}\nduplicate_cosine = 0.9\n")
    texts = [CITED, SAID_ANEW, SHOUTED, ON_BREAD]
    retrieved = [{"chunk_id": f"c{n}", "rank": n + 1, "text": text} for n, text in enumerate(texts)]
    (root / "log.jsonl").write_text(json.dumps({"query": "what are fleas?", "retrieved": retrieved, "cited": ["c0"]}))
    workspace = open_workspace(root)
    with workspace.open() as store:
        import_files(store, [root / "log.jsonl"])
        mine(store, add_policy(store, _policy())[0], workspace.settings.mine)
        assert verify(store).problems == ()
    table = run_command("mine", "--policy", "p", cwd=root, COLUMNS="200").stdout
    assert "of them by embedding" in table
    pair = pair_id(anchor_id("what are fleas?"), chunk_id(SAID_ANEW))
    tree = run_command("lineage", pair, cwd=root, COLUMNS="400").stdout
    assert f"repeats {chunk_id(CITED)} (0.95, cosine by {model_name(minilm)})" in tree


@pytest.mark.parametrize("cosine", ["0", "1.5", '"near"'])
def test_a_cosine_that_cannot_be_is_named(tmp_path: Path, cosine: str) -> None:
    root = create_workspace(tmp_path / "w").root
    (root / "uncited.toml").write_text(f"[mine]\nduplicate_cosine = {cosine}\n")
    with pytest.raises(InvalidDataError, match=r"mine\.duplicate_cosine"):
        open_workspace(root)


def test_where_nothing_is_left_to_compare_no_model_is_loaded(store: Store, minilm: str, encoded: list[str]) -> None:
    _log(store, "nothing is cited here", ["a", "b"], [])
    assert (_mine(store, minilm).new, _flagged(store)) == (2, {})
    _log(store, "all is settled by text", ["one two three", "One two, three!"])
    _mine(store, minilm)
    assert (_flagged(store), encoded) == ({"One two, three!": ("one two three", 1.0, None)}, [])
