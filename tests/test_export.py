import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.builds import build_labels, build_triplets
from store.database import Store
from store.errors import UsageError
from store.ids import anchor_id, chunk_id
from store.policies import Label, Policy, add_policy
from store.triage import add_triage_scores
from store.workspace import create_workspace
from tests.labelled_store import POLICY, distinct, fill, judge, log, question, review
from tests.test_audit import answer, audited, certified, drawn_negatives  # noqa: F401
from tests.test_cli import REPOSITORY, from_json, run
from train.export import export
from train.exports.formats import FORMATS
from train.exports.lines import json_lines, json_list, json_number, json_string
from train.exports.texts import each
from train.triplets import build

FILES = {"manifest.json", "test.jsonl", "train.jsonl"}


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_triplets_come_out_as_they_are_in_the_build(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 6, positives=2))
    manifest = export(store, result.build, tmp_path / "out")
    assert manifest.is_new
    assert set(read(tmp_path / "out")) == FILES
    for split in ("train", "test"):
        rows = lines(tmp_path / "out" / f"{split}.jsonl")
        expected = build_triplets(store, result.build.build_id, split).select(["anchor", "positive", "negative"])
        assert rows == expected.to_pylist()
        assert len(rows) == result.counts[f"triplets_{split}"] > 0


def test_grouped_has_each_text_of_a_query_once(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 6, positives=2, negatives=3))
    export(store, result.build, tmp_path / "out", format="grouped")
    rows = lines(tmp_path / "out" / "train.jsonl") + lines(tmp_path / "out" / "test.jsonl")
    assert {row["anchor"] for row in rows} == {question(i) for i in range(6)}
    number = {question(i): i for i in range(6)}
    for row in rows:
        i = number[str(row["anchor"])]
        assert sorted(row["pos"]) == [distinct(f"good{k}of", i) for k in range(2)]
        assert sorted(row["neg"]) == [distinct(f"bad{k}of", i) for k in range(3)]


def test_the_manifest_says_whose_labels_these_are(store: Store, tmp_path: Path) -> None:
    policy = fill(store, 4)
    good, bad = distinct("good", 99), distinct("bad", 99)
    log(store, "one more?", [good, bad], cited=[good])
    review(store, "one more?", {good: "yes"}, reviewer="bob")
    judge_id = judge(store, "one more?", {bad: "no"})
    result = build(store, policy, judge_labels=True, uncertified=True)
    manifest = export(store, result.build, tmp_path / "out")
    body = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert body == manifest.body
    assert body["build"]["build_id"] == result.build.build_id
    assert body["build"]["reviewers"] == {"ann": 16, "bob": 1}
    assert body["build"]["counts"] == result.counts
    assert body["judges"] == [{"judge_id": judge_id, "labels": 1, "config": {"model": "m", "prompt": "P"}}]
    assert body["policy"]["labelling_fingerprint"] == policy.labelling_fingerprint
    assert body["policy"]["version"] == 1
    counted = {(row["label"], row["role"], row["source"]): 0 for row in body["labels"]}
    for row in body["labels"]:
        counted[row["label"], row["role"], row["source"]] += row["pairs"]
    assert counted == {("yes", "positive", "human"): 5, ("no", "negative", "human"): 12, ("no", "negative", "judge"): 1}
    for name, file in body["files"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_the_manifest_says_what_was_proved_of_the_judges_labels_in_each_split(
    store: Store,
    audited: Policy,  # noqa: F811
    tmp_path: Path,
) -> None:
    group = certified(store, audited).groups[0]
    made = build(store, audited, judge_labels=True)
    body = export(store, made.build, tmp_path / "out").body
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")) == body
    (told,) = body["certificates"]
    stated = ("certificate_id", "policy_name", "group", "bound", "max_error", "confidence", "population", "sampled")
    found, sample = group.finding, group.finding.sample
    expected = (group.certificate_id, "answers", "negatives", found.bound, 0.05, 0.95, sample.population)
    assert tuple(told[name] for name in stated) == (*expected, sample.sampled)
    assert told["evidence"]["judges"] == {body["judges"][0]["judge_id"]: sample.population}
    names = ("split", "label", "role", "source")
    labels = Counter(tuple(row[n] for n in names) for row in build_labels(store, made.build.build_id).to_pylist())
    counted = {tuple(row[n] for n in names): row["pairs"] for row in body["labels"]}
    assert counted == labels
    assert {split for split, _, _, source in counted if source == "judge"} == {"train", "test"}
    assert sum(n for (*_, source), n in counted.items() if source == "judge") == made.counts["judge_negatives"]
    answer(store, audited, drawn_negatives(store, audited)[:1], "yes", reviewed_at=datetime.now(UTC))
    assert export(store, made.build, tmp_path / "later").body == body, "also once it holds no longer"


def test_an_exported_row_leads_back_to_its_triplet(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 3))
    export(store, result.build, tmp_path / "out")
    known = {
        (row["anchor_id"], row["positive_id"], row["negative_id"])
        for row in build_triplets(store, result.build.build_id).to_pylist()
    }
    for row in lines(tmp_path / "out" / "train.jsonl"):
        ids = anchor_id(str(row["anchor"])), chunk_id(str(row["positive"])), chunk_id(str(row["negative"]))
        assert ids in known


def choices() -> dict[str, dict[str, Any]]:
    """Every format as it is, and with scores: a model's in rows of another width, else what the labels are worth."""
    found: dict[str, dict[str, Any]] = {name: {"format": name} for name in FORMATS}
    for name in (name for name, format in FORMATS.items() if format.takes_scores):
        scores = {"scores": "teacher", "negatives": 2} if FORMATS[name].fixed_width else {"scores": "labels"}
        found[f"{name}-scores"] = {"format": name, **scores}
    return found


def test_the_same_labels_give_the_same_bytes_whatever_happens_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.exports.grouped.COHERE_QUERIES", 1)
    for name, moment in (("a", 0), ("b", 500)):
        with Store(tmp_path / f"{name}.duckdb") as store:
            policy = fill(store, 5)
            result = build(store, policy)
            pair_ids = sorted(row["pair_id"] for row in build_labels(store, result.build.build_id).to_pylist())
            scores = {pair_id: number / 3 for number, pair_id in enumerate(pair_ids)}
            add_triage_scores(store, "teacher", dict(sorted(scores.items(), reverse=bool(moment))))
            if moment:  # other labels, other versions of the policy and another build are none of its business
                review(store, question(0), {distinct("good0of", 0): "no"}, reviewer="late", minute=moment)
                labels = (*POLICY.labels[:2], Label("spam", "it is advertising", "negative"))
                add_policy(store, Policy("answers", POLICY.question, "a question", "a passage", labels, POLICY.signals))
                add_policy(store, policy)
                add_triage_scores(store, "another", dict.fromkeys(pair_ids, 0.5))
            for choice, options in choices().items():
                export(store, result.build, tmp_path / name / choice, **options)
    for choice in choices():
        assert read(tmp_path / "a" / choice) == read(tmp_path / "b" / choice), choice


def test_exporting_twice_changes_nothing_and_another_build_is_refused(store: Store, tmp_path: Path) -> None:
    policy = fill(store, 5)
    result = build(store, policy)
    out = tmp_path / "deep" / "out"
    assert export(store, result.build, out).is_new
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert not export(store, result.build, out).is_new
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(UsageError, match="already holds something else"):
        export(store, result.build, out, format="grouped")
    with pytest.raises(UsageError, match="already holds something else"):
        export(store, build(store, policy, seed=7).build, out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_damaged_export_is_not_taken_for_the_same(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 5))
    export(store, result.build, tmp_path / "out")
    (tmp_path / "out" / "train.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="already holds something else"):
        export(store, result.build, tmp_path / "out")


def test_an_empty_folder_is_filled_and_a_file_is_refused(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 5))
    (tmp_path / "empty").mkdir()
    assert export(store, result.build, tmp_path / "empty").is_new
    assert set(read(tmp_path / "empty")) == FILES
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError):
            export(store, result.build, place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_export_leaves_nothing_and_what_a_killed_one_left_is_no_obstacle(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = build(store, fill(store, 5))
    left = tmp_path / "exports" / ".out.unfinished"
    left.mkdir(parents=True)
    (left / "train.jsonl").write_text("half a li")
    with monkeypatch.context() as broken:
        broken.setattr("train.export.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(store, result.build, tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []
    export(store, result.build, tmp_path / "exports" / "out")
    assert set(read(tmp_path / "exports" / "out")) == FILES


def test_a_split_without_triplets_has_no_file(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 5), test_share=0)
    manifest = export(store, result.build, tmp_path / "out")
    assert set(read(tmp_path / "out")) == {"manifest.json", "train.jsonl"}
    assert set(manifest.body["files"]) == {"train.jsonl"}


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
NASTY = ['"', "\\", '\\"', "a,b", "tab\there", "line\nbreak", "\r\n", "\x00\x1f\x7f", "\u2028\u2029\x85", "日本語 🎉"]
BREAKS = "[\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+"


def test_any_text_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    policy, _ = add_policy(store, POLICY)
    expected = []
    for number, text in enumerate(NASTY):
        row = (f"{question(number)} {text}", f"{text} {distinct('good', number)}", f"{distinct('bad', number)} {text}")
        log(store, row[0], list(row[1:]), cited=[row[1]])
        review(store, row[0], {row[1]: "yes", row[2]: "no"})
        expected.append(row)
    made = build(store, policy, test_share=0).build
    for format in ("triplet", "csv", "parquet", "msmarco"):
        export(store, made, tmp_path / format, format=format)
    rows = [dict(zip(("anchor", "positive", "negative"), row, strict=True)) for row in sorted(expected)]
    written = (tmp_path / "triplet" / "train.jsonl").read_bytes().decode().split("\n")[:-1]
    assert sorted(written) == sorted(json.dumps(row, ensure_ascii=False) for row in rows)
    with (tmp_path / "csv" / "train.csv").open(encoding="utf-8", newline="") as opened:
        assert sorted(csv.DictReader(opened), key=lambda row: row["anchor"]) == rows
    table = pq.read_table(tmp_path / "parquet" / "train.parquet")
    assert sorted(table.to_pylist(), key=lambda row: row["anchor"]) == rows
    flat = [tuple(re.sub(BREAKS, " ", text) for text in row) for row in expected]
    tsv = (tmp_path / "msmarco" / "triples.train.tsv").read_text("utf-8").splitlines()
    assert sorted(tuple(line.split("\t")) for line in tsv) == sorted(flat)


@given(st.lists(st.lists(TEXT, max_size=4), max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_a_column_of_json_is_what_json_dumps_writes(rows: list[list[str]], data: st.DataObject) -> None:
    lists = pa.array(rows, pa.list_(pa.string()))
    start = data.draw(st.integers(0, len(rows)))
    part = lists.slice(start)
    numbers = [[float(len(text)) / 3 for text in texts] for texts in rows]
    column = pa.array(numbers, pa.list_(pa.float64())).slice(start)
    written = json_lines(a=json_list(each(part, json_string)), b=json_list(json_number(column))).to_pylist()
    expected = [{"a": texts, "b": scores} for texts, scores in zip(rows, numbers, strict=True)][start:]
    assert written == [json.dumps(row, ensure_ascii=False) + "\n" for row in expected]


def test_pages_of_any_size_make_the_same_files(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(store, fill(store, 8, positives=2, negatives=5)).build
    formats = ("triplet", "grouped", "n-tuple", "labeled-list", "beir", "tevatron", "datasets")
    for format in formats:
        export(store, made, tmp_path / format, format=format)
    monkeypatch.setattr("train.exports.source._PAGE_BYTES", 300)
    monkeypatch.setattr("train.exports.texts._AT_A_TIME", 3)
    monkeypatch.setattr("store.build_rows._TEXTS_AT_A_TIME", 5)
    monkeypatch.setattr("store.build_rows._ROWS_AT_A_TIME", 41)
    for format in formats:
        export(store, made, tmp_path / "parts" / format, format=format)
        whole, parts = read(tmp_path / format), read(tmp_path / "parts" / format)
        if format != "datasets":
            assert parts == whole
            continue
        for split in ("train", "test"):  # Arrow keeps the pages apart; what is in them is the same
            file = f"{split}/data-00000-of-00001.arrow"
            assert pa.ipc.open_stream(parts[file]).read_all() == pa.ipc.open_stream(whole[file]).read_all()


def test_datasets_loads_lines_as_they_are(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from datasets import load_dataset

    made = build(store, fill(store, 6)).build
    for format, columns in (("triplet", ["anchor", "positive", "negative"]), ("grouped", ["anchor", "pos", "neg"])):
        out = tmp_path / format
        export(store, made, out, format=format)
        files = {split: str(out / f"{split}.jsonl") for split in ("train", "test")}
        loaded = load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
        assert loaded["train"].column_names == columns
        assert loaded["train"].to_list() == lines(out / "train.jsonl")
        assert loaded["test"].to_list() == lines(out / "test.jsonl")


# ------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A workspace with a build."""
    workspace = create_workspace(tmp_path / "w")
    settings_file = tmp_path / "w" / "uncited.toml"
    settings_file.write_text('[export]\nlicence = "ask Ann"\n', encoding="utf-8")
    with workspace.open() as store:
        build(store, fill(store, 6))
    return tmp_path / "w"


def test_an_export_is_checked_against_its_manifest(built: Path) -> None:
    shown = run("export", "--policy", "answers", "--out", "out", "--format", "beir", cwd=built)
    assert "qrels/test.tsv" in shown.stdout
    assert "stand on no scale" in shown.stderr
    body = json.loads((built / "out" / "manifest.json").read_text("utf-8"))
    assert body["licence"]["stated"] == "ask Ann"
    assert "6 files" in run("export", "--verify", "out", cwd=built).stdout
    assert from_json("export", "--verify", "w/out", cwd=built.parent)["files"] == len(body["files"])
    (built / "out" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    (built / "out" / "queries.jsonl").unlink()
    (built / "out" / "notes.txt").write_text("mine")
    done = run("export", "--verify", "out", cwd=built, status=5)
    assert "changed: qrels/test.tsv; missing: queries.jsonl; not in the manifest: notes.txt" in done.stderr
    assert f"--build {body['build']['build_id']} --format beir" in done.stderr
    (built / "out" / "manifest.json").write_text('{"files": 3}')
    assert "is not what an export writes" in run("export", "--verify", "out", cwd=built, status=5).stderr
    assert "is no export" in run("export", "--verify", "policies", cwd=built, status=4).stderr
    assert "there is no folder nope" in run("export", "--verify", "nope", cwd=built, status=4).stderr


def test_what_cannot_be_written_is_said_and_nothing_is_left(built: Path) -> None:
    assert "which build, and where to?" in run("export", "--policy", "answers", cwd=built, status=2).stderr
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); import cli; cli.main()"
    command = [sys.executable, "-c", code, "export", "--policy", "answers", "--out", "full"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    (built / "uncited.duckdb.wal").unlink(missing_ok=True)
    done = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot write the export to full: File too large" in done.stderr
    assert not list(built.glob("*full*"))


def test_without_a_test_split_the_command_says_so(built: Path) -> None:
    run("build", "--policy", "answers", "--test-share", "0", cwd=built)
    done = run("export", "--policy", "answers", "--out", "out", cwd=built)
    assert "The build has no test split" in done.stderr
    again = run("build", "--policy", "answers", cwd=built).stderr  # the first of the two, which is not the newest
    assert "nothing changed" in again
    assert re.search(r"uncited export --policy answers --build build_\w{8} --out DIR", again)
