"""A real Argilla server on this machine, without Docker, Elasticsearch and Redis.

The server is the published `argilla-server` in a virtual environment of its own, on SQLite, with a search
engine that is registered through Argilla's own registry. `home` is the workspace's `argilla/` folder: it
holds the database, the credentials, the secret, the log and the PID file. Deleting it deletes the reviews
that were not pulled; nothing else of the workspace is touched.
"""

from pathlib import Path

from labeling.local_argilla import process, users
from labeling.local_argilla.credentials import Credentials, Server
from store.progress import Progress, silent

__all__ = ["Credentials", "Server", "add_user", "down", "status", "up"]


def up(home: Path, *, port: int | None = None, progress: Progress = silent) -> Server:
    """Start the server that belongs to `home`, or return the one that runs already.

    The first call on a machine installs the server's environment (about a minute); the first call on a
    `home` makes its secret, database, owner and the workspace `uncited`. The server outlives the caller.
    `port` defaults to the one used last time, else 6900, else the next free one.

    Raises `UsageError` when the given port is taken, `ProviderError` when the environment cannot be
    installed, the disk is full, or the server dies at start.
    """
    return process.up(home, port, progress)


def down(home: Path) -> bool:
    """Stop the server of `home`; True if one was running. Raises nothing when none was."""
    return process.down(home)


def status(home: Path) -> Server | None:
    """Return the running server of `home`, or None. A stale PID file is not a running server."""
    return process.status(home)


def add_user(home: Path, username: str, *, role: str = "annotator") -> Credentials:
    """Make a user of the workspace `uncited` with a random password and key, or return the stored ones.

    `role` is `annotator` or `admin`. The server must be running. Raises `MissingError` when it is not,
    `UsageError` when the name or role cannot be used.
    """
    return users.add(home, username, role)
