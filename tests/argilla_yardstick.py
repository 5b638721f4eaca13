"""Run all of Argilla's own unit tests against the local server's parts: `python tests/argilla_yardstick.py`.

Fetches the source of the exact argilla-server release through pip and runs its unmodified tests/unit twice, with the
SQLite engine in the place of Elasticsearch (argilla_yardstick_plugin.py): without the speed patch and with it. Each run
must fail exactly the tests that are listed, each with its reason, in argilla_expected_failures.txt: one that newly
fails or newly passes is an error. So whatever passes without the patch passes with it.

Background jobs in the process are left out: these tests look for a job in Redis's queue, where it waits for a worker,
and here there would be nothing to find. tests/test_background_jobs.py sees to what the jobs do.

Needs the network or pip's cache, about two minutes on two cores, and 600 MB of memory.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent))

from labeling.local_argilla import environment  # noqa: E402
from store.errors import ProviderError, UserError  # noqa: E402
from store.progress import silent  # noqa: E402

EXPECTED_FAILURES = _HERE / "argilla_expected_failures.txt"
RUNS = {"as published": "", "with the speed patch": "1"}
_RELEASE = "argilla-server==2.8.0"
_SUITE = "tests/unit"
_ENGINE_TESTS = f"{_SUITE}/search_engine/"
_ENGINE_PASSES_AT_LEAST = 91
_PASSES_AT_LEAST = 1400  # of all; fewer, and the tests did not really run
_TEST_PACKAGES = (
    "factory-boy==3.2.1",
    "lupa==2.8",  # gives the stand-in for Redis the scripts with which these tests empty the queues
    "pytest==8.4.2",
    "pytest-asyncio==0.21.2",
    "pytest-env==1.2.0",
    "pytest-mock==3.17.0",
    "respx==0.23.1",
)
_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Report:
    """How the tests of one run ended (by test: passed, failed, skipped), and what is not as expected."""

    outcomes: Mapping[str, str]
    complaints: list[str]

    def __str__(self) -> str:
        engine = {test: outcome for test, outcome in self.outcomes.items() if test.startswith(_ENGINE_TESTS)}
        return f"{_counted(self.outcomes)}; of the search engine {_counted(engine)}"


def run() -> dict[str, Report]:
    """Run the tests both ways at once; raises `ProviderError` where pip cannot fetch what they need."""
    expected = expected_failures(EXPECTED_FAILURES.read_text())
    with tempfile.TemporaryDirectory() as folder:
        source = fetch(Path(folder))
        python = _test_environment(Path(folder))
        with ThreadPoolExecutor(len(RUNS)) as pool:
            running = [pool.submit(_outcomes, python, source, Path(folder), patch) for patch in RUNS.values()]
            outcomes = [done.result() for done in running]
    return {name: Report(found, complaints(found, expected)) for name, found in zip(RUNS, outcomes, strict=True)}


def fetch(folder: Path) -> Path:
    """Download the source of the release into `folder` and unpack it there; return where it lies."""
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    _step([*download, "--dest", str(folder), _RELEASE], f"The source of {_RELEASE} could not be fetched")
    (archive,) = folder.glob("argilla_server-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return Path(str(archive).removesuffix(".tar.gz"))


def expected_failures(text: str) -> dict[str, str]:
    """Read the list: test -> reason."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    entries = [line.partition("  # ") for line in lines]
    return {test.strip(): reason.strip() for test, _, reason in entries}


def complaints(outcomes: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Say what is not as expected; a `*` at the end of an expected name stands for any ending."""
    exact = {test for test in expected if not test.endswith("*")}
    beginnings = tuple(test.removesuffix("*") for test in expected if test.endswith("*"))

    def is_expected(test: str) -> bool:
        return test in exact or test.startswith(beginnings)

    found = [f"newly fails: {t}" for t, outcome in outcomes.items() if outcome == "failed" and not is_expected(t)]
    found += [f"newly passes: {t}" for t, outcome in outcomes.items() if outcome == "passed" and is_expected(t)]
    found += [f"was not run: {test}" for test in exact if test not in outcomes]
    found += [f"was not run: {begin}*" for begin in beginnings if not any(t.startswith(begin) for t in outcomes)]
    passed = [test for test, outcome in outcomes.items() if outcome == "passed"]
    engine = [test for test in passed if test.startswith(_ENGINE_TESTS)]
    for count, least, what in (
        (len(passed), _PASSES_AT_LEAST, "tests"),
        (len(engine), _ENGINE_PASSES_AT_LEAST, "tests of the search engine"),
    ):
        if count < least:
            found.append(f"only {count} {what} passed, and {least} should")
    return found


def _test_environment(folder: Path) -> Path:
    """Put the test packages on top of the server's environment, which stays as it is."""
    server = environment.ensure(silent)
    failed = "The packages that Argilla's tests need could not be installed"
    _step([str(server), "-m", "venv", str(folder / "venv")], failed)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (below,) = (server.parents[1] / "lib").glob("python*/site-packages")
    (packages / "server.pth").write_text(f"{below}\n")
    python = folder / "venv" / "bin" / "python"
    _step([str(python), "-m", "pip", "install", "-q", *_TEST_PACKAGES], failed)
    return python


def _step(command: list[str], failed: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise ProviderError(f"{failed}. The last lines of {' '.join(command[1:4])}:\n{last}", "pip config list")


def _outcomes(python: Path, source: Path, folder: Path, speed_patch: str) -> dict[str, str]:
    home = folder / f"home{speed_patch}"
    home.mkdir()
    outcomes = home / "outcomes.json"
    settings = {
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{home / 'test.db'}?check_same_thread=False",
        "ARGILLA_SEARCH_ENGINE": "elasticsearch",  # under which name the tests look for an engine
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(environment.SERVER_CODE), str(_HERE)]),
        "YARDSTICK_OUTCOMES": str(outcomes),
        "YARDSTICK_SPEED_PATCH": speed_patch,
    }
    plugins = ("-p", "argilla_yardstick_plugin", "-p", "no:randomly", "-p", "no:cacheprovider")
    command = [str(python), "-m", "pytest", _SUITE, "-q", "--tb=short", "-o", "log_cli=false", *plugins]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ARGILLA_", "PYTEST_"))}
    with (home / "output.txt").open("w+") as output:
        subprocess.run(command, cwd=source, env=kept | settings, stdout=output, stderr=output, check=False)
        if not outcomes.exists():
            output.seek(0)
            last = "\n".join(output.read().splitlines()[-_LAST_LINES:])
            raise ProviderError(f"Argilla's tests could not be run. Their last lines:\n{last}", "uncited argilla up")
    result: dict[str, str] = json.loads(outcomes.read_text())
    return result


def _counted(outcomes: Mapping[str, str]) -> str:
    counts = Counter(outcomes.values())
    return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in ("passed", "failed", "skipped"))


def main() -> int:
    """Print what came of it and return the exit code."""
    try:
        reports = run()
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, report in reports.items():
        sys.stdout.write(f"{name}: {report}\n")
        sys.stdout.writelines(f"  {complaint}\n" for complaint in report.complaints)
    return 1 if any(report.complaints for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
