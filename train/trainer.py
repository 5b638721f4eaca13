"""Fine-tuning a model on a build: resumable, repeatable, recorded."""

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.encoders import model_name
from store.errors import MissingError, UsageError, UserError
from store.ids import content_id
from store.progress import Progress, silent
from train.batches import apart_sampler
from train.kinds import load, make_loss, trainer_classes
from train.models import computes_in_bfloat16, quiet
from train.recipe import LOSSES, MAX_TOKENS, Recipe
from train.rows import Rows, TrainingSplit, rows_for

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from transformers import TrainerCallback

RUN_FILE = "run.json"

_SECONDS_BETWEEN_CHECKPOINTS = 300.0
_POINTS_OF_CURVE = 200


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained model: its folder, whether this call trained it, and what `run.json` in the folder says.

    `run` holds build_id, settings, settings_id, versions, device, steps, seconds and losses (a list of [step, loss]).
    """

    model: Path
    is_new: bool
    run: Mapping[str, Any]


def train(split: TrainingSplit, recipe: Recipe, *, out: Path, progress: Progress = silent) -> TrainResult:
    """Fine-tune a model as `recipe` says and save it, with a record of the run, in `out`.

    Where the rows of a batch are one another's negatives, no batch holds a chunk beside a row whose anchor has it, or
    what nearly repeats it, as a positive. Runs on a GPU where there is one, and in bfloat16 where the hardware
    computes in it (weights stay float32); on one machine the same arguments give the same weights, on a CPU to the
    last bit.

    `out` appears when training has finished, never before. A finished run of the same settings on the same rows is
    returned without training again; an interrupted one goes on from its last checkpoint (one every five minutes, kept
    beside `out`), and ends as it would have undisturbed.

    Args:
        split: what to train on.
        recipe: how.
        out: folder for the model.
        progress: told of every step, with the loss.

    Raises:
        UsageError: `out` holds something else, or the recipe is wrong.
        MissingError: there is nothing to train on, or there is no such model.
        InvalidDataError: the base model cannot be read.
        UserError: memory ran out, or the loss stopped being a number; says what to change.
    """
    recipe = recipe.complete()
    if not split.triplets.num_rows:
        raise MissingError("the train split has no triplets", hint="uncited build --test-share 0.1")
    rows = rows_for(split, recipe)
    settings = {
        **recipe.settings(),
        "base_model_is": model_name(recipe.base_model),
        **({"guide_is": model_name(recipe.guide)} if recipe.guide else {}),
        "rows": rows.count,
        "rows_sha256": rows.fingerprint(),
    }
    settings_id = content_id("run", split.build_id, settings)
    run = _finished(out, settings_id)
    is_new = run is None
    if run is None:
        unfinished = _unfinished_folder(out, settings_id)
        try:
            with quiet(), _advice(recipe, out):
                model, run = _train(rows, recipe, unfinished, progress)
                run = {"build_id": split.build_id, "settings_id": settings_id, "settings": settings, **run}
                _save(model, run, unfinished, out)
        finally:
            if unfinished.exists() and not _checkpoints(unfinished):
                shutil.rmtree(unfinished, ignore_errors=True)
    return TrainResult(out, is_new, run)


def _train(rows: Rows, recipe: Recipe, unfinished: Path, progress: Progress) -> tuple["BaseModel", dict[str, Any]]:
    """Train, from the last checkpoint where there is one; return the model and the record of the run."""
    from transformers import set_seed

    started = time.monotonic()
    set_seed(recipe.seed)  # before loading: weights that the base model lacks are drawn
    model: Any = load(recipe.kind, recipe.base_model)
    reads = model.max_seq_length
    model.max_seq_length = min(reads or MAX_TOKENS, MAX_TOKENS)
    trainer = _trainer(model, rows, recipe, unfinished, progress)
    checkpoints = _checkpoints(unfinished)
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    model.max_seq_length = reads
    return model, {
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "device": model.device.type,
        "versions": {name: version(name) for name in ("uncited", "sentence-transformers", "transformers", "torch")},
        "steps": trainer.state.global_step,
        "resumed": bool(checkpoints),
        "seconds": round(time.monotonic() - started, 1),
        "losses": [[entry["step"], float(entry["loss"])] for entry in trainer.state.log_history if "loss" in entry],
    }


def _finished(out: Path, settings_id: str) -> dict[str, Any] | None:
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


def _unfinished_folder(out: Path, settings_id: str) -> Path:
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


def _checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in `folder`, oldest first; what a killed run left half-written goes away."""
    whole = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_bytes())  # the last file that the trainer writes
            whole.append(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint, ignore_errors=True)
    return whole


def _trainer(model: Any, rows: Rows, recipe: Recipe, folder: Path, progress: Progress) -> Any:  # noqa: ANN401
    """Make the trainer of sentence-transformers for this kind of model."""
    from datasets import Dataset
    from transformers import PrinterCallback

    trainer_class, arguments_class = trainer_classes(recipe.kind)

    class Trainer(trainer_class):  # type: ignore[misc, valid-type]  # comes without types
        def add_model_card_callback(self, default_args_dict: Mapping[str, object]) -> None:
            """Collect nothing for a model card: it would quote training texts, which nobody has cleared for sharing."""

        def get_batch_sampler(self, dataset: Dataset, **options: Any) -> object:  # noqa: ANN401
            """Keep apart what must not meet. A sampler among the arguments would have to be pickled with them."""
            if rows.apart:
                return apart_sampler(rows.apart)(dataset, **options)
            return super().get_batch_sampler(dataset, **options)

    steps = recipe.max_steps or math.ceil(rows.count / recipe.batch_size / recipe.accumulate) * recipe.epochs
    arguments = arguments_class(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.1,  # below 1: a share of all steps
        seed=recipe.seed,
        use_cpu=model.device.type == "cpu",
        bf16=computes_in_bfloat16(model.device.type),
        logging_steps=max(1, int(steps / _POINTS_OF_CURVE)),
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback saves by the clock
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({name: list(column) for name, column in rows.columns.items()}),
        loss=make_loss(model, recipe),
        callbacks=[_watcher(progress, recipe.learning_rate)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _watcher(progress: Progress, learning_rate: float) -> "TrainerCallback":
    """Make the callback that reports steps, saves a checkpoint now and then, and stops when the loss is no number."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers comes without types
        saved_at = time.monotonic()
        loss = ""

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            progress.start("Training", state.max_steps)
            if state.global_step:
                progress.advance(state.global_step)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
        ) -> None:
            progress.advance(1, self.loss)
            if time.monotonic() - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS:
                self.saved_at = time.monotonic()
                control.should_save = True

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, float] | None = None,
            **_: object,
        ) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if not math.isfinite(float(loss)):
                raise UserError(
                    f"the loss became {loss} at step {state.global_step}: the learning rate {learning_rate} is too"
                    " high for this model",
                    hint=f"uncited train --learning-rate {learning_rate / 10:g}",
                )
            self.loss = f"loss {float(loss):.3f}"

    return Watcher()


def _save(model: "BaseModel", run: Mapping[str, Any], unfinished: Path, out: Path) -> None:
    """Put the finished model in place of the unfinished folder's checkpoints, then give the folder its name."""
    for checkpoint in unfinished.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    model.save_pretrained(str(unfinished), create_model_card=False)
    (unfinished / RUN_FILE).write_text(json.dumps(run, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(unfinished, out)


_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@contextlib.contextmanager
def _advice(recipe: Recipe, out: Path) -> Iterator[None]:
    """Turn a full memory or disk into what to do about it."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write the model to {out}: {error.strerror or error}") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise
        smaller = max(1, recipe.batch_size // 2)
        cached = f"--loss cached-{recipe.loss}" if f"cached-{recipe.loss}" in LOSSES[recipe.kind] else ""
        raise UserError(
            f"memory ran out while training {recipe.base_model} with batches of {recipe.batch_size}",
            hint=f"uncited train {cached or f'--batch-size {smaller} --accumulate {recipe.accumulate * 2}'}",
        ) from error
