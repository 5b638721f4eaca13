"""Who may use a local server, and where that is written down: in files of mode 0600, and nowhere else."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

OWNER = "owner"
WORKSPACE = "uncited"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one person or program needs to sign in."""

    username: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)
    role: str


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, with the owner's credentials."""

    url: str
    pid: int
    username: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)
    home: Path


def owner(home: Path) -> Credentials:
    """Return the owner's credentials, made up at random the first time."""
    return stored(
        home / "credentials.json",
        lambda: Credentials(OWNER, secrets.token_urlsafe(15), secrets.token_urlsafe(48), OWNER),
    )


def stored(file: Path, make: Callable[[], Credentials]) -> Credentials:
    """Return the credentials in `file`, or make them and write them there first."""
    if not file.exists():
        write_secret(file, json.dumps(asdict(make()), indent=2) + "\n")
    return Credentials(**json.loads(file.read_text()))


def ensure_secret(home: Path) -> None:
    """Make the key that signs the web page's sessions; it stays, so that a restart signs nobody out."""
    file = home / "secret"
    if not file.exists():
        write_secret(file, secrets.token_hex(32) + "\n")


def write_secret(file: Path, text: str) -> None:
    """Write a whole file that only its owner can read, at no moment otherwise."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    new.replace(file)
