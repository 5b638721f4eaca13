"""Who may use a local server, and where that is written down: in files of mode 0600, and nowhere else."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from store.errors import InvalidDataError

OWNER = "owner"
WORKSPACE = "uncited"
_SECRET_LENGTH = 64


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
    certificate: Path | None = None  # what it shows where it speaks TLS; a client trusts this and nothing else


def owner_file(home: Path) -> Path:
    """Return where the owner's credentials stand."""
    return home / "credentials.json"


def new_password() -> str:
    """Make a password of 120 random bits."""
    return secrets.token_urlsafe(15)


def read(file: Path, way_on: str) -> Credentials:
    """Return the credentials in `file`.

    Args:
        file: as `write` wrote it.
        way_on: the command that makes new ones, once a damaged file is gone.

    Raises:
        InvalidDataError: the file holds something else.
    """
    try:
        found = json.loads(file.read_text())
        credentials = Credentials(**found)
        if not all(isinstance(value, str) and value for value in found.values()):
            raise ValueError(file)
    except (ValueError, TypeError) as error:
        raise InvalidDataError(
            f"{file} is damaged: it holds no user's credentials", f"rm {file} && {way_on}"
        ) from error
    return credentials


def write(file: Path, credentials: Credentials) -> None:
    """Keep credentials in `file`, for its owner's eyes only."""
    _write_secret(file, json.dumps(asdict(credentials), indent=2) + "\n")


def ensure(home: Path) -> None:
    """Make the owner's credentials and the key that signs the web page's sessions, where they are not there yet.

    Both stay, so that a restart signs nobody out; a copy that lost the files' modes gets them back.
    """
    file = owner_file(home)
    if file.exists():
        read(file, "uncited argilla up")
    else:
        write(file, Credentials(OWNER, new_password(), secrets.token_urlsafe(48), OWNER))
    secret = home / "secret"
    if not secret.exists() or len(secret.read_bytes().strip()) < _SECRET_LENGTH:
        _write_secret(secret, secrets.token_hex(_SECRET_LENGTH // 2) + "\n")
    for private in (file, secret, *home.glob("users/*.json")):
        private.chmod(0o600)


def _write_secret(file: Path, text: str) -> None:
    """Write a whole file that only its owner can read, at no moment otherwise."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    new.replace(file)
