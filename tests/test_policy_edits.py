"""`uncited policy` as a person or a machine runs it."""

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.judge_stub import Call, Response, Stub, labelled, serving
from tests.reviewing import LOG
from tests.test_cli import REPOSITORY, from_json, run

POLICY = "policies/example.yaml"
NAME = "answers-the-question"
Edit = Callable[[str, str], None]


def strictly(call: Call) -> Response:
    """A judge that calls everything an answer, and nothing once it is asked for full ones."""
    return labelled("on-topic" if "in full" in call.body["messages"][0]["content"] else "answers")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Stub]]:
    """A workspace whose ten pairs are judged, and four of them reviewed; and its judge."""
    parent = tmp_path_factory.mktemp("prepared")
    with serving(strictly) as stub:
        run("init", "w", cwd=parent)
        folder = parent / "w"
        lines = [
            {
                "query_id": f"q{number}",
                "query": query,
                "retrieved": [
                    {"chunk_id": f"c{number}-{n}", "rank": n, "text": text} for n, text in enumerate(texts, 1)
                ],
                "cited": [f"c{number}-1"],
            }
            for number, (query, (_, texts)) in enumerate(LOG.items())
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        with (folder / "labels.csv").open("w", newline="") as out:
            csv.writer(out).writerows(
                [["query", "chunk", "label", "reviewer"]]
                + [["q0", f"c0-{n}", "answers" if n < 3 else "on-topic", "ann"] for n in range(1, 5)]
            )
        (folder / "uncited.toml").write_text(
            f'[judge]\nmodel = "stub"\nbase_url = "{stub.url}"\n[prices.stub]\ninput = 100.0\noutput = 0.0\n'
        )
        run("import", "log.jsonl", cwd=folder)
        run("policy", "add", POLICY, cwd=folder)
        run("mine", "--policy", NAME, cwd=folder)
        run("judge", "--policy", NAME, cwd=folder)
        run("review", "import", "labels.csv", "--policy", NAME, cwd=folder)
        yield folder, stub


@pytest.fixture
def workspace(prepared: tuple[Path, Stub], tmp_path: Path) -> Path:
    """A copy of that workspace."""
    return Path(shutil.copytree(prepared[0], tmp_path / "w"))


@pytest.fixture
def stub(prepared: tuple[Path, Stub]) -> Stub:
    """The judge, which has been asked nothing yet."""
    prepared[1].calls.clear()
    return prepared[1]


@pytest.fixture
def edit(workspace: Path) -> Edit:
    """Replace a piece of the policy's file."""

    def replace(old: str, new: str) -> None:
        text = (workspace / POLICY).read_text(encoding="utf-8")
        assert old in text
        (workspace / POLICY).write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


def test_a_free_edit_is_added_and_an_edit_that_costs_is_left_to_apply(workspace: Path, edit: Edit) -> None:
    edit("role: negative", "role: excluded")
    assert from_json("policy", "add", POLICY, cwd=workspace)["version"] == 2
    edit("at least in part?", "in full?")
    refused = run("policy", "add", POLICY, cwd=workspace, status=2).stderr
    assert "10 judged pairs and 4 answers of people asked again; nothing was stored" in refused
    assert f"uncited policy plan {POLICY}" in refused
    (listed,) = from_json("policy", "list", cwd=workspace)
    assert (listed["version"], listed["labels"][0], listed["question"][-5:]) == (2, "answers", "part?")
    edit("in full?", "at least in part?")
    edit("cited: answers", "clicked: answers")
    run("policy", "add", POLICY, cwd=workspace)
    mined = run("mine", "--policy", NAME, cwd=workspace).stdout
    assert f"No chunk has a signal that {NAME} takes for a positive label (clicked)" in mined


def test_a_plan_tells_changes_calls_money_and_reviews_and_stores_nothing(
    workspace: Path, edit: Edit, stub: Stub
) -> None:
    edit("at least in part?", "in full?")
    edit("cited: answers", "cited: {label: answers, weight: 0.5}")
    shown = run("policy", "plan", POLICY, cwd=workspace).stdout
    assert "try a sample" in shown
    assert "costs nothing" in shown
    assert "10 pairs that were judged would be asked about again." in shown
    assert "4 answers of people: 0 still hold, 4 would be asked again." in shown
    plan = from_json("policy", "plan", POLICY, cwd=workspace)["plan"]
    (calls,) = plan["again"]
    assert (calls["model"], calls["calls"], calls["counted"]) == ("stub", 10, False)
    assert calls["prompt_tokens"] == pytest.approx(500, abs=5)  # the stub counts 500 a call
    assert calls["cost_usd"] == pytest.approx(0.5, abs=0.01)
    assert not stub.calls
    assert from_json("policy", "list", cwd=workspace)[0]["version"] == 1


def test_a_sample_within_a_budget_shows_what_would_change_and_is_paid_once(
    workspace: Path, edit: Edit, stub: Stub
) -> None:
    edit("at least in part?", "in full?")
    other = ("--sample", 6, "--budget", 1, "--model", "another")
    assert "no price is known for another" in run("policy", "plan", POLICY, *other, cwd=workspace, status=2).stderr
    shown = run("policy", "plan", POLICY, "--sample", 6, "--budget", 0.01, cwd=workspace).stdout
    assert "The budget is spent" in shown
    assert not stub.calls, "one call costs five cents"
    shown = run("policy", "plan", POLICY, "--sample", 6, "--budget", 100, cwd=workspace).stdout
    assert "Pairs that get another label under the new wording" in shown
    assert "100.0 %" in shown
    assert "With --keep-judgments, about 10 of 10 pairs (8 to 10) would keep a label" in shown
    assert len(stub.calls) == 6
    found = from_json("policy", "plan", POLICY, "--sample", 6, cwd=workspace)
    assert found["sample"]["asked"] == 0
    assert found["sample"]["flips"][0]["flipping"] == 10
    assert found["plan"]["pairs"] == 4
    assert "without --sample" in run("policy", "plan", POLICY, "--budget", 1, cwd=workspace, status=2).stderr


def test_apply_asks_first_unless_it_is_told_yes(workspace: Path, edit: Edit) -> None:
    edit("at least in part?", "in full?")
    planned = run("policy", "plan", POLICY, "--keep-reviews", cwd=workspace).stderr
    assert f"uncited policy plan {POLICY} --sample 50 --keep-reviews" in planned
    assert f"uncited policy apply {POLICY} --keep-reviews" in planned
    refused = run("policy", "apply", POLICY, "--keep-reviews", cwd=workspace, status=2).stderr
    assert f"uncited policy apply {POLICY} --keep-reviews --yes" in refused
    assert answering("n\n", workspace) != 0
    assert from_json("policy", "list", cwd=workspace)[0]["version"] == 1
    assert answering("y\n", workspace) == 0
    assert from_json("policy", "list", cwd=workspace)[0]["version"] == 2


def answering(typed: str, workspace: Path) -> int:
    """Run `policy apply` at a terminal, type something, and return the exit status."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "cli", "policy", "apply", POLICY]
    process = subprocess.Popen(
        command, cwd=workspace, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(ours, typed.encode())
    _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert b"Traceback" not in errors
    return process.returncode


def test_apply_carries_what_holds_and_says_how_much(workspace: Path, edit: Edit, stub: Stub) -> None:
    edit("reason: It gives the time.", "reason: It names the time.")
    applied = run("policy", "apply", POLICY, "--yes", "--keep-judgments", cwd=workspace).stdout
    assert "version 2: added" in applied
    assert "4 answers of people carried over, 0 to be asked again" in applied
    assert "10 judgments carried over, 0 pairs to be judged again" in applied
    assert from_json("judge", "--policy", NAME, cwd=workspace)
    assert not stub.calls
    status = from_json("status", cwd=workspace)["policies"][0]
    assert (status["judged"], status["reviewed"]) == (10, 4)
    twice = from_json("policy", "apply", POLICY, cwd=workspace)["applied"]
    assert (twice["is_new"], twice["reviews_carried"]) == (False, 0)


def test_versions_are_named_and_differences_shown(workspace: Path, edit: Edit) -> None:
    edit("role: negative", "role: excluded")
    run("policy", "add", POLICY, cwd=workspace)
    changes = from_json("policy", "diff", f"{NAME}@1", NAME, cwd=workspace)
    assert changes == [{"entry": "label on-topic: role", "old": "negative", "new": "excluded", "sort": "nothing"}]
    assert from_json("policy", "diff", NAME, POLICY, cwd=workspace) == []
    assert from_json("policy", "show", f"{NAME}@1", cwd=workspace)["version"] == 1
    assert "has no version 7" in run("policy", "diff", f"{NAME}@7", NAME, cwd=workspace, status=4).stderr
    assert "number of a version" in run("policy", "diff", f"{NAME}@x", NAME, cwd=workspace, status=2).stderr
    assert "no policy file nowhere.yaml" in run("policy", "diff", "nowhere.yaml", NAME, cwd=workspace, status=4).stderr


def test_two_versions_are_compared_over_the_same_labels(workspace: Path, edit: Edit) -> None:
    edit("role: negative", "role: excluded")
    run("policy", "add", POLICY, cwd=workspace)
    found = from_json("policy", "compare", f"{NAME}@1", NAME, cwd=workspace)
    assert found["pairs"] == 10
    assert {(pair["one"], pair["other_role"]) for pair in found["disagreements"]} == {("on-topic", "excluded")}
    shown = run("policy", "compare", f"{NAME}@1", NAME, "--limit", 1, cwd=workspace).stdout
    assert "10 pairs have a label under both; 2 of them play another role in training" in shown
    assert "on-topic (negative)" in shown


def test_a_starting_policy_is_copied_under_a_name_of_its_own_and_added(workspace: Path) -> None:
    names = {policy["name"] for policy in from_json("policy", "library", cwd=workspace)}
    assert {"same-topic", "substitutes", "complements", "profile-match"} <= names
    made = run("policy", "new", "topics", "--from", "same-topic", cwd=workspace)
    assert "policies/topics.yaml" in made.stdout
    assert "Next: uncited policy add policies/topics.yaml" in made.stderr
    assert from_json("policy", "add", "policies/topics.yaml", cwd=workspace)["name"] == "topics"
    assert "is there already" in run("policy", "new", "topics", "--from", "same-topic", cwd=workspace, status=2).stderr
    assert "there are:" in run("policy", "new", "x", "--from", "nothing", cwd=workspace, status=4).stderr


def test_a_warning_is_given_and_the_policy_added(workspace: Path) -> None:
    text = (workspace / POLICY).read_text(encoding="utf-8").replace(f"name: {NAME}", "name: vague", 1)
    vague = text.replace(
        "Does the passage, read on its own, answer the user's question, at least in part?", "Any good?"
    )
    (workspace / "policies" / "vague.yaml").write_text(vague, encoding="utf-8")
    done = run("policy", "add", "policies/vague.yaml", cwd=workspace)
    assert "does not seem to mention the anchor (a question that a user asked)" in done.stderr
    assert "does not seem to mention the candidate" in done.stderr
    assert "vague version 1: added" in done.stdout
