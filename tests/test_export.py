import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.builds import build_triplets
from store.database import Store
from store.errors import UsageError
from store.ids import anchor_id, chunk_id
from store.policies import Label, Policy, add_policy
from tests.labelled_store import POLICY, distinct, fill, judge, log, question, review
from train.export import Format, export
from train.triplets import build

FILES = {"manifest.json", "test.jsonl", "test.parquet", "train.jsonl", "train.parquet"}


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_triplets_come_out_as_json_lines_and_as_the_same_parquet(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 6, positives=2))
    manifest = export(store, result.build, tmp_path / "out")
    assert manifest.is_new
    assert set(read(tmp_path / "out")) == FILES
    for split in ("train", "test"):
        rows = lines(tmp_path / "out" / f"{split}.jsonl")
        expected = build_triplets(store, result.build.build_id, split).select(["anchor", "positive", "negative"])
        assert rows == expected.to_pylist() == pq.read_table(tmp_path / "out" / f"{split}.parquet").to_pylist()
        assert len(rows) == result.counts[f"triplets_{split}"] > 0


def test_grouped_has_each_text_of_a_query_once(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 6, positives=2, negatives=3))
    export(store, result.build, tmp_path / "out", format="grouped")
    rows = lines(tmp_path / "out" / "train.jsonl") + lines(tmp_path / "out" / "test.jsonl")
    assert {row["anchor"] for row in rows} == {question(i) for i in range(6)}
    number = {question(i): i for i in range(6)}
    for row in rows:
        i = number[str(row["anchor"])]
        assert sorted(row["pos"]) == [distinct(f"good{k}of", i) for k in range(2)]  # type: ignore[call-overload]
        assert sorted(row["neg"]) == [distinct(f"bad{k}of", i) for k in range(3)]  # type: ignore[call-overload]
    assert pq.read_table(tmp_path / "out" / "train.parquet").to_pylist() == lines(tmp_path / "out" / "train.jsonl")


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


@pytest.mark.parametrize("format", ["triplets", "grouped"])
def test_the_same_labels_give_the_same_bytes_whatever_happens_later(tmp_path: Path, format: Format) -> None:
    written = []
    for name, moment in (("a", 0), ("b", 500)):
        with Store(tmp_path / name) as store:
            policy = fill(store, 5)
            result = build(store, policy)
            if moment:  # other labels, other versions of the policy and another build are none of its business
                review(store, question(0), {distinct("good0of", 0): "no"}, reviewer="late", minute=moment)
                labels = (*POLICY.labels[:2], Label("spam", "it is advertising", "negative"))
                add_policy(store, Policy("answers", POLICY.question, "a question", "a passage", labels, POLICY.signals))
                add_policy(store, policy)
            export(store, result.build, tmp_path / f"out-{name}", format=format)
            written.append(read(tmp_path / f"out-{name}"))
    assert written[0] == written[1]


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
        broken.setattr("train.export._manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(store, result.build, tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []
    export(store, result.build, tmp_path / "exports" / "out")
    assert set(read(tmp_path / "exports" / "out")) == FILES


def test_a_split_without_triplets_has_no_file(store: Store, tmp_path: Path) -> None:
    result = build(store, fill(store, 5), test_share=0)
    manifest = export(store, result.build, tmp_path / "out")
    assert set(read(tmp_path / "out")) == {"manifest.json", "train.jsonl", "train.parquet"}
    assert set(manifest.body["files"]) == {"train.jsonl", "train.parquet"}  # type: ignore[call-overload]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=3, max_size=3, unique=True))
@settings(max_examples=25, deadline=None)
def test_any_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    query, good, bad = texts[0], f"{texts[1]} {distinct('good')}", f"{texts[2]} {distinct('bad')}"
    folder = tmp_path_factory.mktemp("any")
    with Store(folder / "uncited.duckdb") as store:
        policy, _ = add_policy(store, POLICY)
        log(store, query, [good, bad], cited=[good])
        review(store, query, {good: "yes", bad: "no"})
        result = build(store, policy, test_share=0)
        export(store, result.build, folder / "out")
    expected = [{"anchor": query, "positive": good, "negative": bad}]
    assert lines(folder / "out" / "train.jsonl") == expected
    assert pq.read_table(folder / "out" / "train.parquet").to_pylist() == expected


def test_batches_of_any_size_make_the_same_files(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import functools

    from store import builds

    result = build(store, fill(store, 8, positives=2))
    whole, parts = {}, {}
    for format in ("triplets", "grouped"):
        export(store, result.build, tmp_path / format, format=format)  # type: ignore[arg-type]
        whole[format] = lines(tmp_path / format / "train.jsonl")
    monkeypatch.setattr("train.export.triplet_batches", functools.partial(builds.triplet_batches, size=3))
    monkeypatch.setattr("train.export.grouped_batches", functools.partial(builds.grouped_batches, size=2))
    for format in ("triplets", "grouped"):
        export(store, result.build, tmp_path / f"{format}-parts", format=format)  # type: ignore[arg-type]
        parts[format] = lines(tmp_path / f"{format}-parts" / "train.jsonl")
    assert parts == whole


def test_datasets_loads_every_file_without_conversion(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from datasets import Dataset, load_dataset

    result = build(store, fill(store, 6))
    for format, columns in (("triplets", ["anchor", "positive", "negative"]), ("grouped", ["anchor", "pos", "neg"])):
        out = tmp_path / format
        export(store, result.build, out, format=format)  # type: ignore[arg-type]
        for kind, ending in (("json", "jsonl"), ("parquet", "parquet")):
            files = {split: str(out / f"{split}.{ending}") for split in ("train", "test")}
            loaded = load_dataset(kind, data_files=files, cache_dir=str(tmp_path / "cache"))
            assert loaded["train"].column_names == columns
            assert loaded["train"].to_list() == lines(out / "train.jsonl")
            assert loaded["test"].to_list() == lines(out / "test.jsonl")
        read_alone = Dataset.from_parquet(str(out / "train.parquet"), cache_dir=str(tmp_path / "cache"))
        assert read_alone.to_list() == lines(out / "train.jsonl")
