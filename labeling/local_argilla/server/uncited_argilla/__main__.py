"""Start the server of a folder in the background, as `python -m uncited_argilla HOME LISTENING_SOCKET [CERT KEY]`.

Runs in the server's own environment. `HOME/server.pid` is locked for as long as the server lives: the lock, which the
kernel releases however a process ends, says whether it runs, and the file says where. CERT and KEY are PEM files: with
them the server speaks TLS.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

_ALREADY_RUNNING = 3


def main() -> None:
    """Take the lock, leave the caller's process, and serve until told to stop."""
    home, listening = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    pid_file = (home / "server.pid").open("a+")
    try:
        fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(_ALREADY_RUNNING)
    if os.fork():
        os._exit(0)  # the caller waits for this one only; the lock now belongs to the child
    os.setsid()
    _write_pid(pid_file)
    _configure(home)
    _serve(home, listening, sys.argv[3:])


def _write_pid(pid_file: IO[str]) -> None:
    """Add the process to what the caller wrote: where the server listens."""
    pid_file.seek(0)
    about = json.load(pid_file)
    pid_file.truncate(0)
    pid_file.write(json.dumps(about | {"pid": os.getpid()}))
    pid_file.flush()


def _configure(home: Path) -> None:
    """Set what Argilla reads from the environment, and lay out the folder."""
    os.umask(0o077)
    temporary = home / "tmp"  # Argilla copies its web pages there at every start and leaves them
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    database = home / "argilla.db"
    if not database.exists():
        new = home / "argilla.db.new"
        shutil.copyfile(Path(sys.prefix) / "template.db", new)
        new.rename(database)
    os.environ |= {
        "TMPDIR": str(temporary),
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{database}",
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": "30",
        "ARGILLA_SEARCH_ENGINE": "sqlite",
        "ARGILLA_AUTH_SECRET_KEY": (home / "secret").read_text().strip(),
        "ARGILLA_CORS_ORIGINS": "[]",  # its own pages need no leave; those of other sites get none
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _serve(home: Path, listening: socket.socket, tls: list[str]) -> None:
    import uvicorn  # type: ignore[import-not-found, unused-ignore] # of the server's own environment

    from .app import app  # first: it prepares what Argilla finds when it is imported

    from . import startup  # isort: skip

    owner = json.loads((home / "credentials.json").read_text())
    startup.ensure_owner(owner["username"], owner["password"], owner["api_key"], workspace="uncited")
    startup.recount_statuses()
    if "ARGILLA_REDIS_URL" in os.environ:
        unsecret = {name: value for name, value in os.environ.items() if name != "ARGILLA_AUTH_SECRET_KEY"}
        subprocess.Popen([sys.executable, "-P", "-m", "uncited_argilla.worker"], env=unsecret)
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app, access_log=False, timeout_graceful_shutdown=5, ssl_certfile=certificate, ssl_keyfile=key
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
