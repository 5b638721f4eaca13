"""Values of Parquet files, DataFrames and data sets that JSON or Python cannot hold: a sensible one, or a message."""

import os
import uuid
from collections.abc import Callable
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mining.import_log import import_files, import_frame
from store.database import Store
from store.errors import InvalidDataError
from tests.imported import stored

BEYOND, BEFORE = (
    253_402_300_800_000,
    -62_135_596_800_001,
)  # milliseconds: the first of the year 10000, the last before the year 1


def _parquet(folder: Path, table: pa.Table) -> Path:
    parquet.write_table(table, folder / "log.parquet")
    return folder / "log.parquet"


def _data_set(folder: Path, table: pa.Table) -> Path:
    import datasets

    datasets.Dataset(table).save_to_disk(str(folder / "data"))
    return folder / "data"


every_file = pytest.mark.parametrize("write", [_parquet, _data_set])


def _table(**columns: pa.Array) -> pa.Table:
    return pa.table({"query": ["a", "b"], "text": [["x"], ["y"]], **columns})


@every_file
def test_times_and_durations_become_what_json_holds(
    store: Store, tmp_path: Path, write: Callable[[Path, pa.Table], Path]
) -> None:
    table = _table(
        asked=pa.array([time(12, 30), None], pa.time64("us")),
        day=pa.array([date(2026, 3, 31), None], pa.date32()),
        took=pa.array([timedelta(seconds=1.5), timedelta(days=2)], pa.duration("us")),
        precise=pa.array([1_500_000_000, None], pa.duration("ns")),
        steps=pa.array([[timedelta(seconds=1)], []], pa.list_(pa.duration("ms"))),
    )
    import_files(store, [write(tmp_path, table)])
    first, second = stored(store)
    assert first["extra"] == {
        "asked": "12:30:00",
        "day": "2026-03-31T00:00:00Z",
        "took": 1.5,
        "precise": 1.5,
        "steps": [1.0],
    }
    assert second["extra"] == {"took": 172800.0, "steps": []}


@every_file
def test_a_time_that_python_cannot_hold_is_kept_as_its_number_and_type(
    store: Store, tmp_path: Path, write: Callable[[Path, pa.Table], Path]
) -> None:
    table = _table(
        expires=pa.array([BEYOND, BEFORE], pa.timestamp("ms")),
        zoned=pa.array([BEYOND, 0], pa.timestamp("ms", tz="UTC")),
        day=pa.array([0, 2**31 - 1], pa.date32()),
        took=pa.array([0, 2**62], pa.duration("s")),
        nested=pa.array([[{"at": BEYOND}], [{"at": 0}]], pa.list_(pa.struct([("at", pa.timestamp("ms"))]))),
    )
    assert import_files(store, [write(tmp_path, table)]).interactions == 2
    first, second = stored(store)
    assert first["extra"] == {
        "expires": f"{BEYOND} (timestamp[ms])",
        "zoned": f"{BEYOND} (timestamp[ms, tz=UTC])",
        "day": "1970-01-01T00:00:00Z",
        "took": 0.0,
        "nested": [{"at": f"{BEYOND} (timestamp[ms])"}],
    }
    assert second["extra"] == {
        "expires": f"{BEFORE} (timestamp[ms])",
        "zoned": "1970-01-01T00:00:00+00:00",
        "day": f"{2**31 - 1} (date32[day])",
        "took": f"{2**62} (duration[s])",
        "nested": [{"at": "1970-01-01T00:00:00+00:00"}],
    }


@every_file
def test_the_time_of_an_interaction_that_is_none_makes_its_row_bad(
    store: Store, tmp_path: Path, write: Callable[[Path, pa.Table], Path]
) -> None:
    file = write(tmp_path, _table(time=pa.array([1_774_958_400_000, BEYOND], pa.timestamp("ms"))))
    with pytest.raises(InvalidDataError) as refused:
        import_files(store, [file])
    assert f'{file}:2: time: "{BEYOND} (timestamp[ms])" is no time' in refused.value.message
    good = import_files(store, [file], skip_invalid=True, rejects=tmp_path / "bad.jsonl")
    assert (good.interactions, good.rejected) == (1, 1)


def _not_utf8() -> pa.Array:
    good, bad = b"fine", b"caf\xe9"
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, len(good), len(good) + len(bad))))
    return pa.StringArray.from_buffers(2, offsets, pa.py_buffer(good + bad))


@every_file
def test_a_text_that_is_no_utf8_is_named_by_row_and_column(
    store: Store, tmp_path: Path, write: Callable[[Path, pa.Table], Path]
) -> None:
    file = write(tmp_path, _table(answer=_not_utf8()))
    with pytest.raises(InvalidDataError, match=r"column answer holds what cannot be read: .*0xe9") as refused:
        import_files(store, [file])
    assert f"{file}:2: " in refused.value.message
    assert not stored(store)


def test_a_row_is_numbered_over_the_whole_file(store: Store, tmp_path: Path) -> None:
    many = 1_500  # more than are read at a time
    table = pa.table(
        {
            "query": [f"q{n}" for n in range(many)],
            "text": [["x"]] * many,
            "time": pa.array([*[0] * (many - 1), BEYOND], pa.timestamp("ms")),
        }
    )
    with pytest.raises(InvalidDataError, match=rf"log\.parquet:{many}: time: "):
        import_files(store, [_parquet(tmp_path, table)])


def test_a_data_frame_with_such_values_is_read(store: Store) -> None:
    import numpy as np
    import pandas as pd

    values: dict[str, Any] = {
        "query": ["a", "b"],
        "text": [["x"], ["y"]],
        "took": [timedelta(seconds=1.5), timedelta(seconds=2)],
        "asked": [time(12, 30), time(8)],
        "expires": np.array(["10000-01-01", "2026-03-31"], dtype="datetime64[s]"),
    }
    import_frame(store, pd.DataFrame(values))
    first, second = stored(store)
    assert (first["extra"]["took"], first["extra"]["asked"]) == (1.5, "12:30:00")
    assert first["extra"]["expires"].startswith(str(BEYOND))
    assert second["extra"]["expires"] == "2026-03-31T00:00:00+00:00"
    late = pd.DataFrame({**values, "time": values["expires"]})
    with pytest.raises(InvalidDataError, match=r"DataFrame:1: time: .* is no time"):
        import_frame(store, late)
    with pytest.raises(InvalidDataError, match="the DataFrame cannot be read"):
        import_frame(store, pd.DataFrame({"query": ["a"], "text": [["x"]], "n": [10**30]}))


def test_an_id_of_128_bits_is_its_text(store: Store, tmp_path: Path) -> None:
    ids = [uuid.UUID(int=n) for n in (1, 2)]
    storage = pa.array([one.bytes for one in ids], pa.binary(16))
    table = _table(interaction_id=pa.ExtensionArray.from_storage(pa.uuid(), storage))
    import_files(store, [_parquet(tmp_path, table)])
    assert [line["interaction_id"] for line in stored(store)] == [str(one) for one in ids]


@pytest.mark.parametrize("change", ["grows", "is damaged"])
def test_a_parquet_file_that_changes_while_it_is_read_is_refused(store: Store, tmp_path: Path, change: str) -> None:
    file = _parquet(tmp_path, _table())
    content = file.read_bytes()
    then = content + b"PAR1" if change == "grows" else content[:4] + b"\0" * (len(content) - 8) + content[-4:]

    class Writing:
        def start(self, description: str, total: int | None) -> None:
            with file.open("r+b") as out:  # the same file, not another of its name
                out.write(then)
            os.utime(file, ns=(0, 0))

        def advance(self, steps: int = 1, note: str = "") -> None:
            pass

    with pytest.raises(InvalidDataError, match=r"log\.parquet was written to while it was read"):
        import_files(store, [file], progress=Writing())
    assert not stored(store)
