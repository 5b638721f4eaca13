"""Real lists, grades and answers, written in other formats and imported: nothing of them is lost."""

import json
from pathlib import Path
from typing import Any

from mining.import_log import import_files
from store.database import Store
from tests.imported import write_lines, write_text


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def _lists(store: Store, source: str) -> dict[object, list[tuple[object, object, object]]]:
    rows = store.rows(
        "SELECT query_id, list((rank, retrievals.external_id, text) ORDER BY rank) AS chunks FROM retrievals"
        " JOIN interactions AS i USING (interaction_id) JOIN chunks USING (chunk_id)"
        " JOIN imports USING (import_id) WHERE format = ? AND i.source IS DISTINCT FROM 'grades' GROUP BY ALL",
        [source],
    )
    return {row["query_id"]: row["chunks"] for row in rows}


def test_a_trec_run_with_qrels_says_what_the_native_log_says(store: Store, real_logs: Path, tmp_path: Path) -> None:
    folder = real_logs / "trec_dl19"
    logged, grades = _lines(folder / "interactions.jsonl"), _lines(folder / "qrels.jsonl")
    run = write_text(
        tmp_path / "run.trec",
        "".join(
            f"{line['query_id']} Q0 {c['chunk_id']} {c['rank']} {c['score'] or 0} splade\n"
            for line in logged
            for c in line["retrieved"]
        ),
    )
    qrels = write_text(
        tmp_path / "qrels.txt", "".join(f"{g['query_id']} 0 {g['chunk_id']} {g['grade']}\n" for g in grades)
    )
    queries = write_lines(tmp_path / "q.jsonl", [{"_id": i["query_id"], "text": i["query"]} for i in logged])
    texts = {c["chunk_id"]: c["text"] for line in logged for c in line["retrieved"]}
    corpus = write_lines(tmp_path / "c.jsonl", [{"_id": n, "title": "", "text": t} for n, t in texts.items()])
    import_files(store, [folder / "interactions.jsonl"])
    import_files(store, [run, qrels, queries], corpus=corpus)
    assert _lists(store, "trec") == _lists(store, "uncited")
    known = {(g["query_id"], g["chunk_id"]) for g in grades if g["chunk_id"] in texts}
    # A grade is given to a text; where one list holds it under two names, both carry the grade.
    assert store.count("SELECT count(*) FROM signals WHERE signal LIKE 'grade:%'") == len(known)


def test_answers_of_trec_rag_cite_what_the_native_log_says(store: Store, real_logs: Path, tmp_path: Path) -> None:
    folder = real_logs / "crowdrag25"
    logged = _lines(folder / "interactions.jsonl")
    answers = []
    for line in logged:
        references = [chunk["chunk_id"] for chunk in line["retrieved"]]
        sentence = {"text": line["answer"], "citations": [references.index(name) for name in line["cited"]]}
        told = {"run_id": "r", "topic_id": line["query_id"], "topic": line["query"]}
        answers.append({**told, "references": references, "answer": [sentence]})
    file = write_lines(tmp_path / "answers.jsonl", answers)
    (imported,) = import_files(store, [file], corpus=folder / "corpus.jsonl").files
    assert (imported.format, imported.interactions) == ("trec-rag", len(logged))
    cited = store.rows(
        "SELECT DISTINCT query_id, chunk_id FROM signals JOIN interactions USING (interaction_id)"
        " WHERE signal = 'cited'"
    )
    import_files(store, [folder / "interactions.jsonl"])
    native = store.rows(
        "SELECT DISTINCT query_id, chunk_id FROM signals JOIN interactions USING (interaction_id)"
        " JOIN imports USING (import_id) WHERE signal = 'cited' AND format = 'uncited'"
    )
    assert sorted(map(repr, cited)) == sorted(map(repr, native))
