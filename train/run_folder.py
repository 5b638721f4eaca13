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
            return run
        what = "a model that was trained otherwise"
    except (OSError, ValueError, KeyError, TypeError):
        what = "something else"
    raise UsageError(f"{out} already holds {what}", hint="name another folder with --out, or remove this one")


def unfinished_folder(out: Path, settings_id: str) -> Path:
    """Return the folder for what is not finished, named by the settings; those of other settings go away."""
    folder = out.absolute().parent
    beginning = f".{out.absolute().name}.unfinished-"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.glob(f"{beginning}*"):
            if other.name != beginning + settings_id:
                shutil.rmtree(other)
        unfinished = folder / (beginning + settings_id)
        unfinished.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write the model to {out}: {error.strerror}") from error
    return unfinished


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
    """Put the finished model in place of the unfinished folder's checkpoints, then give the folder its name.

    Returns:
        The record of the run with the hash of what was saved.
    """
    for left in (*unfinished.glob("checkpoint-*"), *unfinished.glob("eval")):
        shutil.rmtree(left)
    model.save_pretrained(str(unfinished), create_model_card=False)
    files = sorted(path.relative_to(unfinished).as_posix() for path in unfinished.rglob("*") if path.is_file())
    whole = {**run, "files": files, "model_sha256": model_hash(unfinished)}
    (unfinished / RUN_FILE).write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_model_card(unfinished)
    os.replace(unfinished, out)
    return whole
