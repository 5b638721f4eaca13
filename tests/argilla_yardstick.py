"""Run Argilla's own search engine tests against the local server's engine: `python tests/argilla_yardstick.py`.

Fetches the source of the exact argilla-server release through pip, puts its unmodified tests before the SQLite engine
(argilla_yardstick_plugin.py stands in for Elasticsearch's client), and compares the failures with those listed, each
with its reason, in argilla_expected_failures.txt. Exits with 1 when another test fails, a listed one passes, or fewer
than 91 pass. Needs the network or pip's cache, and takes a few minutes.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent))

from labeling.local_argilla import environment  # noqa: E402
from store.progress import silent  # noqa: E402

_RELEASE = "argilla-server==2.8.0"
_SUITE = "tests/unit/search_engine"
_PASSES_AT_LEAST = 91
_TEST_PACKAGES = (
    "pytest<9",
    "pytest-asyncio~=0.21.1",
    "pytest-mock",
    "factory-boy~=3.2.1",
    "pytest-env",
    "respx",
)


def main() -> int:
    """Run the suite and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        source = _source(Path(folder))
        python = _test_environment(Path(folder))
        outcomes = _run(python, source, Path(folder), *sys.argv[1:])
    return _compare(outcomes, _expected())


def _source(folder: Path) -> Path:
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*download, "--dest", str(folder), _RELEASE], check=True)
    (archive,) = folder.glob("argilla_server-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return Path(str(archive).removesuffix(".tar.gz"))


def _test_environment(folder: Path) -> Path:
    """Put the test packages on top of the server's environment, which stays as it is."""
    server = environment.ensure(silent)
    subprocess.run([server, "-m", "venv", str(folder / "venv")], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (below,) = (server.parents[1] / "lib").glob("python*/site-packages")
    (packages / "server.pth").write_text(f"{below}\n")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *_TEST_PACKAGES], check=True)
    return python


def _run(python: Path, source: Path, folder: Path, *options: str) -> dict[str, str]:
    outcomes = folder / "outcomes.json"
    home = folder / "home"
    home.mkdir()
    settings = {
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{home / 'test.db'}?check_same_thread=False",
        "ARGILLA_SEARCH_ENGINE": "elasticsearch",  # under which name the tests look for an engine
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(environment.SERVER_CODE), str(_HERE)]),
        "YARDSTICK_OUTCOMES": str(outcomes),
    }
    plugins = ("-p", "argilla_yardstick_plugin", "-p", "no:randomly")
    command = [str(python), "-m", "pytest", _SUITE, "-q", "--tb=short", *plugins]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ARGILLA_"))}
    subprocess.run([*command, "-o", "log_cli=false", *options], cwd=source, env=kept | settings, check=False)
    result: dict[str, str] = json.loads(outcomes.read_text())
    return result


def _expected() -> dict[str, str]:
    lines = (_HERE / "argilla_expected_failures.txt").read_text().splitlines()
    entries = [line.split("#", 1) for line in lines if line.strip() and not line.startswith("#")]
    return {name.strip(): reason.strip() for name, reason in entries}


def _compare(outcomes: dict[str, str], expected: dict[str, str]) -> int:
    def is_expected(test: str) -> bool:
        return test in expected or test.split("[")[0] + "[*]" in expected

    counts = {outcome: list(outcomes.values()).count(outcome) for outcome in ("passed", "failed", "skipped")}
    unexpected = [test for test, outcome in outcomes.items() if outcome == "failed" and not is_expected(test)]
    passing = [test for test, outcome in outcomes.items() if outcome == "passed" and is_expected(test)]
    say = sys.stdout.write
    say(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped of {len(outcomes)}\n")
    for test in unexpected:
        say(f"FAILED, and is not expected to: {test}\n")
    for test in passing:
        say(f"passed, and is expected to fail: {test}\n")
    return 1 if unexpected or passing or counts["passed"] < _PASSES_AT_LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
