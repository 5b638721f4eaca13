"""Starting, finding and stopping the server of one folder.

The server locks `server.pid` for as long as it lives. The kernel releases the lock however it ends, so the lock, not
the number in the file, says whether it runs: a number may since belong to another process.
"""

import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from labeling.local_argilla import credentials, environment
from labeling.local_argilla.credentials import Server
from store.errors import MissingError, ProviderError, UsageError
from store.progress import Progress

_HOST = "127.0.0.1"
_DEFAULT_PORT = 6900
_PORTS_TO_TRY = 100
_READY_WITHIN_S = 120.0  # a cold disk on a slow machine; usually 4
_STOPPED_WITHIN_S = 10.0
_ANSWERS_WITHIN_S = 10.0  # once it is up, and may be busy
_POLL_S = 0.05
_LOG_LIMIT_BYTES = 5_000_000
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "ARGILLA_REDIS_URL")


def up(home: Path, port: int | None, progress: Progress) -> Server:
    """Start the server, or return the one that runs; see the package's `up`."""
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        with environment.locked(home / "control.lock"):
            if _running_pid(home) is None:
                python = environment.ensure(progress)
                progress.start("Starting Argilla", None)
                _start(home, python, port)
            return _wait_until_ready(home)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ProviderError(f"The disk of {home} is full; Argilla cannot be started.", "df -h") from error


def down(home: Path) -> bool:
    """Stop the server, kindly and then not; True if one was running."""
    if not home.exists():
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


def request(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Ask the server's API as its owner; return (status, parsed body). Raises OSError when it does not answer.

    Straight to the loopback address: a proxy that the environment names must not see the key.
    """
    return _request(server, method, path, body, _READY_WITHIN_S)


def _request(server: Server, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(_HOST, int(server.url.rsplit(":", 1)[1]), timeout=timeout_s)
    headers = {"X-Argilla-Api-Key": server.api_key, "Content-Type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no sensible answer from {server.url}") from error
    finally:
        connection.close()


def _start(home: Path, python: Path, port: int | None) -> None:
    credentials.owner(home)
    credentials.ensure_secret(home)
    remembered = _read_pid_file(home).get("port")
    listening = _listen(port) if port is not None else _listen_anywhere(remembered or _DEFAULT_PORT)
    log = home / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(home / "server.log.1")
    # What the file says of a server that is gone must not be taken for the new one's.
    (home / "server.pid").write_text(json.dumps({"port": listening.getsockname()[1]}))
    with listening, os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as output:
        output.write(f"--- start {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        output.flush()
        started = subprocess.run(
            [python, "-P", "-m", "uncited_argilla", home, str(listening.fileno())],
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
        raise _died(home)


def _listen(port: int) -> socket.socket:
    """Bind and listen here already, so that nobody can take the port while the server starts."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_HOST, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = "is in use by another program" if getattr(error, "errno", 0) == errno.EADDRINUSE else f"({error})"
        raise UsageError(
            f"Port {port} of {_HOST} cannot be used for Argilla: it {reason}.",
            "uncited argilla up   (without --port takes the next free one)",
        ) from error
    return listening


def _listen_anywhere(first: int) -> socket.socket:
    for port in (first, *range(_DEFAULT_PORT, _DEFAULT_PORT + _PORTS_TO_TRY), 0):
        with suppress(UsageError):
            return _listen(port)
    raise ProviderError(f"No port of {_HOST} is free for Argilla.", "uncited argilla up --port PORT")


def _wait_until_ready(home: Path) -> Server:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if _running_pid(home) is None:
            raise _died(home)
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
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int(_read_pid_file(home).get("pid", 0))
    return None


def _read_pid_file(home: Path) -> dict[str, int]:
    try:
        content = json.loads((home / "server.pid").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _described(home: Path) -> Server:
    file = _read_pid_file(home)
    owner = credentials.owner(home)
    url = f"http://{_HOST}:{file.get('port', 0)}"
    return Server(url, file.get("pid", 0), owner.username, owner.password, owner.api_key, home)


def _answers(server: Server, timeout_s: float) -> bool:
    """Whether the server answers and knows its owner's key, which another server on the port would not."""
    try:
        code, body = _request(server, "GET", "/api/v1/me", None, timeout_s)
    except OSError:
        return False
    return code == http.client.OK and body.get("username") == server.username


def _died(home: Path) -> ProviderError:
    log = home / "server.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    last = "\n".join(text.rpartition("--- start ")[2].splitlines()[-15:])
    if "No space left on device" in last or "database or disk is full" in last:
        return ProviderError(f"The disk of {home} is full; Argilla cannot be started.", "df -h")
    return ProviderError(f"The Argilla server ended at its start. The last lines of {log}:\n{last}", f"less {log}")


def required(home: Path) -> Server:
    """Return the running server; raises `MissingError` when it does not run."""
    server = status(home)
    if server is None:
        raise MissingError(f"No Argilla server of {home} is running.", "uncited argilla up")
    return server
