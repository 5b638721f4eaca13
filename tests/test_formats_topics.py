"""TREC RAG, TREC runs with qrels, BEIR, LlamaIndex and Ragas: files written by hand from their documentation."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mining.candidates import mine
from mining.import_log import import_files
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import chunk_id
from store.policies import Label, Policy
from tests.imported import stored, write_lines, write_text

FLEAS, JUMPS, TICKS = "A flea lives 100 days.", "Fleas jump far.", "Ticks wait on grass."
SEGMENTS = [
    {"docid": "msmarco_v2.1_doc_01_7#0_1", "title": "Fleas", "headings": "", "segment": FLEAS, "start_char": 0},
    {"docid": "msmarco_v2.1_doc_01_7#1_9", "title": "Fleas", "headings": "", "segment": JUMPS, "start_char": 22},
    {"docid": "msmarco_v2.1_doc_02_3#0_5", "title": "Ticks", "headings": "", "segment": TICKS, "start_char": 0},
]
NAMES = [segment["docid"] for segment in SEGMENTS]


def _answer(run: str, references: list[object], *citations: list[object], **changes: object) -> dict[str, Any]:
    sentences = [{"text": f"Sentence {n}.", "citations": cited} for n, cited in enumerate(citations)]
    told = {"run_id": run, "topic_id": "2024-1", "topic": "how long does a flea live?", "response_length": 2}
    return {**told, "references": references, "answer": sentences, **changes}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "segments.jsonl", SEGMENTS)


# ------------------------------------------------------------------------------------------------------------ TREC RAG


def test_an_answer_of_trec_rag_cites_its_references_by_number_from_0(
    store: Store, tmp_path: Path, corpus: Path
) -> None:
    file = write_lines(tmp_path / "run.jsonl", [_answer("ours", NAMES[:2], [1], [1, 0])])
    (imported,) = import_files(store, [file], corpus=corpus).files
    assert imported.format == "trec-rag"
    (line,) = stored(store)
    assert line["query"] == "how long does a flea live?"
    assert (line["query_id"], line["source"], line["interaction_id"]) == ("2024-1", "ours", "ours/2024-1")
    assert line["answer"] == "Sentence 0. Sentence 1."
    assert [chunk["chunk_id"] for chunk in line["retrieved"]] == NAMES[:2]
    assert line["cited"] == NAMES[:2]
    assert line["retrieved"][0]["document"] == "msmarco_v2.1_doc_01_7"  # so that train and test share no page


def test_a_run_beside_the_answers_says_what_was_retrieved(store: Store, tmp_path: Path, corpus: Path) -> None:
    answers = write_lines(tmp_path / "answers.jsonl", [_answer("ours", NAMES[:1], [0])])
    run = write_text(tmp_path / "run.txt", f"2024-1 Q0 {NAMES[2]} 1 9.5 bm25\n2024-1 Q0 {NAMES[0]} 2 8.25 bm25\n")
    import_files(store, [answers, run], corpus=corpus)
    (line,) = stored(store)
    assert [(c["chunk_id"], c["rank"], c["score"]) for c in line["retrieved"]] == [
        (NAMES[2], 1, 9.5),
        (NAMES[0], 2, 8.25),
    ]
    assert line["cited"] == [NAMES[0]]


def test_answers_of_2025_take_their_topics_from_a_file(store: Store, tmp_path: Path, corpus: Path) -> None:
    answer = {
        "metadata": {"team_id": "t", "run_id": "r25", "narrative_id": "9", "type": "automatic"},
        "references": NAMES[:1],
        "answer": [{"text": "100 days.", "citations": [NAMES[0]]}],
    }
    topics = write_lines(tmp_path / "topics.jsonl", [{"id": "9", "narrative": "I wonder how long fleas live."}])
    import_files(store, [write_lines(tmp_path / "run.jsonl", [answer]), topics], corpus=corpus)
    (line,) = stored(store)
    assert (line["query"], line["query_id"], line["cited"]) == ("I wonder how long fleas live.", "9", [NAMES[0]])


@pytest.mark.parametrize("citation", [2, -1, "unknown", True, 0.0])
def test_a_citation_beyond_the_references_makes_the_line_bad(
    store: Store, tmp_path: Path, corpus: Path, citation: object
) -> None:
    file = write_lines(tmp_path / "run.jsonl", [_answer("a", NAMES[:2], [0]), _answer("b", NAMES[:2], [0, citation])])
    with pytest.raises(InvalidDataError, match="there are 2 references, from 0") as refused:
        import_files(store, [file], corpus=corpus)
    assert f"{file}:2: answer[0] cites {json.dumps(citation)}" in refused.value.message
    assert not stored(store)


def test_retrieval_results_bring_their_texts(store: Store, tmp_path: Path) -> None:
    candidates = [
        {"docid": s["docid"], "score": 10.0 - n, "doc": {"segment": s["segment"], "title": s["title"]}}
        for n, s in enumerate(SEGMENTS)
    ]
    results = [{"query": {"qid": "2024-1", "text": "how long?"}, "candidates": candidates}]
    file = write_text(tmp_path / "retrieve_results.json", json.dumps(results, indent=2))
    (imported,) = import_files(store, [file]).files
    assert imported.format == "trec-rag-retrieval"
    (line,) = stored(store)
    assert [c["text"] for c in line["retrieved"]] == [FLEAS, JUMPS, TICKS]
    assert [c["score"] for c in line["retrieved"]] == [10.0, 9.0, 8.0]
    assert "cited" in line
    assert line["cited"] == []


def test_retrieval_results_beside_answers_bring_list_and_texts(store: Store, tmp_path: Path) -> None:
    candidates = [{"docid": s["docid"], "score": 1, "doc": {"segment": s["segment"]}} for s in SEGMENTS]
    results = write_lines(
        tmp_path / "results.jsonl", [{"query": {"qid": "2024-1", "text": "q"}, "candidates": candidates}]
    )
    answers = write_lines(tmp_path / "answers.jsonl", [_answer("ours", NAMES[1:2], [0])])
    import_files(store, [results, answers])
    (line,) = stored(store)
    assert [c["text"] for c in line["retrieved"]] == [FLEAS, JUMPS, TICKS]
    assert line["cited"] == [NAMES[1]]


def test_several_answers_to_one_query_are_one_set_of_candidates_with_a_vote_each(
    store: Store, tmp_path: Path, corpus: Path
) -> None:
    answers = [_answer("a", NAMES, [0]), _answer("b", NAMES, [0], [1]), _answer("c", NAMES, [0])]
    qrels = write_text(
        tmp_path / "qrels.txt", "".join(f"2024-1 0 {name} {g}\n" for name, g in zip(NAMES, (3, 1, 0), strict=True))
    )
    import_files(store, [write_lines(tmp_path / "answers.jsonl", answers), qrels], corpus=corpus)
    labels = (Label("fits", "it fits", "positive"), Label("off", "it does not", "negative"))
    signals = {"cited": "fits", "grade:3": "fits", "grade:0": "off"}
    mine(store, Policy("p", "Does it answer?", "query", "chunk", labels, signals))
    rows = store.rows(
        "SELECT text, proposed, count(*) FILTER (source = 'cited') AS votes, count(DISTINCT interaction_id) AS answers,"
        " count(*) FILTER (source LIKE 'grade%') AS graded FROM candidates JOIN pairs USING (pair_id)"
        " JOIN chunks USING (chunk_id) GROUP BY ALL ORDER BY text"
    )
    # Three pairs, not nine; each answer votes for what it cites; a grade counts once however many answers there are.
    assert [(r["text"], r["proposed"], r["votes"], r["answers"]) for r in rows if r["text"] == FLEAS] == [
        (FLEAS, "positive", 3, 3)
    ]
    assert store.count("SELECT count(*) FROM candidate_pairs") == 3
    assert {r["text"]: r["graded"] for r in rows if r["graded"]} == {FLEAS: 1, TICKS: 1}


# ------------------------------------------------------------------------------------------- TREC runs, qrels and BEIR

QUERIES = [
    {"_id": "q1", "text": "how long does a flea live?", "metadata": {}},
    {"_id": "q2", "text": "where do ticks wait?"},
]
CORPUS = [
    {"_id": "d1", "title": "Fleas", "text": FLEAS, "metadata": {}},
    {"_id": "d2", "title": "", "text": JUMPS},
    {"_id": "d3", "title": TICKS, "text": ""},  # BEIR has documents with a title only ...
    {"_id": "d4", "title": "", "text": ""},  # ... and with nothing
]
RUN = "q1 Q0 d2 1 3.5 bm25\nq1 Q0 d1 2 3.25 bm25\nq2 Q0 d3 1 1e1 bm25\n"


def _beir(folder: Path, *qrels: str) -> Path:
    write_lines(folder / "corpus.jsonl", CORPUS)
    write_lines(folder / "queries.jsonl", QUERIES)
    rows = "".join(f"{row}\n" for row in qrels or ("q1\td1\t2", "q2\td3\t0", "q2\td1\t1"))
    write_text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + rows)
    return folder


def test_a_beir_folder_with_a_run_is_lists_with_grades(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "scifact")
    run = write_text(tmp_path / "run.trec", RUN)
    (imported,) = import_files(store, [folder, run]).files
    assert (imported.file, imported.format, imported.interactions) == (str(run), "trec", 3)
    first, second, rest = sorted(stored(store), key=lambda line: (line["query_id"], line["source"] == "grades"))
    source = str(folder / "qrels" / "test.tsv")
    assert [(c["chunk_id"], c["rank"], c["score"], c["text"]) for c in first["retrieved"]] == [
        ("d2", 1, 3.5, JUMPS),
        ("d1", 2, 3.25, FLEAS),
    ]
    assert first["signals"] == [{"signal": "grade:2", "chunk_id": "d1", "value": 1.0, "source": source}]
    assert second["signals"] == [{"signal": "grade:0", "chunk_id": "d3", "value": 1.0, "source": source}]
    # A graded chunk that the run lacks is not lost, and is ranked behind the run.
    assert rest["source"] == "grades"
    assert [(c["chunk_id"], c["rank"]) for c in rest["retrieved"]] == [("d1", 2)]


def test_a_beir_folder_alone_is_its_graded_chunks(store: Store, tmp_path: Path) -> None:
    (imported,) = import_files(store, [_beir(tmp_path / "scifact")]).files
    assert (imported.format, imported.interactions) == ("beir", 2)
    lines = {line["query_id"]: line for line in stored(store)}
    assert [c["chunk_id"] for c in lines["q2"]["retrieved"]] == ["d3", "d1"]
    assert [s["signal"] for s in lines["q2"]["signals"]] == ["grade:0", "grade:1"]
    assert all(line["cited"] == [] for line in lines.values())


def test_the_files_of_a_beir_folder_may_be_gzip(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "scifact")
    for file in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert import_files(store, [folder]).interactions == 2


def test_queries_that_are_none_are_said_to_be(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "scifact")
    (folder / "queries.jsonl").write_text("")
    with pytest.raises(InvalidDataError, match=r"queries\.jsonl holds no query"):
        import_files(store, [folder])


def test_a_trec_run_takes_queries_and_texts_from_other_files(store: Store, tmp_path: Path) -> None:
    run = write_text(tmp_path / "run.trec", RUN)
    topics = write_text(tmp_path / "topics.tsv", "".join(f"{q['_id']}\t{q['text']}\n" for q in QUERIES))
    corpus = write_lines(tmp_path / "corpus.jsonl", CORPUS)
    assert import_files(store, [topics, run], corpus=corpus).interactions == 2
    for files, texts in (([run], corpus), ([run, topics], None)):
        with pytest.raises(MissingError, match="by id only") as refused:
            import_files(store, files, corpus=texts)
        assert refused.value.hint
        assert "--corpus" in refused.value.hint


def test_ranks_from_0_count_from_1_and_ranks_that_repeat_give_way_to_scores(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "beir", "q1\td1\t1")
    run = "q1 Q0 d2 0 1.0 r\nq1 Q0 d1 1 0.5 r\nq2 Q0 d1 0 0.1 r\nq2 Q0 d2 0 0.9 r\n"
    import_files(store, [folder, write_text(tmp_path / "run.txt", run)])
    lines = {line["query_id"]: [(c["chunk_id"], c["rank"]) for c in line["retrieved"]] for line in stored(store)}
    assert lines == {"q1": [("d2", 1), ("d1", 2)], "q2": [("d2", 1), ("d1", 2)]}


def test_lines_of_one_topic_may_stand_anywhere_in_a_run_of_any_size(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mining.formats import grouping

    monkeypatch.setattr(grouping, "_IN_MEMORY", 1_000)  # bytes: the rest goes to disk
    names = [f"d{n}" for n in range(20)]
    topics = [f"q{n}" for n in range(50)]
    rows = [f"{topic} Q0 {name} {n} {1 / n} tag" for n, name in enumerate(names, 1) for topic in topics]
    run = write_text(tmp_path / "run.txt", "\n".join(rows))
    queries = write_lines(tmp_path / "queries.jsonl", [{"_id": t, "text": f"question {t}"} for t in topics])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"_id": n, "text": f"text {n}"} for n in names])
    result = import_files(store, [run, queries], corpus=corpus)
    assert (result.interactions, result.retrievals) == (50, 1_000)
    assert all([c["chunk_id"] for c in line["retrieved"]] == names for line in stored(store))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q1 Q0 d1 1 0.5", "5 columns; a run has 6"),
        ("q1 Q0 d1 first 0.5 r", 'rank "first" is not a whole number'),
        ("q1 Q0 d1 1 high r", 'score "high" is not a number'),
        ("q1 Q0 d1 1 nan r", 'score "nan" is not a number'),
        ("q1 Q0 d2 7 0.5 bm25", 'document "d2" stands in line 1 already'),
        ("q9 Q0 d1 1 0.5 r", 'query "q9" has no text'),
        ("q1 Q0 d9 3 0.5 bm25", 'chunk "d9" has no text'),
    ],
)
def test_a_bad_line_of_a_run_is_named(store: Store, tmp_path: Path, row: str, message: str) -> None:
    run = write_text(tmp_path / "run.trec", RUN + row + "\n")
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [run, _beir(tmp_path / "beir")], format="trec")
    assert message in refused.value.message
    assert f"{run}:" in refused.value.message
    assert not stored(store)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("q1\td1\t1", "q1\td1\t2"), 'test.tsv:3: chunk "d1" of query "q1" has the grade 2 here and 1 before'),
        (("q1\td1\tgood",), "test.tsv:2:"),
        (("q1\td1",), "test.tsv:2:"),
    ],
)
def test_grades_that_are_none_or_contradict_each_other_are_named(
    store: Store, tmp_path: Path, rows: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [_beir(tmp_path / "beir", *rows)])
    assert message in refused.value.message
    assert not stored(store)


def test_two_texts_of_one_query_are_refused(store: Store, tmp_path: Path) -> None:
    folder = _beir(tmp_path / "beir")
    write_lines(folder / "queries.jsonl", [*QUERIES, {"_id": "q1", "text": "another"}])
    with pytest.raises(InvalidDataError, match=r'queries\.jsonl:3: query "q1" had another text before'):
        import_files(store, [folder])


def test_qrels_alone_say_nothing_and_that_is_said(store: Store, tmp_path: Path) -> None:
    qrels = write_text(tmp_path / "qrels.txt", "q1 0 d1 1\n")
    with pytest.raises(UsageError, match="holds qrels, which say more about another file"):
        import_files(store, [qrels])


# ---------------------------------------------------------------------------------------------------------- LlamaIndex


def test_a_llamaindex_data_set_is_its_relevant_chunks(store: Store, tmp_path: Path) -> None:
    data = {
        "queries": {"u1": "how long?", "u2": "where?"},
        "corpus": {"n1": FLEAS, "n2": TICKS, "n3": JUMPS},
        "relevant_docs": {"u1": ["n1"], "u2": ["n2", "n3"]},
        "mode": "text",
    }
    for indent in (4, None):  # as save_json writes it, and on one line
        file = write_text(tmp_path / f"dataset{indent}.json", json.dumps(data, indent=indent))
        (imported,) = import_files(store, [file]).files
        assert (imported.format, imported.interactions + imported.known) == ("llamaindex", 2)
    lines = {line["query_id"]: line for line in stored(store)}
    assert [c["text"] for c in lines["u2"]["retrieved"]] == [TICKS, JUMPS]
    assert [(s["signal"], s["chunk_id"]) for s in lines["u1"]["signals"]] == [("relevant", "n1")]


def test_a_relevant_document_that_the_corpus_lacks_is_named(store: Store, tmp_path: Path) -> None:
    data = {"queries": {"u1": "how long?"}, "corpus": {}, "relevant_docs": {"u1": ["n1"]}}
    file = write_text(tmp_path / "dataset.json", json.dumps(data))
    with pytest.raises(InvalidDataError, match='query "u1" names "n1", which the corpus lacks'):
        import_files(store, [file])


# --------------------------------------------------------------------------------------------------------------- Ragas


def test_a_ragas_sample_is_an_interaction_and_its_missed_references_another(store: Store, tmp_path: Path) -> None:
    sample = {
        "user_input": "how long does a flea live?",
        "retrieved_contexts": [JUMPS, FLEAS],
        "reference_contexts": [FLEAS, TICKS],
        "response": "100 days [2].",
        "reference": "About 100 days.",
    }
    (imported,) = import_files(store, [write_lines(tmp_path / "samples.jsonl", [sample])]).files
    assert (imported.format, imported.interactions) == ("ragas", 2)
    first, missed = sorted(stored(store), key=lambda line: "answer" not in line)
    assert [c["chunk_id"] for c in first["retrieved"]] == [chunk_id(JUMPS), chunk_id(FLEAS)]
    assert first["cited"] == [chunk_id(FLEAS)]  # the marker counts from 1
    assert first["extra"] == {"reference": "About 100 days."}
    assert [(s["signal"], s["chunk_id"], s["source"]) for s in first["signals"]] == [
        ("relevant", chunk_id(FLEAS), "reference")
    ]
    assert [c["text"] for c in missed["retrieved"]] == [TICKS]


def test_ragas_ids_name_the_contexts_and_a_corpus_has_texts_that_are_left_out(store: Store, tmp_path: Path) -> None:
    named = {"user_input": "a", "retrieved_contexts": [FLEAS], "retrieved_context_ids": ["n1"]}
    bare = {"user_input": "b", "retrieved_contexts": None, "retrieved_context_ids": [7], "reference_context_ids": [7]}
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"chunk_id": "7", "text": TICKS}])
    import_files(store, [write_lines(tmp_path / "samples.jsonl", [named, bare])], corpus=corpus)
    first, second = stored(store)
    assert [c["chunk_id"] for c in first["retrieved"]] == ["n1"]
    assert [(c["chunk_id"], c["text"]) for c in second["retrieved"]] == [("7", TICKS)]
    assert [s["signal"] for s in second["signals"]] == ["relevant"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"retrieved_context_ids": ["a"]}, "2 retrieved_contexts and 1 retrieved_context_ids"),
        ({"retrieved_context_ids": ["a", "a"]}, '"a" stands for two texts'),
        ({"retrieved_contexts": "one text"}, "retrieved_contexts is not a list"),
        ({"user_input": None}, "query: missing"),
    ],
)
def test_a_ragas_sample_that_contradicts_itself_is_named(
    store: Store, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    sample = {"user_input": "q", "retrieved_contexts": [FLEAS, JUMPS], **changes}
    file = write_lines(tmp_path / "samples.jsonl", [{"user_input": "ok", "retrieved_contexts": []}, sample])
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f"{file}:2: " in refused.value.message
    assert message in refused.value.message
