"""`uncited synthesize` and `uncited monitor` as they are typed, in workspaces that are more or less ready."""

import json
from pathlib import Path

import pytest

from tests.judge_stub import Call, Response, labelled, serving
from tests.test_cli import from_json, run
from tests.test_cli import workspace as workspace
from tests.test_synthesize import answer, chunk, is_writing

pytestmark = pytest.mark.slow

POLICY = ("--policy", "answers-the-question")


def judged(call: Call) -> Response:
    return answer(call) if is_writing(call) else labelled("answers")


def log_lines(count: int) -> str:
    lines = []
    for number in range(count):
        retrieved = [{"chunk_id": f"c{number + n}", "rank": n + 1, "text": chunk(number + n)} for n in range(2)]
        line = {
            "query": f"logged question {number}",
            "retrieved": retrieved,
            "cited": [f"c{number}"],
            "time": "2026-11-02T09:00:00Z",
        }
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def test_what_is_missing_is_named_with_the_command_to_run(workspace: Path) -> None:
    for command in (("synthesize", *POLICY, "--for", "evaluation"), ("monitor", *POLICY)):
        assert "uncited policy add" in run(*command, cwd=workspace, status=4).stderr
    run("policy", "add", "policies/example.yaml", cwd=workspace)
    assert "--model NAME" in run("synthesize", *POLICY, "--for", "training", cwd=workspace, status=2).stderr
    nobody = run("synthesize", *POLICY, "--for", "training", "--model", "m", cwd=workspace, status=4).stderr
    assert "OPENAI_API_KEY" in nobody
    assert "--base-url" in nobody
    assert "uncited import" in run("monitor", *POLICY, cwd=workspace, status=4).stderr
    assert "Invalid value" in run("synthesize", *POLICY, "--for", "fun", cwd=workspace, status=2).stderr


def test_without_an_accepted_question_nothing_is_there_to_mine(workspace: Path) -> None:
    (workspace / "log.jsonl").write_text(log_lines(3))
    run("policy", "add", "policies/example.yaml", cwd=workspace)
    run("import", "log.jsonl", cwd=workspace)
    with serving(lambda call: answer(call) if is_writing(call) else labelled("does-not-answer")) as stub:
        asked = ("--for", "evaluation", "--count", 1, "--model", "m", "--base-url", stub.url)
        done = run("synthesize", *POLICY, *asked, cwd=workspace)
    assert "No question was accepted" in done.stderr
    assert "uncited mine" not in done.stderr


def test_both_go_through_and_speak_json(workspace: Path) -> None:
    (workspace / "log.jsonl").write_text(log_lines(12))
    run("policy", "add", "policies/example.yaml", cwd=workspace)
    run("import", "log.jsonl", cwd=workspace)
    run("mine", *POLICY, cwd=workspace)
    with serving(judged) as stub:
        asked = ("--model", "m", "--base-url", stub.url)
        (write, judge) = from_json("synthesize", *POLICY, "--for", "evaluation", "--dry-run", *asked, cwd=workspace)[
            "tasks"
        ]
        assert (write["task"], judge["requests"], len(stub.calls)) == ("write", 20, 0)
        written = from_json("synthesize", *POLICY, "--for", "evaluation", "--count", 3, *asked, cwd=workspace)
        assert (written["accepted"], written["stopped"]) == (3, None)
        refused = run("synthesize", *POLICY, "--for", "training", "--budget", 1, *asked, cwd=workspace, status=2)
        assert "no price is known" in refused.stderr
        found = from_json("monitor", *POLICY, "--share", 1, "--plot", "p.png", *asked, cwd=workspace)
        assert found["run"]["drawn"] == 12
        assert found["report"]["periods"][0]["name"] == "2026-11-02"
        assert (workspace / "p.png").stat().st_size > 5000
        calls = len(stub.calls)
        table = run("monitor", *POLICY, "--share", 1, *asked, cwd=workspace).stdout
        assert "Precision by week" in table
        assert len(stub.calls) == calls
    assert "Questions that a model wrote" in run("status", cwd=workspace).stdout
