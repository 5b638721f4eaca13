"""What an export says about itself, and whether it is still what it was."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from store.build_evidence import certificate_bodies, label_counts, shared_texts
from store.builds import Build
from store.database import Store
from store.errors import InvalidDataError, MissingError
from store.judgments import judge_configs
from store.policies import Policy
from store.synthetic import synthetic_in_build
from train.exports import FormatName
from train.exports.grades import grades, lowest_positive
from train.exports.left_out import left_out_of_build
from train.exports.source import Source

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says about itself: the content of `manifest.json`, where it lies, and whether it is new there."""

    folder: Path
    body: Mapping[str, object]
    is_new: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found: how many files are as the manifest says, and the names of those that are not."""

    folder: Path
    build_id: str
    policy: str
    format: str
    files: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Tell whether all is as it was written."""
        return not (self.changed or self.missing or self.extra)


def write_manifest(source: Source, format: FormatName, licence: str) -> dict[str, object]:
    """Write the manifest beside the files of an export; return what is in it.

    Nothing in it depends on the moment, so that it is the same whenever it is written.
    """
    store, build, policy = source.store, source.build, source.policy
    body: dict[str, object] = {
        "uncited": version("uncited"),
        "format": format,
        "build": {"build_id": build.build_id, **build.settings},
        "policy": _policy(policy, build.settings["policy_version"]),
        "judges": _judges(store, build),
        "certificates": certificate_bodies(store, _strings(build.settings.get("certificates"))),
        "labels": label_counts(store, build.build_id),
        **({"synthetic": written} if (written := synthetic_in_build(store, build.build_id)) else {}),
        "scores": _scores(source),
        "left_out": [*left_out_of_build(store, build), *({"what": w, "count": n} for w, n in source.left_out.items())],
        "shared_by_train_and_test": shared_texts(store, build.build_id),
        "licence": {
            "stated": licence or None,
            "texts": "The texts are those of the logs and documents that were imported; what may be done with them is"
            " for whoever owns them to say. uncited adds labels and puts the texts together.",
        },
        "files": _files(source),
    }
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    (source.folder / MANIFEST).write_text(text, encoding="utf-8")
    return body


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return what the manifest of a folder says; None where there is none that can be read."""
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(body, dict) or not all(isinstance(body.get(key), dict) for key in ("build", "policy", "files")):
        return None
    return body if "format" in body else None


def verify(folder: Path) -> Verified:
    """Compare the files of an export with its manifest.

    Raises:
        MissingError: there is no such folder, or no manifest in it.
        InvalidDataError: the manifest cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingError(f"{folder} is no export: it has no {MANIFEST}")
    body = read_manifest(folder)
    try:
        stated = {str(name): str(file["sha256"]) for name, file in body["files"].items()} if body else {}
    except (TypeError, KeyError):
        body = None
    if body is None:
        raise InvalidDataError(f"{folder / MANIFEST} is not what an export writes; it was changed or cut off")
    found = {name: digest for name, digest in file_hashes(folder).items() if name != MANIFEST}
    return Verified(
        folder=folder,
        build_id=str(body["build"]["build_id"]),
        policy=str(body["policy"]["name"]),
        format=str(body["format"]),
        files=sum(found.get(name) == digest for name, digest in stated.items()),
        changed=tuple(sorted(name for name in stated.keys() & found.keys() if stated[name] != found[name])),
        missing=tuple(sorted(stated.keys() - found.keys())),
        extra=tuple(sorted(found.keys() - stated.keys())),
    )


def file_hashes(folder: Path) -> dict[str, str]:
    """Map each file below a folder, by its path in it, to its SHA-256; in the order of the paths.

    What is no plain file has the hash "".

    Raises:
        InvalidDataError: a file cannot be read.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    try:
        return {name: _sha256(folder / name) if (folder / name).is_file() else "" for name in names}
    except OSError as error:
        raise InvalidDataError(f"{error.filename} cannot be read: {error.strerror}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _files(source: Source) -> dict[str, dict[str, object]]:
    """Describe each file; some hold no rows of their own."""
    return {
        name: {"rows": source.rows.get(name), "bytes": (source.folder / name).stat().st_size, "sha256": digest}
        for name, digest in file_hashes(source.folder).items()
    }


def _policy(policy: Policy, version: object) -> dict[str, object]:
    worth = grades(policy)
    return {
        "name": policy.name,
        "version": version,  # as it was numbered then
        "policy_id": policy.policy_id,
        "labelling_fingerprint": policy.labelling_fingerprint,
        "training_fingerprint": policy.training_fingerprint,
        "question": policy.question,
        "roles": {label.name: label.role for label in policy.labels},
        "scale": policy.scale,
        "grades": worth,
        "relevant_from_grade": lowest_positive(policy),
    }


def _judges(store: Store, build: Build) -> list[dict[str, object]]:
    used = build.settings["judges"]
    assert isinstance(used, dict)
    configs = judge_configs(store)
    return [
        {"judge_id": judge_id, "labels": used[judge_id], "config": json.loads(configs[judge_id])}
        for judge_id in sorted(used)
    ]


def _scores(source: Source) -> dict[str, object] | None:
    if source.scores is None:
        return None
    if isinstance(source.scores, str):
        return {"by": "model", "model": source.scores}
    return {"by": "labels", "of_label": dict(source.scores)}


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
