"""What a run says of itself: its record, its model card, where it is listed, and what of it is published."""

import base64
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli import app
from store.builds import note_output
from store.database import Store
from store.errors import ProviderError
from tests.evaluations import evaluation
from tests.judge_stub import running
from tests.labelled_store import fill
from tests.test_cli import from_json, run
from train import trainer
from train.evaluation_file import write_evaluation
from train.model_card import write_model_card
from train.recipe import Recipe
from train.rows import read_training_split
from train.runs import list_runs, read_run
from train.triplets import build


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run("init", "w", cwd=folder)
    return folder / "w"


@pytest.fixture(scope="module")
def trained(workspace: Path, minilm: str) -> Path:
    """A run of two steps on a build of a workspace."""
    with Store(workspace / "uncited.duckdb") as store:
        built = build(store, fill(store, 12)).build
        split = read_training_split(store, built)
        folder = workspace / "models" / f"answers-{built.build_id.removeprefix('build_')[:8]}"
        note_output(store, built.build_id, "model", folder)
    recipe = Recipe(base_model=minilm, batch_size=4, max_steps=2)
    trainer.train(split, recipe, out=folder)
    texts = [text for name in ("anchor", "chunk") for text in split.labels[name].to_pylist()]
    (workspace.parent / "texts.json").write_text(json.dumps(texts))
    return folder


def test_the_record_says_where_the_data_comes_from(trained: Path) -> None:
    record = read_run(trained)
    assert record is not None
    (told,) = record["builds"]
    assert told["build_id"] == record["build_id"]
    assert told["policy"]["name"] == "answers"
    assert told["policy"]["labelling_fingerprint"] != told["policy"]["training_fingerprint"]
    assert sum(row["pairs"] for row in told["labels"]) == 12 * 4
    assert (told["reviewers"], told["certificates"], told["uncertified"]) == (1, [], False)
    assert {"python", "platform", "device_name"} <= record["environment"].keys()
    assert record["validation"]["why_not"] == "not asked for"
    assert "model.safetensors" in record["files"]


def test_the_card_tells_all_that_and_quotes_no_text_of_the_logs(trained: Path, workspace: Path) -> None:
    card = write_model_card(trained).read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers")
    assert "> Does the passage answer the question?" in card
    assert "| human | positive |" in card
    assert "Reviewed by 1 person." in card
    assert "Not evaluated yet" in card
    assert "ann" not in card.split()
    for text in json.loads((workspace.parent / "texts.json").read_text()):
        assert text not in card


def test_results_are_told_of_the_weights_that_were_measured_and_of_no_others(trained: Path, workspace: Path) -> None:
    record = read_run(trained)
    assert record is not None
    found = evaluation(record["build_id"], "base")
    base, tuned = found.systems
    named = f"{trained.name}@{record['model_sha256'][:12]}"
    try:
        write_evaluation(trained / "evaluation.json", replace(found, systems=(base, replace(tuned, model_id=named))))
        assert "| nDCG@10 | 0.641 | 0.610 | +0.012 to +0.050 | gain |" in write_model_card(trained).read_text()
        said = run("runs", cwd=workspace, COLUMNS="80").stdout
        assert "0.641 (base +0.012 to +0.050)" in said
        table, _, named_below = said.partition("Run 1: ")
        assert max(map(len, table.splitlines())) <= 80
        assert named_below.startswith(f"models/{trained.name} (answers, build ")
        write_evaluation(trained / "evaluation.json", found)
        assert "Not evaluated yet" in write_model_card(trained).read_text()
        assert from_json("runs", cwd=workspace)[0]["test nDCG@10"] == "of other weights"
    finally:
        (trained / "evaluation.json").unlink()


def test_runs_are_listed_and_weights_that_changed_are_named(trained: Path, workspace: Path) -> None:
    (listed,) = from_json("runs", cwd=workspace)
    assert listed["policy"] == "answers"
    assert not listed["changed"]
    assert listed["steps"] == 2
    assert (trained / "evaluation.json").write_text("{}")
    assert not list_runs([trained])[0].changed, "what is written beside a model is no part of it"
    assert from_json("runs", cwd=workspace)[0]["test nDCG@10"] == "cannot be read"
    (trained / "evaluation.json").unlink()
    weights = trained / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = run("runs", cwd=workspace).stdout
        assert "the weights or settings are not those that were trained" in said
        said = run("push-model", "a/b", "--policy", "answers", cwd=workspace, status=5, HF_TOKEN="t").stderr
        assert "is not as it was trained" in said
    finally:
        weights.write_bytes(whole)


def test_a_workspace_without_runs_says_what_makes_one(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    (tmp_path / "w" / "models" / "half").mkdir(parents=True)
    done = run("runs", cwd=tmp_path / "w")
    assert "No model was trained here yet" in done.stdout
    assert "uncited train" in done.stderr
    assert from_json("runs", cwd=tmp_path / "w") == []


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload needs; it keeps what was committed."""

    committed: dict[str, bytes]
    private: bool | None
    is_full: bool

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.headers["Authorization"] == "Bearer reads":
            self._answer(403, {"error": "You may not make repositories here"})
        elif self.headers["Authorization"] != "Bearer good":
            self._answer(401, {"error": "Invalid token"})
        elif self.path == "/api/repos/create":
            type(self).private = json.loads(body).get("visibility") == "private" or json.loads(body).get("private")
            self._answer(200, {"url": f"http://{self.headers['Host']}/team/model"})
        elif self.path.startswith("/api/models/team/model/preupload"):
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self._answer(200, {"files": files})
        elif self.is_full:
            self._answer(403, {"error": "Your storage is full"})
        elif self.path.startswith("/api/models/team/model/commit"):
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.committed[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._answer(
                200,
                {"success": True, "commitUrl": f"http://{self.headers['Host']}/team/model/commit/1", "commitOid": "1"},
            )
        else:
            self._answer(404, {"error": self.path})

    def do_GET(self) -> None:
        if self.path.endswith("/auth-check/write") and self.headers["Authorization"] != "Bearer good":
            self._answer(403, {"error": "You may not write to it"})
            return
        self._answer(200, {"id": "team/model", "siblings": [], "sha": "0" * 40})

    def _answer(self, status: int, body: Mapping[str, object]) -> None:
        self.send_response(status)
        if "error" in body:
            self.send_header("X-Error-Message", str(body["error"]))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.committed, Hub.private, Hub.is_full = {}, None, False
    server = HTTPServer(("127.0.0.1", 0), Hub)
    with running(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_model_is_published_with_its_card_and_nothing_that_holds_texts(
    trained: Path, workspace: Path, hub: str
) -> None:
    (trained / "evaluation.json").write_text("{}")
    (trained / "report.html").write_text("texts")
    policy = ("--policy", "answers")
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_TOKEN": "good"}
    done = run("push-model", "team/model", *policy, cwd=workspace, **online)
    assert f"{hub}/team/model" in done.stdout
    record = read_run(trained)
    assert record is not None
    assert set(Hub.committed) == {*record["files"], "README.md"}
    assert Hub.committed["model.safetensors"] == (trained / "model.safetensors").read_bytes()
    assert Hub.private
    refused = run("push-model", "team/model", *policy, cwd=workspace, status=6, **online | {"HF_TOKEN": "bad"}).stderr
    assert f"{hub} did not take team/model" in refused


def test_training_asks_the_hub_before_it_begins_and_publishes_once_it_has_ended(
    trained: Path,
    workspace: Path,
    minilm: str,
    hub: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(token: str) -> str:
        monkeypatch.setenv("HF_TOKEN", token)
        recipe = ["--base-model", minilm, "--batch-size", "4", "--max-steps", "1", "--validation-share", "0"]
        command = ["train", "--policy", "answers", *recipe, "--out", "new", "--push-to-hub", "team/model"]
        app(command, standalone_mode=False)
        return capsys.readouterr().out

    monkeypatch.chdir(workspace)
    monkeypatch.setenv("HF_ENDPOINT", hub)
    for name, value in (("HF_HUB_OFFLINE", False), ("ENDPOINT", hub)):  # which it reads when it is imported
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    with pytest.raises(ProviderError, match=f"{hub} did not take team/model.*You may not write to it"):
        train("reads")  # a repository that is there, and may be read
    assert not Path("new").exists()
    Hub.is_full = True
    with pytest.raises(ProviderError, match=r"trained, but not published.*Your storage is full") as refused:
        train("good")
    assert refused.value.hint == "uncited push-model team/model --policy answers --model new"
    assert "new: trained; 1 steps" in capsys.readouterr().out
    Hub.is_full = False
    said = train("good")
    assert "was trained before" in said
    assert f"{hub}/team/model: uploaded" in said
    assert Hub.private
    assert Hub.committed["model.safetensors"] == Path("new/model.safetensors").read_bytes()
    assert "run.json" not in Hub.committed
    shutil.rmtree("new")  # other tests look at the newest run


@pytest.mark.slow
def test_without_token_network_or_name_nothing_is_published_and_the_next_step_is_named(
    trained: Path, workspace: Path, tmp_path: Path
) -> None:
    alone = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    policy = ("--policy", "answers")
    said = run("push-model", "team/model", *policy, cwd=workspace, status=4, **alone).stderr
    assert "hf auth login" in said
    said = run("push-model", "team/model", *policy, cwd=workspace, status=6, **alone, HF_TOKEN="t").stderr
    assert "did not take team/model" in said
    said = run("push-model", "model", *policy, cwd=workspace, status=2, **alone, HF_TOKEN="t").stderr
    assert "names no repository" in said


def test_status_leads_from_the_build_through_model_and_evaluation_to_the_report(
    trained: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> dict[str, Any]:
        app(["status", "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    monkeypatch.chdir(workspace)
    record = read_run(trained)
    assert record is not None
    kept, page = trained / "evaluation.json", workspace / "told.html"
    for of_another_test in (kept, trained / "report.html"):
        of_another_test.unlink(missing_ok=True)
    for name, command in (
        (trained.name, "uncited evaluate --policy answers"),
        ("my model", "uncited evaluate --policy answers --model 'models/my model'"),
        (".unfinished", "uncited train --policy answers"),
    ):
        moved = trained.rename(trained.with_name(name))
        try:
            assert status()["next_command"] == command
        finally:
            moved.rename(trained)
    try:
        write_evaluation(kept, evaluation(record["build_id"], "base"))
        told = status()
        assert told["next_command"] == f"uncited report models/{trained.name}"
        (newest,) = told["newest_builds"]
        assert (newest["build_id"], len(newest["runs"]), len(newest["evaluated"])) == (record["build_id"], 1, 1)
        page.write_text("")
        with Store(workspace / "uncited.duckdb") as store:
            note_output(store, record["build_id"], "report", page)
        assert status()["next_command"] == "uncited review next --policy answers"
        os.utime(page, (0, 0))
        assert status()["next_command"] == f"uncited report models/{trained.name}", "it was evaluated since"
    finally:
        kept.unlink()
    shown = run("status", cwd=workspace, COLUMNS="80").stdout
    assert record["build_id"][:14] in shown
    assert max(map(len, shown.splitlines())) <= 80
