"""Runs: folders of trained models, each with a record of how it came to be (`run.json`)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from store.builds import output_folders
from store.database import Store
from store.encoders import model_hash

RUN_FILE = "run.json"


class Run(NamedTuple):
    """A folder with the record in it. `changed`: the model in it is not the one that was trained."""

    folder: Path
    record: Mapping[str, Any]
    changed: bool


def validation_score(record: Mapping[str, Any]) -> float | None:
    """Return nDCG@10 on the queries held back for validation, of the weights that were kept; None without any.

    It may be compared between runs of one build, share and seed, whatever their loss: the same queries are held back.
    Choose by this, and tell the test split only of the chosen one.

    Args:
        record: what `train` returned as `run`, or what `run.json` holds.
    """
    return (record.get("validation") or {}).get("ndcg")


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the record of a run; None where the folder holds none that can be read."""
    try:
        record: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return record if isinstance(record["settings"], dict) and record["settings_id"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_folders(store: Store, models: Path) -> list[Path]:
    """Return the folders that models of a workspace were put in, each once; what they hold may be no run.

    Args:
        store: knows where models were put.
        models: the folder of the workspace in which they are by default, should it have moved.
    """
    known = [*output_folders(store, "model"), *sorted(models.glob("*"))]
    return list({each.resolve(): each for each in known if each.is_dir() and not each.name.startswith(".")}.values())


def finished_runs(store: Store, models: Path) -> dict[Path, dict[str, Any]]:
    """Map the folder of each run of a workspace to its record, the one that was finished last first; see above."""
    records = {folder: record for folder in run_folders(store, models) if (record := read_run(folder))}
    return dict(sorted(records.items(), key=lambda run: _finished_at(run[0]), reverse=True))


def _finished_at(run: Path) -> tuple[int, str]:
    return (run / RUN_FILE).stat().st_mtime_ns, run.name


def newest_alone(runs: Mapping[Path, Mapping[str, Any]], policy: str, kind: str) -> Path | None:
    """Return the first run of a kind that was trained on one policy alone; None where there is none.

    Args:
        runs: records by folder, as `finished_runs` returns them.
        policy: its name.
        kind: of model.
    """
    for folder, record in runs.items():
        policies = {build["policy"]["name"] for build in record.get("builds", ()) if build}
        if policies == {policy} and record["settings"].get("kind") == kind:
            return folder
    return None


def builds_of(record: Mapping[str, Any]) -> list[str]:
    """Return the ids of the builds that a run was trained on."""
    told = [record.get("build_id"), *(build.get("build_id") for build in record.get("builds", ()))]
    return list(dict.fromkeys(str(build_id) for build_id in told if build_id))


def judges_of(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Map each build of a run in which a judge labelled what was trained on to the models of its judges."""
    return {
        str(build["build_id"]): [str(judge["model"] or judge["judge_id"]) for judge in build["judges"]]
        for build in record.get("builds", ())
        if any(row["split"] == "train" and row["source"] == "judge" for row in build.get("labels", ()))
    }


def made_from(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs behind a run with these settings: its base model, guide or teacher, and what is behind those.

    What they were trained on, the run has learned from too. Keys: as (base_model, guide or teacher), model, builds,
    judges (see `judges_of`).
    """
    found = []
    for role in ("base_model", "guide", "teacher"):
        record = read_run(Path(str(settings[role]))) if settings.get(role) else None
        if record:
            told = {"builds": builds_of(record), "judges": judges_of(record)}
            found.append({"as": role, "model": settings[f"{role}_is"], **told})
            found += record.get("made_from", ())
    return found


def list_runs(folders: Iterable[Path]) -> list[Run]:
    """Return the runs among some folders, in their order. Each model is hashed: a gigabyte takes a second or two."""
    runs = []
    for folder in folders:
        record = read_run(folder)
        if record is not None:
            stated = record.get("model_sha256")  # runs of early versions have none
            runs.append(Run(folder, record, stated is not None and model_hash(folder) != stated))
    return runs
