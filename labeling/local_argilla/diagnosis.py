"""Why a server ended at its start, from what it left behind."""

import shlex
import shutil
from pathlib import Path

from labeling.local_argilla import environment
from store.errors import ProviderError

_LAST_LINES = 15
_STARTS_WITH_BYTES = 20_000_000  # of disk: a copy of the web pages
_LITTLE_BYTES = 100_000_000
_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
_DAMAGED = ("file is not a database", "database disk image is malformed")
_REDIS = "Redis cannot be reached: "
_LACKING = ("ModuleNotFoundError", "ImportError", "template.db")


def died(home: Path) -> ProviderError:
    """Return the error that says why the server of `home` ended, and the command that helps."""
    log, database, damaged = home / "server.log", home / "argilla.db", home / "damaged"
    text = log.read_text(errors="replace") if log.exists() else ""
    last = "\n".join(text.rpartition("--- start ")[2].splitlines()[-_LAST_LINES:])
    said = f"The last lines of {log}:\n{last}"
    if any(words in last for words in _FULL) or shutil.disk_usage(home).free < _STARTS_WITH_BYTES:
        return ProviderError(f"The disk of {home} is full; Argilla cannot be started. {said}", f"df -h {_quoted(home)}")
    if any(words in last for words in _DAMAGED):
        return ProviderError(
            f"{database} is damaged. Put back a copy of the folder, or begin with an empty database: reviews that were"
            f" pulled are safe. {said}",
            f"mkdir -p {_quoted(damaged)} && mv {_quoted(database)}* {_quoted(damaged)} && uncited argilla up",
        )
    if _REDIS in last:
        return ProviderError(
            f"The Redis that ARGILLA_REDIS_URL names cannot be reached: {last.partition(_REDIS)[2]} The local server"
            " needs none: without that variable its background jobs run in the server.",
            "env -u ARGILLA_REDIS_URL uncited argilla up",
        )
    if any(words in last for words in _LACKING):
        folder = environment.location()
        return ProviderError(
            f"Something is missing in {folder}. {said}", f"rm -r {_quoted(folder)} && uncited argilla up"
        )
    return ProviderError(f"The Argilla server ended at its start. {said}", f"less {_quoted(log)}")


def little_disk(home: Path) -> str | None:
    """Say how much room the disk has left where answers may soon be refused, else None."""
    free = shutil.disk_usage(home).free
    return f"The disk of {home} has {free // 1_000_000} MB left" if free < _LITTLE_BYTES else None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
