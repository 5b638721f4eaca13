"""Hugging Face data sets on disk, as `Dataset.save_to_disk` and `DatasetDict.save_to_disk` write them.

https://huggingface.co/docs/datasets/process#save: a folder with Arrow files, state.json and dataset_info.json; a folder
of those, one a split, with dataset_dict.json. The columns are those of a table (docs/formats.md).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mining.formats.csv_rows import Row
from mining.formats.parquet import rows_of
from mining.formats.table import check_columns, lines_of_rows
from mining.log_lines import Line
from store.errors import InvalidDataError, UsageError
from store.progress import Progress

_ROWS_AT_A_TIME = 1_000

State = list[tuple[str, int, int]]


def splits(folder: Path) -> list[Path]:
    """Return the folders that hold the rows: one a split, or the folder itself; none where it is no data set."""
    if (folder / "state.json").is_file():
        return [folder]
    description = folder / "dataset_dict.json"
    if not description.is_file():
        return []
    try:
        names = json.loads(description.read_bytes())["splits"]
        return [folder / str(name) for name in names]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InvalidDataError(f"{description} does not list the splits of a data set: {error}") from error


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the bytes of a split's Arrow files, in the order of their names.

    Raises:
        UsageError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.arrow")):
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_split(folder: Path, before: State, mapping: Mapping[str, str], progress: Progress) -> Iterator[Line]:
    """Yield the interactions of one split, whose files were as `before` says. Progress is in rows.

    Raises:
        InvalidDataError: the data set is damaged, lacks a column, or was written to while it was read.
    """
    import datasets
    import pyarrow as pa

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets raises whatever lies beneath: pyarrow, json, its own
        raise _damaged(folder, error) from error
    check_columns(str(folder), data.column_names, mapping)

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in data.with_format("arrow").iter(_ROWS_AT_A_TIME):
                yield from rows_of(batch, str(folder), number + 1)
                number += batch.num_rows
                progress.advance(batch.num_rows)
        except (pa.ArrowException, OSError) as error:
            _check_unchanged(folder, before)
            raise _damaged(folder, error) from error

    yield from lines_of_rows(rows(), mapping, str(folder), progress)
    _check_unchanged(folder, before)


def _check_unchanged(folder: Path, before: State) -> None:
    if state(folder) != before:
        raise InvalidDataError(f"{folder} was written to while it was read; import it when it is complete")


def _damaged(folder: Path, error: Exception) -> InvalidDataError:
    return InvalidDataError(f"{folder} is no data set that can be read: {str(error).splitlines()[0]}")


def state(folder: Path) -> State:
    """Return the name, size and time of each Arrow file of a split."""
    found = ((file.name, file.stat()) for file in sorted(folder.glob("*.arrow")))
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def count_rows(folder: Path) -> int:
    """Return how many rows the files of a split hold; 0 where they cannot be read, which is said when they are.

    Its dataset_info.json does not say: it counts other splits too, and rows that have been filtered out since.
    """
    import datasets

    try:
        return int(datasets.load_from_disk(str(folder)).num_rows)
    except Exception:  # whatever lies beneath, as in `read_split`
        return 0
