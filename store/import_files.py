"""The files that interactions were imported from: where they lay, and what their bytes were."""

from typing import NamedTuple

from store.database import Store


class FileRead(NamedTuple):
    """A file as it was when it was read: its absolute path (None: it had none) and the SHA-256 of its bytes."""

    path: str | None
    fingerprint: str


def note_files(store: Store, import_id: str, log: FileRead, corpus: FileRead | None) -> None:
    """Remember where the file of a recorded import lay, and its corpus, so that its lines can be found again."""
    store.execute(
        "UPDATE imports SET path = ?, file_hash = ?, corpus_path = ?, corpus_hash = ? WHERE import_id = ?",
        [log.path, log.fingerprint, *(corpus or (None, None)), import_id],
    )
