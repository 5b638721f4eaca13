import csv
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cli import app
from store.database import Store
from tests.reviewing import LOG

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = (
    "argilla",
    "bm25s",
    "datasets",
    "duckdb",
    "numpy",
    "openai",
    "pandas",
    "pyarrow",
    "scipy",
    "torch",
    "transformers",
)


def run(*words: object, cwd: Path, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command line in a process of its own; whatever happens, nobody sees a traceback."""
    command = [sys.executable, "-m", "cli", *map(str, words)]
    path = {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=cwd, env=os.environ | path | environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def from_json(*words: object, cwd: Path) -> dict:
    done = run(*words, "--json", cwd=cwd)
    assert not done.stderr, "machines get one document and nothing else"
    return json.loads(done.stdout)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    run("init", "w", cwd=tmp_path)
    return tmp_path / "w"


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """The bakery log as a file of interactions: the first chunk of each query was cited."""
    lines = []
    for number, (query, (answer, texts)) in enumerate(LOG.items()):
        retrieved = [
            {"chunk_id": f"c{number}-{rank}", "rank": rank, "text": text} for rank, text in enumerate(texts, start=1)
        ]
        line = {"query_id": f"q{number}", "query": query, "answer": answer, "retrieved": retrieved}
        lines.append(json.dumps(line | {"cited": [f"c{number}-1"]}) + "\n")
    file = tmp_path / "log.jsonl"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def every_command() -> dict[str, set[str]]:
    """Map each command to the names of its parameters."""
    found = {}
    groups = [(app, "")]
    for group, prefix in groups:
        groups += [(inner.typer_instance, f"{prefix}{inner.name} ") for inner in group.registered_groups]
        for command in group.registered_commands:
            name = command.name or command.callback.__name__.replace("_", "-")  # as typer names it
            found[prefix + name] = set(command.callback.__annotations__)
        if group.registered_callback and group is not app:  # a group that does something by itself
            found[prefix.strip()] = set(group.registered_callback.callback.__annotations__)
    return found


def test_help_is_there_at_once_because_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = f"import cli, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    seconds = []
    for _ in range(5):
        before = os.times()
        run("--help", cwd=tmp_path)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) <= 0.3, seconds


def test_every_command_takes_a_workspace_and_speaks_json() -> None:
    commands = every_command()
    assert {"import", "mine", "judge", "review push", "argilla up", "build", "train", "evaluate"} <= set(commands)
    without_workspace = {name for name, parameters in commands.items() if "workspace" not in parameters}
    assert without_workspace == {"init", "schema", "demo", "policy library"}, "these make one, need none, or make one"
    assert {name for name, parameters in commands.items() if "json" not in parameters} == {"schema", "demo"}


def test_every_command_explains_itself(tmp_path: Path) -> None:
    for name in ("import", "judge", "review push", "build"):
        text = run(*name.split(), "--help", cwd=tmp_path).stdout
        assert "Usage" in text
        assert "--workspace" in text


def test_help_lists_the_commands_in_the_order_of_the_data(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path, COLUMNS="80").stdout
    stations = ("Start here", "From logs to candidates", "From candidates to labels", "From labels to models")
    assert shown.index("import") < shown.index("export") < shown.index("evaluate ") < shown.index("forget")
    assert [shown.index(station) for station in stations] == sorted(map(shown.index, stations))
    assert "─ Commands" not in shown, "each command has a place"


def test_the_help_of_no_command_cuts_an_option_at_80_columns() -> None:
    code = """
import sys
from typer.testing import CliRunner
from cli import app
for name in sys.argv[1:]:
    print(CliRunner().invoke(app, [*name.split(), "--help"], env={"TERMINAL_WIDTH": "80", "COLUMNS": "80"}).stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *every_command()], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("Usage: ") == len(every_command())
    assert [line for line in done.stdout.splitlines() if re.search(r"--\S*…|<[\w-]+[|][^>]*$", line)] == []


def test_init_twice_changes_nothing_and_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    (tmp_path / "w" / "uncited.toml").write_text("[judge]\nmodel = 'm'\n")
    run("init", "w", cwd=tmp_path)
    assert (tmp_path / "w" / "uncited.toml").read_text() == "[judge]\nmodel = 'm'\n"
    (tmp_path / "file").write_text("")
    assert "cannot make a workspace in file" in run("init", "file", cwd=tmp_path, status=2).stderr
    refused = run("status", "-w", "file", cwd=tmp_path, status=2).stderr
    assert "file is a file, and a workspace is a folder" in refused
    assert "Try:   uncited init FOLDER" in refused


def test_outside_a_workspace_the_next_command_is_named(tmp_path: Path) -> None:
    done = run("status", cwd=tmp_path, status=4)
    assert "not an uncited workspace" in done.stderr
    assert "Try:   uncited init" in done.stderr


def test_a_policy_that_is_not_there_is_named_before_argilla_is_asked_for(workspace: Path) -> None:
    for words in ("push", "pull", "next"):
        assert "'nope'" in run("review", *words.split(), "--policy", "nope", cwd=workspace, status=4).stderr


def test_the_workspace_may_come_from_the_environment(workspace: Path, tmp_path: Path) -> None:
    assert run("status", cwd=tmp_path, UNCITED_WORKSPACE=str(workspace)).stdout


def test_hints_repeat_the_workspace_so_that_they_can_be_copied(workspace: Path, tmp_path: Path) -> None:
    for words in (("-w", "w"), ("--workspace=w",)):
        listed = run("policy", "list", *words, cwd=tmp_path).stderr
        assert "Next: uncited policy add policies/example.yaml --workspace w" in listed
        message = run("mine", "--policy", "nope", *words, cwd=tmp_path, status=4).stderr
        assert "Try:   uncited policy add policies/FILE.yaml --workspace w" in message
    assert "--workspace" not in run("mine", "--policy", "nope", cwd=workspace, status=4).stderr


def test_a_wrong_setting_is_named_with_its_value(workspace: Path) -> None:
    (workspace / "uncited.toml").write_text("[judge]\nconcurrency = 0\nmodle = 'x'\n")
    message = run("status", cwd=workspace, status=5).stderr
    assert "judge.concurrency = 0" in message
    assert "judge.modle" in message


def test_errors_are_json_where_json_was_asked_for(workspace: Path) -> None:
    done = run("mine", "--policy", "nope", "--json", cwd=workspace, status=4)
    assert json.loads(done.stderr)["hint"] == "uncited policy add policies/FILE.yaml"
    assert done.stdout == ""


def test_a_database_in_use_names_the_process_that_holds_it(workspace: Path) -> None:
    with Store(workspace / "uncited.duckdb"):
        message = run("status", cwd=workspace, status=6).stderr
    assert f"in use by process {os.getpid()}" in message


def test_a_judge_without_key_or_endpoint_says_what_to_set_and_offers_triage(workspace: Path, log_file: Path) -> None:
    run("import", log_file, cwd=workspace)
    run("policy", "add", "policies/example.yaml", cwd=workspace)
    for command in ("judge", "triage"):
        early = run(command, "--policy", "answers-the-question", cwd=workspace, status=4).stderr
        assert "Try:   uncited mine --policy answers-the-question" in early
    run("mine", "--policy", "answers-the-question", cwd=workspace)
    message = run("judge", "--policy", "answers-the-question", cwd=workspace, status=4).stderr
    assert "OPENAI_API_KEY" in message
    assert "--base-url" in message
    assert "uncited triage" in message
    estimated = from_json("judge", "--policy", "answers-the-question", "--model", "m", "--dry-run", cwd=workspace)
    assert estimated["stages"][0]["pairs"] > 0, "what it would cost can be asked before there is a key"


def test_the_whole_thread_without_a_server_and_twice_is_as_good_as_once(workspace: Path, log_file: Path) -> None:
    policy = ("--policy", "answers-the-question")
    labels = workspace / "labels.csv"
    with labels.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["query", "chunk", "label", "reviewer"])
        for number, (_, texts) in enumerate(LOG.values()):
            for rank in range(1, len(texts) + 1):  # of the uncited ones, the second answers too
                label = "answers" if rank <= 2 else "on-topic"
                writer.writerow([f"q{number}", f"c{number}-{rank}", label, "ann"])
    seen = []
    for _ in range(2):
        run("import", log_file, cwd=workspace)
        run("policy", "add", "policies/example.yaml", cwd=workspace)
        run("mine", *policy, "--from", "random=1", cwd=workspace)
        run("review", "import", labels, *policy, cwd=workspace)
        built = from_json("build", *policy, "--test-share", 0.34, cwd=workspace)
        run("export", *policy, "--out", "out", cwd=workspace)
        exported = (workspace / "out" / "train.jsonl").read_text()
        seen.append((built["build"]["build_id"], exported, from_json("status", cwd=workspace)))
    assert seen[0] == seen[1]
    build, exported, status = seen[0]
    assert build.startswith("build_")
    assert exported.count("\n") > 0
    assert set(json.loads(exported.splitlines()[0])) == {"anchor", "positive", "negative"}
    counts = built["counts"]
    assert counts["promoted"] == len(LOG)
    assert counts["demoted"] == 0
    assert status["log"]["interactions"] == len(LOG)
    assert status["policies"][0]["builds"] == 1
    table = run("build", *policy, "--test-share", 0.34, cwd=workspace).stdout
    assert "reviewed uncited chunks are relevant" in table


def test_quiet_prints_the_result_and_nothing_else(workspace: Path, log_file: Path) -> None:
    done = run("import", log_file, "--quiet", cwd=workspace)
    assert "interactions" in done.stdout
    assert done.stderr == ""


def test_a_file_that_holds_nothing_is_said_to(workspace: Path) -> None:
    (workspace / "empty.jsonl").touch()
    assert "empty.jsonl holds no interaction" in run("import", "empty.jsonl", cwd=workspace).stdout


def test_an_import_names_the_policies_that_are_there_as_what_comes_next(workspace: Path, log_file: Path) -> None:
    assert "uncited mine --policy NAME" in run("import", log_file, cwd=workspace).stderr
    run("policy", "add", "policies/example.yaml", cwd=workspace)
    said = run("import", log_file, cwd=workspace).stderr
    assert "uncited mine --policy answers-the-question" in said
    assert "policy add" not in said


def test_standard_input_is_a_file_like_any_other(workspace: Path, log_file: Path) -> None:
    command = [sys.executable, "-m", "cli", "import", "-", "--json"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=workspace, env=environment, input=log_file.read_bytes(), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["files"][0]["interactions"] == len(LOG)


def test_the_schema_of_interactions_is_json(tmp_path: Path) -> None:
    schema = json.loads(run("schema", "interactions", cwd=tmp_path).stdout)
    assert {"query", "retrieved", "cited"} <= set(schema["properties"])


def test_an_interrupt_is_no_traceback(workspace: Path) -> None:
    command = [sys.executable, "-m", "cli", "import", "-"]
    process = subprocess.Popen(
        command,
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not any(file.resolve().name == "uncited.duckdb" for file in Path(f"/proc/{process.pid}/fd").iterdir()):
        assert time.monotonic() < deadline, "it never opened the database"
        time.sleep(0.05)
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors
    assert process.returncode == 130


def test_paths_in_the_table_of_contributing_exist() -> None:
    table = re.findall(r"^\|.*\|.*\|$", (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    paths = [path for row in table for path in re.findall(r"`([\w/.-]+\.\w+|[\w/]+/)`", row.split("|")[2])]
    assert len(paths) > 15
    missing = [path for path in paths if not (REPOSITORY / path).exists()]
    assert missing == []


def test_the_readme_leads_to_every_page_and_its_numbers_to_commands_that_exist() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    pages = {f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")}
    assert pages == set(re.findall(r"\((docs/\w+\.md)\)", readme))
    for page in ["README.md", *pages]:
        text = (REPOSITORY / page).read_text("utf-8")
        modules = [f"{name.replace('.', '/')}.py" for name in re.findall(r"python -m ((?:bench|tests)\.\w+)", text)]
        for file in modules + re.findall(r"(?:python|pytest) ((?:bench|tests)/\w+\.py)", text):
            assert (REPOSITORY / file).exists(), f"{page}: {file}"


def test_whatever_lies_in_a_package_is_installed_with_it() -> None:
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        setuptools = tomllib.load(file)["tool"]["setuptools"]
    packages = [pattern.removesuffix("*") for pattern in setuptools["packages"]["find"]["include"]]
    installed = [*setuptools["package-data"]["*"], "*.py"]
    files = [f for package in packages for f in (REPOSITORY / package).rglob("*") if f.is_file()]
    assert len(files) > 150
    left_out = [
        f for f in files if "__pycache__" not in f.parts and not any(fnmatch(f.name, pattern) for pattern in installed)
    ]
    assert left_out == []
