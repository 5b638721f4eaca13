"""The folder of a run: it appears when the run is finished, and lies beside its place before that."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.encoders import model_hash
from store.errors import UsageError
from train.model_card import write_model_card
from train.runs import RUN_FILE

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel


def finished_run(out: Path, settings_id: str) -> dict[str, Any] | None:
    """Return the record of a finished run of these settings in `out`; None where there is nothing.

    Raises:
        UsageError: `out` holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        run: dict[str, Any] = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        if run["settings_id"] == settings_id:
            shutil.rmtree(_unfinished(out, settings_id), ignore_errors=True)  # killed between the last two steps
            return run
        what = "a model that was trained otherwise"
    except (OSError, ValueError, KeyError, TypeError):
        what = "something else"
    raise UsageError(f"{out} already holds {what}", hint="name another folder with --out, or remove this one")


def unfinished_folder(out: Path, settings_id: str) -> Path:
    """Return the folder for what is not finished, named by the settings; those of other settings go away."""
    unfinished = _unfinished(out, settings_id)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        for other in unfinished.parent.glob(f"{_unfinished(out, '').name}*"):
            if other != unfinished:
                shutil.rmtree(other)
    except OSError as error:
        raise UsageError(f"cannot write the model to {out}: {error.strerror}") from error
    return unfinished


def _unfinished(out: Path, settings_id: str) -> Path:
    return out.absolute().with_name(f".{out.absolute().name}.unfinished-{settings_id}")


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in `folder`, oldest first; what a killed run left half-written goes away."""
    whole = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_bytes())  # the last file that the trainer writes
            whole.append(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return whole


def save_run(model: "BaseModel", run: Mapping[str, Any], unfinished: Path, out: Path) -> dict[str, Any]:
    """Write the finished model beside its checkpoints, give its folder the name, and only then drop the checkpoints.

    A run that is killed here, or finds the disk full, goes on from its last checkpoint.

    Returns:
        The record of the run with the hash of what was saved.
    """
    finished = unfinished / "model"
    shutil.rmtree(finished, ignore_errors=True)  # of a run that was killed here
    model.save_pretrained(str(finished), create_model_card=False)
    files = sorted(path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file())
    whole = {**run, "files": files, "model_sha256": model_hash(finished)}
    (finished / RUN_FILE).write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_model_card(finished)
    os.replace(finished, out)
    shutil.rmtree(unfinished, ignore_errors=True)
    return whole
