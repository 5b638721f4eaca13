"""The benchmark of what checked labels are worth, on a log of a dozen queries."""

import json
from pathlib import Path

import pytest

from bench.training_value import main
from tests.labelled_store import distinct, question


def graded_log(folder: Path) -> Path:
    """Write a log in which the first chunk of each query is cited, and one that is not cited is relevant too."""
    grades = {"cited": 3, "hidden": 2, "bad": 1, "worse": 0}
    interactions, qrels = [], []
    for i in range(12):
        retrieved = [
            {"chunk_id": f"{name}{i}", "rank": rank, "text": distinct(name, i)} for rank, name in enumerate(grades, 1)
        ]
        line = {"query_id": f"q{i}", "query": question(i), "retrieved": retrieved, "cited": [f"cited{i}"]}
        interactions.append(json.dumps(line))
        for name, grade in grades.items():
            qrels.append(json.dumps({"query_id": f"q{i}", "chunk_id": f"{name}{i}", "grade": grade}))
    (folder / "interactions.jsonl").write_text("\n".join(interactions) + "\n")
    (folder / "qrels.jsonl").write_text("\n".join(qrels) + "\n")
    return folder


@pytest.mark.slow
def test_the_benchmark_prints_every_arm_with_its_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "log").mkdir()
    log = graded_log(tmp_path / "log")
    main([str(log), "--triplets", "6", "--seeds", "1", "--batch-size", "6", "--keep", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert "log: 6 test queries in 6 groups, 24 graded pairs" in said
    rows = {line[:24].strip(): line[24:] for line in said.splitlines()}
    assert " 100%" in rows["naive"], "the first uncited chunk of each query is relevant"
    assert " 0%" in rows["certified"]
    for arm in ("certified", "certified + promoted", "random"):
        assert " to " in rows[arm]
    assert list((tmp_path / "kept" / "log" / "experiments").glob("ablation-*.json"))
