"""The newest build of each policy, and what was made of it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from store.builds import latest_build, output_folders
from store.database import Store
from store.errors import MissingError
from store.policies import list_policies
from train.evaluation_file import evaluation_file
from train.report.write import REPORT_FILE
from train.runs import builds_of, finished_runs


class NewestBuild(NamedTuple):
    """The newest build of a policy. `runs` were trained on it, the newest first; some of them have been measured on it.

    `reported` are those of the evaluated ones that a report has told of since.
    """

    policy: str
    build_id: str
    built_at: datetime
    runs: tuple[Path, ...]
    evaluated: tuple[Path, ...]
    reported: tuple[Path, ...]


def newest_builds(store: Store, models: Path) -> Iterator[NewestBuild]:
    """Yield the newest build of each policy that has one, in the order of the policies' names.

    Args:
        store: knows where models and reports were put.
        models: the folder of the workspace in which models are by default, should it have moved.
    """
    finished = finished_runs(store, models)
    for policy in list_policies(store):
        try:
            build = latest_build(store, policy.name)
        except MissingError:
            continue
        runs = {folder: record for folder, record in finished.items() if build.build_id in builds_of(record)}
        evaluated = [folder for folder in runs if evaluation_file(folder, build.build_id).is_file()]
        reported = [folder for folder in evaluated if _reported(store, folder, runs[folder], build.build_id)]
        told = (tuple(runs), tuple(evaluated), tuple(reported))
        yield NewestBuild(policy.name, build.build_id, build.built_at, *told)


def _reported(store: Store, run: Path, record: Mapping[str, Any], build_id: str) -> bool:
    """Tell whether a report was written after the run was evaluated, beside it or elsewhere."""
    pages = [run / REPORT_FILE, *output_folders(store, "report", str(record.get("build_id")))]
    evaluated = evaluation_file(run, build_id).stat().st_mtime_ns
    return any(page.is_file() and page.stat().st_mtime_ns >= evaluated for page in pages)
