"""Starting, finding and stopping the server of one folder.

The server locks `server.pid` for as long as it lives. The kernel releases the lock however it ends, so the lock, not
the number in the file, says whether it runs: a number may since belong to another process.
"""

import fcntl
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from labeling.local_argilla import api, credentials, diagnosis, environment
from labeling.local_argilla.credentials import Server
from labeling.local_argilla.listening import LOOPBACK, Wish
from store.errors import MissingError, ProviderError, UsageError
from store.progress import Progress

_READY_WITHIN_S = 120.0  # a cold disk on a slow machine; usually 4
_STOPPED_WITHIN_S = 10.0
_ANSWERS_WITHIN_S = 10.0  # once it is up, and may be busy
_POLL_S = 0.05
_LOG_LIMIT_BYTES = 5_000_000
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "ARGILLA_REDIS_URL")
_RESTART = "uncited argilla down && uncited argilla up"


def up(home: Path, wish: Wish, progress: Progress) -> Server:
    """Start the server, or return the one that runs; see the package's `up`."""
    wish.check()
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        with environment.locked(home / "control.lock"):
            server = None
            if _running_pid(home) is not None:
                if not wish.agrees_with(running := _read_pid_file(home)):
                    url = running.get("url")
                    raise UsageError(f"Argilla runs already, at {url}, and cannot move.", _RESTART + wish.options())
                server = _once_ready(home)
            if server is None:  # none ran, or one that was just ending
                python = environment.ensure(progress)
                progress.start("Starting Argilla", None)
                _start(home, python, wish)
                server = _once_ready(home)
            if server is None:
                raise diagnosis.died(home)
            return server
    except OSError as error:
        raise environment.unusable(home, error, f"df -h {shlex.quote(str(home.parent))}") from error


def down(home: Path) -> bool:
    """Stop the server, kindly and then not; True if one was running."""
    if _running_pid(home) is None:
        return False
    with environment.locked(home / "control.lock"):
        if _running_pid(home) is None:
            return False
        for stop in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _STOPPED_WITHIN_S
            told = False
            while (pid := _running_pid(home)) is not None and time.monotonic() < deadline:
                if pid and not told:  # 0 would be this process's own group
                    told = True
                    with suppress(ProcessLookupError):
                        os.killpg(pid, stop)
                time.sleep(_POLL_S)
        if pid is not None:
            raise ProviderError(f"The Argilla server (process {pid}) does not stop.", f"kill -9 {pid}")
        return True


def status(home: Path) -> Server | None:
    """Return the server if it runs and answers."""
    home = home.resolve()
    if _running_pid(home) is None:
        return None
    server = _described(home)
    return server if _answers(server, _ANSWERS_WITHIN_S) else None


def required(home: Path) -> Server:
    """Return the running server; raises `MissingError` when it does not run."""
    server = status(home)
    if server is None:
        raise MissingError(f"No Argilla server is running in {home}", "uncited argilla up")
    return server


def _start(home: Path, python: Path, wish: Wish) -> None:
    credentials.ensure(home)
    listening = wish.listen(_read_pid_file(home).get("port"))
    with listening:
        port = listening.getsockname()[1]
        # What the file says of a server that is gone must not be taken for the new one's.
        about = {"port": port, "host": wish.host or LOOPBACK, "url": wish.url(port)}
        (home / "server.pid").write_text(json.dumps(about))
        tls: list[Path] = []
        if wish.tls_cert is not None and wish.tls_key is not None:
            tls = [wish.tls_cert.resolve(), wish.tls_key.resolve()]
            shutil.copyfile(wish.tls_cert, _certificate(home))  # so that a renewed one is trusted only once it is shown
        _run([python, "-P", "-m", "uncited_argilla", home, str(listening.fileno()), *tls], home, listening)


def _run(command: list[str | Path], home: Path, listening: socket.socket) -> None:
    """Run the launcher, which returns once the server is in the background."""
    log = home / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(home / "server.log.1")
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as output:
        output.write(f"--- start {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        output.flush()
        started = subprocess.run(
            command,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            | {"PYTHONPATH": str(environment.SERVER_CODE), "PYTHONUNBUFFERED": "1"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            check=False,
        )
    if started.returncode:
        raise diagnosis.died(home)


def _once_ready(home: Path) -> Server | None:
    """Wait until the server answers; None if it ends before."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if _running_pid(home) is None:
            return None
        if "pid" in _read_pid_file(home):
            server = _described(home)
            if _answers(server, deadline - time.monotonic()):
                return server
        time.sleep(_POLL_S)
    raise ProviderError(
        f"The Argilla server started but does not answer. Its log: {home / 'server.log'}", "uncited argilla down"
    )


def _running_pid(home: Path) -> int | None:
    """Return the process that holds the lock (0 while it has not said its number), or None."""
    try:
        with (home / "server.pid").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except BlockingIOError:
        return int(_read_pid_file(home).get("pid", 0))
    except OSError as error:
        raise environment.unusable(home, error, f"ls -ld {shlex.quote(str(home))}") from error
    return None


def _read_pid_file(home: Path) -> dict[str, Any]:
    try:
        content = json.loads((home / "server.pid").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _described(home: Path) -> Server:
    about = _read_pid_file(home)
    file = credentials.owner_file(home)
    if not file.exists():
        raise MissingError(f"{file} is gone, and only it says how to ask the server that runs.", _RESTART)
    owner = credentials.read(file, _RESTART)
    url = str(about.get("url", ""))
    certificate = _certificate(home) if url.startswith("https:") else None
    return Server(url, about.get("pid", 0), owner.username, owner.password, owner.api_key, home, certificate)


def _certificate(home: Path) -> Path:
    return home / "certificate.pem"


def _answers(server: Server, timeout_s: float) -> bool:
    """Whether the server answers; raises `ProviderError` where it does and something is wrong about it."""
    try:
        code, body = api.request(server, "GET", "/api/v1/me", timeout_s=timeout_s)
    except ssl.SSLCertVerificationError as error:
        raise ProviderError(
            f"The certificate of {server.url} is not valid: {error.verify_message}.",
            "uncited argilla down && uncited argilla up --help",
        ) from error
    except OSError:
        return False
    if code == http.client.UNAUTHORIZED:
        file = credentials.owner_file(server.home)
        raise ProviderError(f"The server at {server.url} does not know the key in {file}.", _RESTART)
    return code == http.client.OK and body.get("username") == server.username
