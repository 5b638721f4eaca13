"""Fine-tuning a bi-encoder on the triplets of a build."""

import contextlib
import hashlib
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

from store.errors import MissingError, UsageError, UserError
from store.ids import content_id
from store.progress import Progress, silent
from train.models import computes_in_bfloat16, load_model, quiet, weights_hash

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from transformers import TrainerCallback

RUN_FILE = "run.json"
COLUMNS = ("anchor", "positive", "negative")

# Longer texts are cut for training only: attention grows with the square of the length, and the start of a chunk
# nearly always says what it is about. The saved model reads as much as its base does.
MAX_TOKENS = 512

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


def train_bi_encoder(
    triplets: "pa.Table",
    *,
    build_id: str,
    base_model: str,
    out: Path,
    epochs: float = 1.0,
    batch_size: int = 32,
    learning_rate: float = 2e-5,
    seed: int = 0,
    max_steps: int | None = None,
    progress: Progress = silent,
) -> TrainResult:
    """Fine-tune `base_model` with MultipleNegativesRankingLoss and save it, with a record of the run, in `out`.

    No batch holds a text twice, so no positive of a query is ever its negative there. Runs on a GPU where there is
    one, and in bfloat16 where the hardware computes in it (weights stay float32); on one machine the same arguments
    give the same weights, on a CPU to the last bit.

    `out` appears when training has finished, never before. A finished run of the same settings on the same triplets is
    returned without training again; an interrupted one goes on from its last checkpoint (one every five minutes, kept
    beside `out`), and ends as it would have undisturbed.

    Args:
        triplets: columns anchor, positive, negative (more are ignored), of the train split.
        build_id: where they come from; recorded.
        base_model: a folder, or a name on the Hugging Face hub.
        out: folder for the model.
        epochs: passes over the triplets.
        batch_size: triplets a step; each anchor meets all positives and negatives of its batch.
        learning_rate: the peak, reached after a tenth of the steps; falls linearly to zero.
        seed: of the order of batches and of dropout.
        max_steps: stop after so many steps, whatever `epochs` says.
        progress: told of every step, with the loss.

    Raises:
        UsageError: `out` holds something else, or an argument is out of range.
        MissingError: there are no triplets, or there is no such model.
        InvalidDataError: `base_model` cannot be read.
        UserError: memory ran out, or the loss stopped being a number; says what to change.
    """
    if not triplets.num_rows:
        raise MissingError("the train split has no triplets", hint="uncited build --test-share 0.1")
    if batch_size < 1 or epochs <= 0 or learning_rate <= 0 or (max_steps is not None and max_steps < 1):
        raise UsageError("batch size, epochs, learning rate and max steps must be above zero")
    settings = {
        "kind": "bi-encoder",
        "loss": "MultipleNegativesRankingLoss",
        "base_model": base_model,
        "base_model_sha256": weights_hash(base_model),
        "triplets": triplets.num_rows,
        "triplets_sha256": _triplets_hash(triplets),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "max_steps": max_steps,
        "max_tokens": MAX_TOKENS,
    }
    named = {"build_id": build_id, "settings_id": content_id("run", build_id, settings), "settings": settings}
    run = _finished(out, str(named["settings_id"]))
    is_new = run is None
    if run is None:
        unfinished = _unfinished_folder(out, str(named["settings_id"]))
        try:
            with quiet(), _advice(base_model, out, batch_size):
                model, run = _train(triplets, named, unfinished, progress)
                _save(model, run, unfinished, out)
        finally:
            if unfinished.exists() and not _checkpoints(unfinished):
                shutil.rmtree(unfinished, ignore_errors=True)
    return TrainResult(out, is_new, run)


def _train(
    triplets: "pa.Table", named: Mapping[str, Any], unfinished: Path, progress: Progress
) -> tuple["SentenceTransformer", dict[str, Any]]:
    """Train, from the last checkpoint where there is one; return the model and the record of the run."""
    from transformers import set_seed

    settings = named["settings"]
    started = time.monotonic()
    set_seed(settings["seed"])
    model = load_model(settings["base_model"])
    reads = model.max_seq_length
    model.max_seq_length = min(reads or MAX_TOKENS, MAX_TOKENS)
    trainer = _trainer(model, triplets, settings, unfinished, progress)
    checkpoints = _checkpoints(unfinished)
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    model.max_seq_length = reads
    return model, {
        **named,
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "device": model.device.type,
        "versions": {name: version(name) for name in ("uncited", "sentence-transformers", "transformers", "torch")},
        "steps": trainer.state.global_step,
        "resumed": bool(checkpoints),
        "seconds": round(time.monotonic() - started, 1),
        "losses": [[entry["step"], float(entry["loss"])] for entry in trainer.state.log_history if "loss" in entry],
    }


def _triplets_hash(triplets: "pa.Table") -> str:
    digest = hashlib.sha256()
    for batch in triplets.select(COLUMNS).to_batches(max_chunksize=10_000):
        digest.update(json.dumps([column.to_pylist() for column in batch.columns]).encode())
    return digest.hexdigest()


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


def _trainer(
    model: "SentenceTransformer",
    triplets: "pa.Table",
    settings: Mapping[str, Any],
    folder: Path,
    progress: Progress,
) -> "SentenceTransformerTrainer":
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import PrinterCallback

    class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # comes without types
        def add_model_card_callback(self, default_args_dict: Mapping[str, object]) -> None:
            """Collect nothing for a model card: it would quote training texts, which nobody has cleared for sharing."""

    dataset = Dataset.from_dict({name: triplets[name].to_pylist() for name in COLUMNS})
    steps = settings["max_steps"] or math.ceil(triplets.num_rows / settings["batch_size"]) * settings["epochs"]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings["epochs"],
        max_steps=settings["max_steps"] or -1,
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        warmup_steps=0.1,  # below 1: a share of all steps
        seed=settings["seed"],
        use_cpu=model.device.type == "cpu",
        bf16=computes_in_bfloat16(model.device.type),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
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
        train_dataset=dataset,
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[_watcher(progress, settings["learning_rate"])],
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


def _save(model: "SentenceTransformer", run: Mapping[str, Any], unfinished: Path, out: Path) -> None:
    """Put the finished model in place of the unfinished folder's checkpoints, then give the folder its name."""
    for checkpoint in unfinished.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    model.save_pretrained(str(unfinished), create_model_card=False)
    (unfinished / RUN_FILE).write_text(json.dumps(run, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(unfinished, out)


_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@contextlib.contextmanager
def _advice(base_model: str, out: Path, batch_size: int) -> Iterator[None]:
    """Turn a full memory or disk into what to do about it."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write the model to {out}: {error.strerror or error}") from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise
        raise UserError(
            f"memory ran out while training {base_model} with batches of {batch_size}",
            hint=f"uncited train --batch-size {max(1, batch_size // 2)}",
        ) from error
