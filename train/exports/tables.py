"""Triplets as tables: tab-separated, CSV, Parquet, and a dataset of Hugging Face."""

import hashlib
import json
from typing import TYPE_CHECKING, get_args

from store.build_rows import triplet_rows
from store.builds import Split
from train.exports.lines import csv_field, separated, tsv_field
from train.exports.source import Source
from train.exports.texts import Texts, unchanged

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_SIDES = ("anchor", "positive", "negative")


def msmarco(source: Source) -> None:
    """Write query, positive and negative passage, parted by tabs and without a header, as MS MARCO's triples.

    The format: https://microsoft.github.io/msmarco/Datasets.html#passage-ranking-dataset, `triples.train.small`. It
    knows no quoting, so tabs and line breaks in a text become spaces.
    """
    texts = source.texts(tsv_field)
    for split in get_args(Split):
        with source.lines(f"triples.{split}.tsv") as write:
            for columns in _columns(source, split, *texts):
                write(separated(*columns, by="\t"))


def csv(source: Source) -> None:
    """Write the columns anchor, positive, negative, every field in quotation marks (RFC 4180)."""
    texts = source.texts(csv_field)
    for split in get_args(Split):
        with source.lines(f"{split}.csv", header=",".join(_SIDES) + "\n") as write:
            for columns in _columns(source, split, *texts):
                write(separated(*columns, by=","))


def parquet(source: Source) -> None:
    """Write the columns anchor, positive, negative. The bytes are the same as long as pyarrow is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(side, pa.string(), nullable=False) for side in _SIDES])
    texts = source.texts(unchanged)
    for split in get_args(Split):
        rows = 0
        with pq.ParquetWriter(source.folder / f"{split}.parquet", schema, compression="zstd") as writer:
            for columns in _columns(source, split, *texts):
                writer.write_table(pa.table([column.cast(pa.string()) for column in columns], schema=schema))
                rows += len(columns[0])
        source.counted(f"{split}.parquet", rows)


def datasets(source: Source) -> None:
    """Write a DatasetDict with the columns anchor, positive, negative, for `datasets.load_from_disk`.

    The layout is that of `DatasetDict.save_to_disk`
    (https://huggingface.co/docs/datasets/process#save). That function would name each dataset by a random fingerprint;
    here the build names it. The bytes are the same as long as pyarrow is.
    """
    import pyarrow as pa

    features = {side: {"dtype": "string", "_type": "Value"} for side in _SIDES}
    schema = pa.schema(
        [(side, pa.string()) for side in _SIDES], {"huggingface": _json({"info": {"features": features}})}
    )
    texts = source.texts(unchanged)
    made = []
    for split in get_args(Split):
        folder = source.folder / split
        folder.mkdir()
        data = "data-00000-of-00001.arrow"
        rows = 0
        with pa.OSFile(str(folder / data), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for columns in _columns(source, split, *texts):
                writer.write_table(pa.table([column.cast(pa.string()) for column in columns], schema=schema))
                rows += len(columns[0])
        source.counted(f"{split}/{data}", rows)
        if not rows:
            folder.rmdir()
            continue
        fingerprint = hashlib.sha256(f"{source.build.build_id} {split}".encode()).hexdigest()[:16]
        state = {
            "_data_files": [{"filename": data}],
            "_fingerprint": fingerprint,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        (folder / "state.json").write_text(_json(state) + "\n", encoding="utf-8")
        info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
        (folder / "dataset_info.json").write_text(_json(info) + "\n", encoding="utf-8")
        made.append(split)
    (source.folder / "dataset_dict.json").write_text(_json({"splits": made}) + "\n", encoding="utf-8")


def _columns(source: Source, split: Split, anchors: Texts, chunks: Texts) -> "Iterator[list[pa.Array]]":
    found = triplet_rows(source.store, source.build.build_id, split, with_scores=False)
    for rows in source.pages(found, chunks):
        yield [anchors.at(rows["anchor"]), chunks.at(rows["positive"]), chunks.at(rows["negative"])]


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True)
