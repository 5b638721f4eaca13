"""A real Argilla server on this machine, without Docker, Elasticsearch and Redis.

The server is the published `argilla-server` in a virtual environment of its own, on SQLite, with a search
engine that is registered through Argilla's own registry. `home` is the workspace's `argilla/` folder: it
holds the database, the credentials, the secret, the log and the PID file. Deleting it deletes the reviews
that were not pulled; nothing else of the workspace is touched.
"""

from pathlib import Path

from labeling.local_argilla import process, users
from labeling.local_argilla.credentials import Credentials, Server
from labeling.local_argilla.diagnosis import little_disk
from labeling.local_argilla.listening import Wish, trusting
from labeling.local_argilla.users import User
from store.progress import Progress, silent

__all__ = [
    "Credentials",
    "Server",
    "User",
    "add_user",
    "down",
    "list_users",
    "little_disk",
    "remove_user",
    "status",
    "trusting",
    "up",
]


def up(
    home: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_in_front: bool = False,
    progress: Progress = silent,
) -> Server:
    """Start the server that belongs to `home`, or return the one that runs already.

    The first call on a machine installs the server's environment (about a minute); the first call on a
    `home` makes its secret, database, owner and the workspace `uncited`. The server outlives the caller.

    Args:
        home: the server's folder.
        host: the address to listen on; the loopback address where none is given. Any other needs a certificate
            or `tls_in_front`.
        port: defaults to the one used last time, else 6900, else the next free one.
        tls_cert: a PEM file: the certificate, then those of its issuers.
        tls_key: a PEM file with its private key, not locked with a password.
        tls_in_front: a proxy in front of the server speaks TLS.
        progress: is told of the installation.

    Raises:
        UsageError: the port is taken, the address is not this machine's, what is asked for would send passwords
            unencrypted, the certificate cannot be used, or the server runs already and listens elsewhere.
        ProviderError: the environment cannot be installed, the disk is full, or the server dies at start.
        InvalidDataError: the credentials file is damaged.
    """
    return process.up(home, Wish(host, port, tls_cert, tls_key, tls_in_front), progress)


def down(home: Path) -> bool:
    """Stop the server of `home`; True if one was running. Raises nothing when none was."""
    return process.down(home)


def status(home: Path) -> Server | None:
    """Return the running server of `home`, or None. A stale PID file is not a running server.

    Raises an error for the user where a server runs and the credentials file is damaged, gone or another server's.
    """
    return process.status(home)


def add_user(home: Path, username: str) -> Credentials:
    """Make an annotator of the workspace `uncited` with a random password and key, or return the stored ones.

    They are kept in `home`/users, in a file of mode 0600. Raises `MissingError` when the server does not run,
    `UsageError` when the name cannot be used.
    """
    return users.add(home, username)


def list_users(home: Path) -> list[User]:
    """Return the owner and everybody who may review, by name. Raises `MissingError` as `add_user`."""
    return users.listed(home)


def remove_user(home: Path, username: str) -> None:
    """Take a reviewer's access away; what they answered stays, under their name.

    Raises `MissingError` when the server does not run or has no such reviewer.
    """
    users.remove(home, username)
