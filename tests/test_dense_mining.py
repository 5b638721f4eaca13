"""Hard negatives by meaning, with real weights: the same as sentence-transformers finds, and each text encoded once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.mining import compare, parser
from mining.candidates import mine
from mining.hard_negatives import MinedCount, mine_negatives
from mining.hits import as_lists, best_hits
from store.database import Store
from store.errors import MissingError
from store.judge_queue import set_scope
from store.workspace import MineSettings
from tests.test_hard_negatives import POLICY, TOPICS, log, mined, passage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

REPOSITORY = Path(__file__).resolve().parents[1]


def texts() -> dict[str, tuple[list[str], list[str]]]:
    """Map queries to their positives and to the other chunks of their log."""
    found = {}
    for topic, words in TOPICS.items():
        for number in range(2):
            first = words.split()[3 * number : 3 * number + 3]
            own = [passage(topic, 10 * number + n, 8) for n in range(6)]
            found[f"what about {' '.join(first)}?"] = (own[:1], own[1:])
    return found


def fill(store: Store) -> None:
    """Log each query with its positives alone; the rest of the corpus under queries that cite nothing."""
    for query, (positives, others) in texts().items():
        log(store, query, positives)
        log(store, f"not {query}", ["nothing", *others])
    store.execute("DELETE FROM signals WHERE chunk_id IN (SELECT chunk_id FROM chunks WHERE text = 'nothing')")
    mine(store, POLICY)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("dense") / "uncited.duckdb") as opened:
        fill(opened)
        yield opened


@pytest.fixture(scope="module")
def reranker(minilm: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cross-encoder with MiniLM's weights and a head of chance."""
    import torch
    from sentence_transformers import CrossEncoder

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("cross") / "reranker"
    CrossEncoder(minilm, num_labels=1).save_pretrained(str(folder))
    return str(folder)


def run(store: Store, model: str, **changes: object) -> MinedCount:
    given = {"per_query": {"dense": 3}, "model": model, "per_chunk": 1000} | changes
    return mine_negatives(store, POLICY, MineSettings.model_validate(given)).sources[0]


def by_sentence_transformers(store: Store, model: "SentenceTransformer", **options: object) -> dict[str, set[str]]:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    pairs = [(query, positive) for query, (positives, _) in texts().items() for positive in positives]
    found: dict[str, set[str]] = {}
    for row in mine_hard_negatives(
        Dataset.from_dict({"anchor": [query for query, _ in pairs], "positive": [positive for _, positive in pairs]}),
        model,
        corpus=sorted(str(row["text"]) for row in store.rows("SELECT text FROM chunks")),
        num_negatives=3,
        verbose=False,
        **options,
    ):
        found.setdefault(row["anchor"], set()).add(row["negative"])
    return found


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"range_min": 2, "range_max": 12},
        {"relative_margin": 0.05, "range_max": 20},
        {"absolute_margin": 0.1, "range_max": 20},
        {"max_score": 0.45, "min_score": 0.1, "range_max": 25},
        {"absolute_margin": -0.05, "relative_margin": 0.2, "max_score": 0.5, "range_min": 1, "range_max": 30},
    ],
)
def test_the_negatives_are_those_of_mine_hard_negatives(
    filled: Store, minilm: str, encoder: "SentenceTransformer", filters: dict[str, object]
) -> None:
    theirs = by_sentence_transformers(filled, encoder, **filters)
    run(filled, minilm, **filters)
    rows = filled.rows(
        "SELECT anchors.text AS query, chunks.text AS chunk FROM candidates JOIN pairs USING (pair_id)"
        " JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)"
        " WHERE source = 'dense' AND too_close IS NULL AND duplicate_of IS NULL"
    )
    ours: dict[str, set[str]] = {}
    for row in rows:
        ours.setdefault(str(row["query"]), set()).add(str(row["chunk"]))
    assert ours == theirs
    assert ours


@pytest.mark.slow
def test_with_a_cross_encoder_too_and_it_reads_a_pair_once(
    filled: Store, minilm: str, encoder: "SentenceTransformer", reranker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    filters = {"max_score": 0.5, "range_max": 20}
    theirs = by_sentence_transformers(filled, encoder, cross_encoder=CrossEncoder(reranker), **filters)
    run(filled, minilm, cross_encoder=reranker, **filters)
    rows = filled.rows("SELECT score, too_close FROM candidates WHERE source = 'dense'")
    assert {bool(row["too_close"]) == (float(str(row["score"])) > 0.5) for row in rows} == {True}
    passed = filled.count(
        "SELECT count(*) FROM candidates WHERE source = 'dense' AND too_close IS NULL AND duplicate_of IS NULL"
    )
    assert passed == sum(map(len, theirs.values()))
    monkeypatch.setattr(CrossEncoder, "predict", None)
    assert run(filled, minilm, cross_encoder=reranker, **filters).new == 0


def found_by_words(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Map each query to what BM25 put forward for it, in its order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in store.rows(
        "SELECT anchors.text AS query, chunks.text AS chunk, rank, score, too_close FROM candidates"
        " JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)"
        " WHERE source = 'bm25' AND duplicate_of IS NULL ORDER BY query, rank"
    ):
        found.setdefault(str(row["query"]), []).append(row)
    return found


def test_a_cross_encoder_orders_and_filters_what_words_found_too(
    store: Store, reranker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    def mined_by_words(quota: int, **filters: object) -> dict[str, list[dict[str, Any]]]:
        run(store, "no/such-model", per_query={"bm25": quota}, range_max=6, **filters)
        return found_by_words(store)

    fill(store)
    by_words = mined_by_words(6, absolute_margin=0.0)
    assert {row["too_close"] for rows in by_words.values() for row in rows} == {None}, "by rank alone"
    again = mined_by_words(6, cross_encoder=reranker)
    model, floor = CrossEncoder(reranker), {}
    for query, rows in again.items():
        chunks = [str(row["chunk"]) for row in rows]
        assert {*chunks} == {row["chunk"] for row in by_words[query]}
        *scores, floor[query] = model.predict([(query, chunk) for chunk in [*chunks, texts()[query][0][0]]]).tolist()
        assert [row["score"] for row in rows] == pytest.approx(scores, abs=1e-4)
        assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert [row["chunk"] for rows in again.values() for row in rows] != [
        row["chunk"] for rows in by_words.values() for row in rows
    ]
    monkeypatch.setattr(CrossEncoder, "predict", None)  # each pair has been read
    sifted = mined_by_words(1, cross_encoder=reranker, absolute_margin=0.0)
    above = {(query, row["chunk"]) for query, rows in again.items() for row in rows if row["score"] > floor[query]}
    marked = {(query, row["chunk"]) for query, rows in sifted.items() for row in rows if row["too_close"]}
    assert marked == above
    passed = {query: [row["chunk"] for row in rows if not row["too_close"]] for query, rows in sifted.items()}
    assert passed == {
        query: [row["chunk"] for row in rows if (query, row["chunk"]) not in above][:1] for query, rows in again.items()
    }
    assert above
    assert any(passed.values())


def test_what_a_margin_removes_goes_to_the_judge_with_a_mark(store: Store, minilm: str) -> None:
    fill(store)
    run(store, minilm, per_query={"dense": 0})
    before = set_scope(store, POLICY)
    for name, value in {"relative_margin": 0.3, "absolute_margin": 0.2, "max_score": 0.4}.items():
        result = run(store, minilm, range_max=20, **{name: value})
        assert result.negatives > 0
        assert result.too_close > 0
        marked = store.rows(
            "SELECT pair_id, too_close, proposed FROM candidate_pairs"
            " WHERE too_close IS NOT NULL AND duplicate_of IS NULL"
        )
        assert len(marked) == result.too_close
        assert {(row["too_close"], row["proposed"]) for row in marked} == {(name, "negative")}
        assert set_scope(store, POLICY) == before + result.negatives + result.too_close
    assert run(store, minilm, range_max=20).too_close == 0
    assert store.count("SELECT count(*) FROM candidate_pairs WHERE too_close IS NOT NULL") == 0


def test_a_second_run_encodes_nothing_and_a_changed_corpus_only_what_is_new(
    store: Store, minilm: str, encoded: list[str]
) -> None:
    fill(store)
    run(store, minilm)
    chunks = store.count("SELECT count(*) FROM chunks")
    assert len(encoded) == len(set(encoded)) == chunks + len(texts())
    encoded.clear()
    assert run(store, minilm).new == 0
    assert encoded == []
    log(store, "a new one?", ["a new chunk"])
    mine(store, POLICY)
    run(store, minilm)
    assert sorted(encoded) == ["a new chunk", "a new one?"]


def test_a_prompt_is_part_of_what_is_remembered(store: Store, minilm: str, encoded: list[str]) -> None:
    fill(store)
    run(store, minilm)
    everything = len(encoded)
    encoded.clear()
    run(store, minilm, query_prompt="query: ")
    assert set(encoded) == set(texts()), "the queries anew, the chunks not"
    run(store, minilm, query_prompt="query: ", chunk_prompt="passage: ")
    assert len(encoded) == everything


@pytest.mark.slow
def test_other_weights_are_another_model(store: Store, minilm: str, tmp_path: Path, encoded: list[str]) -> None:
    from sentence_transformers import SentenceTransformer

    fill(store)
    run(store, minilm)
    first = mined(store)
    everything = len(encoded)
    tuned = SentenceTransformer(minilm)
    for weights in tuned.parameters():
        weights.data += 0.02 * weights.data.abs().mean() * weights.data.sign()
    tuned.save_pretrained(str(tmp_path / "tuned"))
    run(store, str(tmp_path / "tuned"))
    assert len(encoded) == 2 * everything
    moved = SentenceTransformer(str(tmp_path / "tuned"))
    moved.save_pretrained(str(tmp_path / "elsewhere" / "tuned"))
    run(store, str(tmp_path / "elsewhere" / "tuned"))
    assert len(encoded) == 2 * everything, "where it lies is not what it is"
    run(store, minilm)
    assert mined(store) == first


def test_a_model_that_is_not_there_is_named(store: Store) -> None:
    fill(store)
    before = store.rows("FROM candidates")
    with pytest.raises(MissingError, match="no/such-model"):
        run(store, "no/such-model")
    assert store.rows("FROM candidates") == before


_MINE = """
import sys
import store.embeddings
from pathlib import Path
from store.database import Store
from tests.test_dense_mining import run
store.embeddings._TEXTS_AT_A_TIME, store.embeddings._SECONDS = 8, 0.0
put = store.embeddings._put
def told(*given):
    put(*given)
    print("stored", flush=True)
store.embeddings._put = told
with Store(Path(sys.argv[1])) as opened:
    run(opened, sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_encodes_goes_on_where_it_was(
    tmp_path: Path, minilm: str, encoded: list[str]
) -> None:
    database = tmp_path / "uncited.duckdb"
    with Store(database) as store:
        fill(store)
    command = [sys.executable, "-c", _MINE, str(database), minilm]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY) as process:
        assert process.stdout
        for _ in range(3):
            assert process.stdout.readline() == b"stored\n"
        process.kill()
    with Store(database) as store:
        kept = store.count("SELECT count(*) FROM embeddings")
        assert kept >= 3 * 8 - 8, "queries, then chunks; each once it was told"
        assert store.count("SELECT count(*) FROM candidates WHERE source = 'dense'") == 0
        run(store, minilm)
        everything = store.count("SELECT count(*) FROM embeddings")
        assert len(encoded) == everything - kept
        assert mined(store)


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 700)),
    depth=st.integers(1, 6),
    width=st.integers(1, 700),
    seed=st.integers(0, 1000),
)
def test_the_best_hits_are_found_exactly_whatever_the_blocks(
    shape: tuple[int, int], depth: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(shape[0] * shape[1]).reshape(shape).astype(np.float32)
    known = np.argwhere(rng.random(shape) < 0.1)
    expected = scores.copy()
    expected[known[:, 0], known[:, 1]] = -np.inf
    found = best_hits(
        lambda rows, columns: scores[rows, columns].copy(),
        as_lists(known[:, 0], known[:, 1], shape[0]),
        anchors=shape[0],
        chunks=shape[1],
        depth=depth,
        chunks_at_a_time=width,
    )
    best = -np.sort(-expected, axis=1)[:, :depth]
    assert np.array_equal(found.scores, best)
    for row, (chunks, values) in enumerate(zip(found.chunks, found.scores, strict=True)):
        assert [expected[row, chunk] if chunk >= 0 else -np.inf for chunk in chunks] == values.tolist()


@pytest.mark.slow
def test_the_bench_finds_the_same_negatives_and_encodes_them_once(tmp_path: Path) -> None:
    report: Any = compare(parser().parse_args(["--queries=20", "--chunks=200", "--words=8"]), tmp_path)
    assert report["queries whose negatives differ"] == 0
    assert report["queries that the second run changed"] == 0
    assert report["first"]["negatives"] == report["mine_hard_negatives"]["negatives"] > 0
    assert report["second"]["cpu_seconds"] < report["first"]["cpu_seconds"] / 3
