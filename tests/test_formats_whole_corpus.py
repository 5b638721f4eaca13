"""A data set that has its corpus with it brings all of it: negatives are looked for beyond its lists."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from mining import whole_corpus
from mining.candidates import mine
from mining.hard_negatives import mine_negatives
from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError
from store.policies import Label, Policy
from store.workspace import MineSettings
from tests.imported import write_lines, write_text

TEXTS = {
    "d1": "A flea lives 100 days.",
    "d2": "How long is a flea jump? Very long.",
    "d3": "Ticks wait on grass.",
    "d4": "Long ago a flea was in a circus.",
}


def _beir(folder: Path) -> Path:
    write_lines(folder / "queries.jsonl", [{"_id": "q1", "text": "how long does a flea live?"}])
    write_lines(folder / "corpus.jsonl", [{"_id": name, "text": text, "title": ""} for name, text in TEXTS.items()])
    write_text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


def _stored(store: Store) -> set[object]:
    return {row["external_id"] for row in store.rows("SELECT external_id FROM chunk_names")}


def test_the_corpus_of_a_beir_folder_comes_in_wholly_a_batch_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_corpus, "_CHUNKS_AT_A_TIME", 2)
    folder = _beir(tmp_path / "beir")
    dry = import_files(store, [folder], dry_run=True)
    assert ([corpus.chunks for corpus in dry.corpora], _stored(store)) == ([4], set())
    result = import_files(store, [folder])
    assert (result.interactions, result.chunks) == (1, 1)
    assert result.corpora == ((str(folder / "corpus.jsonl"), 3),)
    assert _stored(store) == set(TEXTS)
    assert import_files(store, [folder]).corpora[0].chunks == 0


def test_a_run_beside_a_beir_folder_brings_its_corpus_too(store: Store, tmp_path: Path) -> None:
    import_files(store, [_beir(tmp_path / "beir"), write_text(tmp_path / "run.txt", "q1 Q0 d3 1 1.0 bm25\n")])
    assert _stored(store) == set(TEXTS)


def test_a_corpus_that_the_command_names_is_only_looked_up(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "beir")
    run = write_text(tmp_path / "run.txt", "q1 Q0 d3 1 1.0 bm25\n")
    result = import_files(store, [run, folder / "queries.jsonl"], corpus=folder / "corpus.jsonl")
    assert (result.corpora, _stored(store)) == ((), {"d3"})


def test_negatives_are_found_that_no_list_of_the_data_set_holds(store: Store, tmp_path: Path) -> None:
    data = {"queries": {"q1": "how long does a flea live?"}, "corpus": TEXTS, "relevant_docs": {"q1": ["d1"]}}
    result = import_files(store, [write_text(tmp_path / "dataset.json", json.dumps(data))])
    assert [corpus.chunks for corpus in result.corpora] == [3]
    labels = (Label("answers", "It answers.", "positive"), Label("not", "It does not.", "negative"))
    policy = Policy("p", "Does it answer?", "query", "chunk", labels, {"relevant": "answers"})
    mine(store, policy)
    (bm25,) = mine_negatives(store, policy, MineSettings(per_query={"bm25": 2})).sources
    assert bm25.negatives == 2


def test_a_text_of_the_corpus_that_is_none_is_a_bad_line(store: Store, tmp_path: Path) -> None:
    data = {"queries": {"q1": "how long?"}, "corpus": {**TEXTS, "d5": 7}, "relevant_docs": {"q1": ["d1"]}}
    file = write_text(tmp_path / "dataset.json", json.dumps(data))
    with pytest.raises(InvalidDataError, match='corpus: "d5": text: 7 is not a string'):
        import_files(store, [file])
    result = import_files(store, [file], skip_invalid=True)
    assert (result.rejected, [corpus.chunks for corpus in result.corpora]) == (1, [0])


def test_the_command_says_what_the_corpus_brought(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    runner = CliRunner()
    assert runner.invoke(app, ["init", str(workspace)]).exit_code == 0
    shown = runner.invoke(app, ["import", str(_beir(tmp_path / "beir")), "--workspace", str(workspace)])
    assert "3 chunks of its corpus are new besides those in the lists" in " ".join(shown.stdout.split())
    assert "uncited mine --policy NAME --from bm25=4" in shown.stderr


# ------------------------------------------------------------------------------------- what a corpus may not do or be


def test_one_id_with_two_texts_is_refused_alike_where_a_corpus_is_looked_up_and_where_it_is_stored(
    store: Store, tmp_path: Path
) -> None:
    lines = [
        {"chunk_id": "d1", "text": TEXTS["d1"]},
        {"chunk_id": "d2", "text": TEXTS["d2"]},
        {"chunk_id": "d1", "text": TEXTS["d1"]},  # once more, and the same
        {"chunk_id": "d2", "text": "Another."},
    ]
    corpus = write_lines(tmp_path / "corpus.jsonl", lines)
    log = write_lines(tmp_path / "log.jsonl", [{"query": "q", "retrieved": [], "cited": []}])
    told = f'1 lines of the corpus {corpus} are wrong\n{corpus}:4: chunk_id "d2" had another text before'
    with pytest.raises(InvalidDataError) as looked_up:
        import_files(store, [log], corpus=corpus)
    with pytest.raises(InvalidDataError) as added:
        whole_corpus.add_corpus(store, corpus)
    assert looked_up.value.message == added.value.message == told
    assert not _stored(store)
    assert store.count("SELECT count(*) FROM chunks") == 0
    assert whole_corpus.add_corpus(store, write_lines(corpus, lines[:3])) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"queries": {"q1": "a", "q1": "b"}, "corpus": {}, "relevant_docs": {}}', 'queries: "q1" stands there twice'),
        ('{"queries": {}, "corpus": {"d1": "a",\n "d1": "b"}, "relevant_docs": {}}', 'corpus: "d1" stands there twice'),
        (
            '{\n"queries": {},\n"corpus": {},\n"relevant_docs": {"q1": [], "q1": ["d1"]}\n}',
            'relevant_docs: "q1" stands there twice',
        ),
        ('{"queries": {}, "corpus": {}, "relevant_docs": {}, "corpus": {}}', 'the file: "corpus" stands there twice'),
    ],
)
def test_a_key_of_a_llamaindex_file_that_stands_there_twice_is_named(
    store: Store, tmp_path: Path, text: str, told: str
) -> None:
    file = write_text(tmp_path / "dataset.json", text)
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f"{file}:1: {told}" in refused.value.message
    assert not _stored(store)


class _Doing:
    """Progress that does something when the log begins to be read."""

    def __init__(self, what: Callable[[], object]) -> None:
        self.what = what

    def start(self, description: str, total: int | None) -> None:
        self.what()

    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


@pytest.mark.parametrize("change", ["grows", "holds something else", "holds other texts of the same length"])
def test_a_corpus_that_changes_while_a_log_is_read_is_refused(store: Store, tmp_path: Path, change: str) -> None:
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"chunk_id": n, "text": t} for n, t in TEXTS.items()])
    listed = [{"chunk_id": name, "rank": rank} for rank, name in enumerate(TEXTS, 1)]
    log = write_lines(tmp_path / "log.jsonl", [{"query": "q", "retrieved": listed, "cited": []}])
    before = corpus.read_text(encoding="utf-8")
    then = {
        "grows": before + '{"chunk_id": "d5", "text": "More."}\n',
        "holds something else": "not a corpus, " * 100,
        "holds other texts of the same length": before.replace("flea", "tick"),
    }[change]

    def written() -> None:
        time = corpus.stat().st_mtime_ns + 1_000_000
        with corpus.open("r+", encoding="utf-8") as out:  # the same file, not another of its name
            out.write(then)
        os.utime(corpus, ns=(time, time))

    with pytest.raises(InvalidDataError, match=r"corpus\.jsonl was written to while it was read"):
        import_files(store, [log], corpus=corpus, progress=_Doing(written))
    assert store.count("SELECT count(*) FROM interactions") == store.count("SELECT count(*) FROM imports") == 0
    write_text(corpus, before)
    assert import_files(store, [log], corpus=corpus).interactions == 1
