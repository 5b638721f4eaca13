"""The file that keeps an evaluation beside the `run.json` of a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store.errors import InvalidDataError
from train.evaluation import Evaluation
from train.experiments import write_result
from train.runs import RUN_FILE

EVALUATION_FILE = "evaluation.json"


def evaluation_file(run: Path, build_id: str) -> Path:
    """Return where the evaluation of a run on a build is kept.

    It is `evaluation.json` for the build that the run was trained on, and carries the build's id for another.
    """
    try:
        trained_on = json.loads((run / RUN_FILE).read_bytes())["build_id"]
    except (OSError, ValueError, KeyError, TypeError):
        trained_on = None
    other = f"evaluation-{build_id.removeprefix('build_')[:8]}.json"
    return run / (EVALUATION_FILE if trained_on == build_id else other)


def write_evaluation(file: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation; half a file is never left.

    Raises:
        UsageError: the file cannot be written.
    """
    write_result(file, evaluation)


def readable_evaluation(file: Path) -> Evaluation | None:
    """Read an evaluation; None where there is none, or one of another version."""
    try:
        return read_evaluation(file)
    except InvalidDataError:
        return None


def is_of_run(evaluation: Evaluation, record: Mapping[str, Any]) -> bool:
    """Tell whether what was evaluated are the weights that a run, by its record, trained."""
    stated = record.get("model_sha256")  # runs of early versions have none
    return stated is None or evaluation.system(evaluation.subject).model_id.endswith(f"@{stated[:12]}")


def read_evaluation(file: Path) -> Evaluation | None:
    """Read what `write_evaluation` wrote; None where there is no such file.

    Raises:
        InvalidDataError: the file holds something else.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Evaluation).validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidDataError(
            f"{file} is no evaluation of this version: {str(error).splitlines()[0]}",
            hint="uncited evaluate --policy NAME",
        ) from error
