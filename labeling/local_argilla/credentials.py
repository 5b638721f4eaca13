"""Who may use a local server, and where that is written down (files of mode 0600 only)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one person or program needs to sign in."""

    username: str
    password: str
    api_key: str
    role: str


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, with the owner's credentials."""

    url: str
    pid: int
    username: str
    password: str
    api_key: str
    home: Path
