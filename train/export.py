"""Builds as files that trainers read without a line of conversion."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from store.builds import Build, Split, build_labels, grouped_batches, triplet_batches
from store.database import Store
from store.errors import UsageError
from store.judgments import judge_configs
from store.policies import Policy, get_policy_by_id

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["triplets", "grouped"]

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says about itself: the content of `manifest.json`, where it lies, and whether it is new there."""

    folder: Path
    body: Mapping[str, object]
    is_new: bool


def export(store: Store, build: Build, out: Path, *, format: Format = "triplets") -> Manifest:
    """Write a build into the folder `out`: each split as JSON Lines and as Parquet, and a manifest.

    `triplets` has the columns anchor, positive, negative and no other, in the order that sentence-transformers
    expects; `grouped` has anchor, pos, neg, the latter two lists. A split without a triplet gets no file. The same
    build gives the same bytes (of Parquet, with the same pyarrow). The folder appears whole or not at all.

    Raises:
        UsageError: `out` is a file, cannot be written, or is a folder that holds something else.
    """
    with _appearing(out) as unfinished:
        files: dict[str, dict[str, object]] = {}
        for split in get_args(Split):
            for file, rows in _write_split(store, build.build_id, split, format, unfinished).items():
                files[file] = {"rows": rows, "sha256": _sha256(unfinished / file)}
        body = _manifest(store, build, format, files)
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        (unfinished / MANIFEST).write_text(text, encoding="utf-8")
        is_new = not _already_there(unfinished, out)
    return Manifest(out, body, is_new)


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Offer an unfinished folder beside `out`, and give it that name at the end unless `out` is there by then."""
    unfinished = out.absolute().parent / f".{out.absolute().name}.unfinished"
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file; an export needs a folder", hint="name another folder with --out")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir(parents=True)
        yield unfinished
        if not out.exists() or not any(out.iterdir()):
            os.replace(unfinished, out)
    except OSError as error:
        raise UsageError(f"cannot write the export to {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _already_there(made: Path, out: Path) -> bool:
    """Tell whether `out` holds exactly the files in `made`; an empty or missing folder holds nothing.

    Raises:
        UsageError: `out` holds something else.
    """
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not found:
        return False
    same = found == sorted(path.name for path in made.iterdir()) and all(
        (out / name).is_file() and _sha256(out / name) == _sha256(made / name) for name in found
    )
    if not same:
        raise UsageError(
            f"{out} already holds something else ({', '.join(found[:3])}{' ...' if len(found) > 3 else ''})",
            hint="name another folder with --out, or remove this one",
        )
    return True


def _write_split(store: Store, build_id: str, split: Split, format: Format, folder: Path) -> dict[str, int]:
    """Write one split in both file formats, a batch at a time; return the number of rows of each file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if format == "triplets":
        batches = triplet_batches(store, build_id, split)
        fields = [pa.field(name, pa.string(), nullable=False) for name in ("anchor", "positive", "negative")]
    else:
        batches = grouped_batches(store, build_id, split)
        lists = pa.list_(pa.field("element", pa.string(), nullable=False))
        fields = [pa.field("anchor", pa.string(), nullable=False)]
        fields += [pa.field(name, lists, nullable=False) for name in ("pos", "neg")]
    schema = pa.schema(fields)
    rows = 0
    lines_file, table_file = folder / f"{split}.jsonl", folder / f"{split}.parquet"
    with lines_file.open("w", encoding="utf-8", newline="\n") as lines:
        with pq.ParquetWriter(table_file, schema, compression="zstd") as tables:
            for batch in batches:
                wanted = batch.select(schema.names).cast(schema)
                tables.write_table(wanted)
                lines.writelines(_lines(wanted))
                rows += wanted.num_rows
    if not rows:
        lines_file.unlink()
        table_file.unlink()
        return {}
    return {lines_file.name: rows, table_file.name: rows}


def _lines(table: "pa.Table") -> Iterator[str]:
    for row in table.to_pylist():
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _manifest(store: Store, build: Build, format: Format, files: Mapping[str, object]) -> dict[str, object]:
    """Say where the rows come from. Nothing in it depends on the moment, so it is the same whenever it is written."""
    policy = get_policy_by_id(store, build.policy_id)
    used = build.settings["judges"]
    assert isinstance(used, dict)
    configs = judge_configs(store)
    return {
        "uncited": version("uncited"),
        "format": format,
        "build": {"build_id": build.build_id, **build.settings},
        "policy": _policy(policy, build.settings["policy_version"]),
        "judges": [
            {"judge_id": judge_id, "labels": used[judge_id], "config": json.loads(configs[judge_id])}
            for judge_id in sorted(used)
        ],
        "labels": _label_counts(store, build.build_id),
        "files": files,
    }


def _policy(policy: Policy, version: object) -> dict[str, object]:
    return {
        "name": policy.name,
        "version": version,  # as it was numbered then
        "policy_id": policy.policy_id,
        "labelling_fingerprint": policy.labelling_fingerprint,
        "training_fingerprint": policy.training_fingerprint,
        "question": policy.question,
        "roles": {label.name: label.role for label in policy.labels},
    }


def _label_counts(store: Store, build_id: str) -> list[dict[str, object]]:
    """Count the labels behind a build by split, label and who gave them."""
    keys = ["split", "label", "role", "source"]
    counted = build_labels(store, build_id).group_by(keys).aggregate([("pair_id", "count")])
    ordered = counted.sort_by([(key, "ascending") for key in keys]).rename_columns({"pair_id_count": "pairs"})
    return list(ordered.select([*keys, "pairs"]).to_pylist())


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
