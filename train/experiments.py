"""What experiments over a build have in common: estimates with intervals, and a JSON file that keeps the result.

An experiment trains many models on one build and says what follows. Its file lies in the folder `experiments` of the
workspace and is named by its kind and the build: `learning-curve-1a2b3c4d.json`, `ablation-...`, `sweep-...`.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from store.errors import InvalidDataError, UsageError

Experiment = Literal["learning-curve", "ablation", "sweep"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over test queries and seeds with its 95 % interval; no bounds where there is too little for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference between two models with its 95 % interval, and what may be said: gain, loss, or no claim (why)."""

    value: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """What all models of an experiment are measured on: `human_share` of the labels is people's."""

    queries: int
    groups: int
    labels: int
    human_share: float


def result_file(folder: Path, experiment: Experiment, build_id: str) -> Path:
    """Return where the result of an experiment on a build is kept; `folder` is that of all experiments."""
    return folder / f"{experiment}-{build_id.removeprefix('build_')[:8]}.json"


def write_result(file: Path, result: object) -> None:
    """Keep a result of an experiment (a frozen dataclass) as JSON.

    Raises:
        UsageError: the file cannot be written.
    """
    from pydantic import TypeAdapter

    write_whole(file, TypeAdapter(type(result)).dump_json(result, indent=2).decode() + "\n")


def read_result(file: Path, kind: type[_Result]) -> _Result | None:
    """Read what `write_result` wrote, e.g. `read_result(file, LearningCurve)`; None where there is no such file.

    Raises:
        InvalidDataError: the file holds something else.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidDataError(
            f"{file} is no result of this version: {error}", hint="remove the file and run the experiment again"
        ) from error


def kept(file: Path, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the JSON object in a file; where there is none, make it and keep it. Half a file is never left.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = make()
        write_whole(file, json.dumps(found) + "\n")
    return found


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees all of it or nothing; a text is written as UTF-8.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.unfinished")
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(unfinished, file)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
