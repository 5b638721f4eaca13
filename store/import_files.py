"""The files that interactions were imported from: where they lay, and what their bytes were."""

from typing import NamedTuple

from store.database import Store
from store.text import storable


class FileRead(NamedTuple):
    """A file as it was when it was read: its absolute path (None: it had none) and the SHA-256 of its bytes."""

    path: str | None
    fingerprint: str


def note_files(store: Store, import_id: str, log: FileRead, corpus: FileRead | None) -> None:
    """Remember where the file of a recorded import lay, and its corpus, so that its lines can be found again."""
    store.execute(
        "UPDATE imports SET path = ?, file_hash = ?, corpus_path = ?, corpus_hash = ? WHERE import_id = ?",
        [*_storable(log), *(_storable(corpus) if corpus else (None, None)), import_id],
    )


def _storable(file: FileRead) -> FileRead:
    """Names of files are bytes, which need not be text."""
    return file if file.path is None else file._replace(path=storable(file.path))
