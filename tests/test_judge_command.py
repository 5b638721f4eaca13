"""`uncited judge` from the command line: stages, budget, dry run."""

import json
from pathlib import Path

import pytest

from store.database import Store
from store.workspace import create_workspace
from tests.judge_stub import completion, labelled, serving
from tests.judging import put_pairs
from tests.test_cli import from_json, run

PRICES = '[prices."m"]\ninput = 100\noutput = 100\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    create_workspace(tmp_path)
    with Store(tmp_path / "uncited.duckdb") as store:
        put_pairs(store, anchors=2, chunks=10)
    return tmp_path


def configure(workspace: Path, text: str) -> None:
    (workspace / "uncited.toml").write_text(text + PRICES)


def test_a_spent_budget_keeps_what_was_paid_for_and_ends_with_its_own_status(workspace: Path) -> None:
    with serving(lambda call: labelled("helps")) as stub:
        configure(workspace, f'[judge]\nmodel = "m"\nbase_url = "{stub.url}"\nmax_tokens = 50\n')
        done = run("judge", "-p", "helps", "--budget", "0.7", cwd=workspace, status=6)
        assert "The budget of $0.7 is spent" in done.stdout
        assert "pairs remain" in done.stdout
        paid = len(stub.calls)
        assert 0 < paid < 20
        result = from_json("judge", "-p", "helps", "--budget", "30", cwd=workspace)
    assert len(stub.calls) == 20
    assert result["stages"][0]["labels"] == {"helps": 20 - paid}


def test_a_dry_run_prints_what_it_would_cost(workspace: Path) -> None:
    with serving([]) as stub:
        configure(
            workspace,
            f"""
            [[judge.stages]]
            kind = "decisions"
            model = "m"
            base_url = "{stub.url}"
            pass_on = {{ labels = ["unsure"] }}
            [[judge.stages]]
            model = "unpriced"
            base_url = "{stub.url}"
            """,
        )
        printed = run("judge", "-p", "helps", "--dry-run", cwd=workspace).stdout
        found = from_json("judge", "-p", "helps", "--dry-run", cwd=workspace)["stages"]
    assert "at most" in printed
    assert "unknown" in printed
    assert [(stage["pairs"], stage["requests"]) for stage in found] == [(20, 4), (20, 20)]
    assert found[0]["cost_usd"] > 0
    assert found[1]["cost_usd"] is None


def test_stages_are_run_and_shown_one_by_one(workspace: Path) -> None:
    with serving(lambda call: labelled("unsure" if "knob 3" in call.texts["candidate"] else "helps")) as stub:
        stage = f'[[judge.stages]]\nbase_url = "{stub.url}"\n'
        configure(workspace, f'{stage}model = "a"\npass_on = {{ labels = ["unsure"] }}\n{stage}model = "b"\n')
        printed = run("judge", "-p", "helps", cwd=workspace).stdout
        message = run("judge", "-p", "helps", "--model", "c", cwd=workspace, status=2).stderr
    assert "Stage 1: a" in printed
    assert "2 pairs go on to stage 2" in printed
    assert len(stub.calls) == 22
    assert "2 stages: --model" in message


def test_answers_that_were_paid_for_in_vain_are_counted_with_the_option_that_asks_again(workspace: Path) -> None:
    with serving(lambda call: completion("I cannot say")) as stub:
        configure(workspace, f'[judge]\nmodel = "m"\nbase_url = "{stub.url}"\n')
        printed = run("judge", "-p", "helps", cwd=workspace).stdout
    assert "answers could not be used and were paid for; --retry-errors asks again" in printed


def test_without_a_policy_the_option_is_named(workspace: Path) -> None:
    done = run("judge", "--json", cwd=workspace, status=2)
    assert json.loads(done.stderr)["error"] == "which policy? give --policy NAME"
