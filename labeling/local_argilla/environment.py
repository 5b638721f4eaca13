"""The virtual environment in which the Argilla server runs: one a user, shared by all workspaces.

argilla-server needs older versions of what uncited itself uses, so the two cannot share an environment.
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from store.errors import ProviderError
from store.progress import Progress

SERVER_CODE = Path(__file__).parent / "server"  # all of uncited that is on the server's import path
_REQUIREMENTS = Path(__file__).parent / "requirements.txt"
_VERSION = "2.8.0"
_NAME = f"argilla-server-{_VERSION}"
_LAST_LINES = 15
_FULL_BYTES = 10_000_000  # the installer does not always say why it failed
_ELSEWHERE = "UNCITED_CACHE=/another/disk uncited argilla up"


def ensure(progress: Progress) -> Path:
    """Return the environment's Python, installing the environment first where there is none (about a minute).

    It is built under another name and renamed when whole, and only one process builds at a time. Raises
    `ProviderError` with the installer's last lines when it cannot be built; nothing of it is left then.
    """
    environment = location()
    python = environment / "bin" / "python"
    if not python.exists():
        try:
            environment.parent.mkdir(parents=True, exist_ok=True)
            with locked(environment.parent / f"{_NAME}.lock"):
                if not python.exists():
                    _make(environment, progress)
        except OSError as error:
            raise unusable(cache_folder(), error, _ELSEWHERE) from error
    return python


def _make(environment: Path, progress: Progress) -> None:
    for abandoned in environment.parent.glob(f"{_NAME}-building-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f"{_NAME}-building-", dir=environment.parent))
    try:
        _build(building, progress)
        shutil.rmtree(environment, ignore_errors=True)  # one whose Python is no longer installed
        building.rename(environment)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def unusable(folder: Path, error: OSError, way_on: str) -> ProviderError:
    """Word an error of the file system for the person whose disk it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ProviderError(f"The disk of {folder} is full.", way_on)
    return ProviderError(f"{folder} cannot be used: {error.strerror or error}", way_on)


def location() -> Path:
    """Return the environment's folder, whether it is there or not."""
    return cache_folder() / f"{_NAME}-{_key()}"


def cache_folder() -> Path:
    """Return where environments are kept: $UNCITED_CACHE, else $XDG_CACHE_HOME, else ~/.cache, and `uncited` in it."""
    base = os.environ.get("UNCITED_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "uncited"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a file's lock; other processes that ask for it wait."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _key() -> str:
    version = ".".join(platform.python_version_tuple()[:2])
    parts = (_REQUIREMENTS.read_text(), platform.python_implementation(), version, platform.machine())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _build(folder: Path, progress: Progress) -> None:
    lacking = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ProviderError(
            f"{sys.executable} cannot make the Argilla server's environment: it has no {' and no '.join(lacking)}.",
            "apt install python3-venv   # or what your system calls it; then: uncited argilla up",
        )
    pins = [line for line in _REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    progress.start("Installing the Argilla server, once on this machine", len(pins) + 2)
    _run([sys.executable, "-m", "venv", str(folder)])
    progress.advance(note="packages")
    python = folder / "bin" / "python"
    install: list[str | Path] = [python, "-m", "pip", "install", "--no-deps", "--progress-bar", "off"]
    _run([*install, "--no-input", "--disable-pip-version-check", "-r", _REQUIREMENTS], progress)
    template = folder / "template.db"
    _run([python, "-m", "uncited_argilla.template", template], code=SERVER_CODE)
    progress.advance(note="database")


def _run(command: Sequence[str | Path], progress: Progress | None = None, code: Path | None = None) -> None:
    """Run one step of the installation; a package that pip collects is a step of progress."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ARGILLA_"))}
    if code is not None:
        environment["PYTHONPATH"] = str(code)
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("WARNING"):
                last.append(line.rstrip())
            if progress is not None and line.startswith("Collecting"):
                progress.advance(note=line.split()[1].split("==")[0])
    if process.returncode:
        said = "\n".join(last)
        if os.strerror(errno.ENOSPC) in said or shutil.disk_usage(cache_folder()).free < _FULL_BYTES:
            raise ProviderError(
                f"The disk of {cache_folder()} is full: Argilla's server takes 600 MB there.", _ELSEWHERE
            )
        raise ProviderError(
            f"The Argilla server could not be installed. The installer's last lines:\n{said}", "uncited argilla up"
        )
