"""Fine-tuning a model on a build: resumable, repeatable, recorded."""

import math
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.progress import Progress, silent
from train.advice import advice
from train.batches import apart_sampler
from train.freed_memory import keeping_freed_memory
from train.kinds import OPTIMIZATION, WARMUP_SHARE, fixed, load, make_loss, trainer_classes
from train.models import computes_in_bfloat16, quiet
from train.processes import from_first, is_first, processes
from train.prompts import Prompts, column_prompts, use_prompts
from train.recipe import JUDGE, MAX_TOKENS, Recipe
from train.rows import Rows, TrainingSplit, rows_for
from train.run_folder import checkpoints, finished_run, save_run, unfinished_folder
from train.runs import RUN_FILE as RUN_FILE
from train.runs import made_from
from train.tasks import rows_of_all, without
from train.validation import Validation, evaluator, hold_back, validation_of
from train.watcher import watcher

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers.base.model import BaseModel

_POINTS_OF_CURVE = 200
_VALIDATIONS = 8  # a run, and one before it begins


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained model: its folder, whether this call trained it, and what `run.json` in the folder says.

    `run` holds build_id (of the first build), builds (see `train.provenance`), made_from (see `train.runs`), settings,
    settings_id, fixed (see `train.kinds.fixed`), versions, environment, precision, device, prompts, steps, seconds,
    losses (a list of [step, loss]), tasks (name, rows, weight; where there are several), validation (see `_validated`),
    files and model_sha256 (of what was saved).
    """

    model: Path
    is_new: bool
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Data:
    """What is trained on, what is held back to validate (rows only where the loss is what counts), or why nothing."""

    rows: Rows
    validation: tuple[Validation, ...]
    held_rows: Rows | None
    why_not: str


def train(
    split: TrainingSplit | Sequence[TrainingSplit], recipe: Recipe, *, out: Path, progress: Progress = silent
) -> TrainResult:
    """Fine-tune a model as `recipe` says and save it, with a record of the run, in `out`.

    Where the rows of a batch are one another's negatives, no batch holds a chunk beside a row whose anchor has it, or
    what nearly repeats it, as a positive. Runs on a GPU where there is one, and in bfloat16 where the hardware
    computes in it (weights stay float32); on one machine the same arguments give the same weights, on a CPU to the
    last bit.

    Where queries are held back for validation, the weights that are kept are the best on them. Several processes that
    `torchrun` started train together: each has its batches, and the first one writes.

    `out` appears when training has finished, never before. A finished run of the same settings on the same rows is
    returned without training again; an interrupted one goes on from its last checkpoint (one every five minutes, kept
    beside `out`), and ends as it would have undisturbed.

    Args:
        split: what to train on; several (see `train.tasks.read_training_splits`) make one model of all of them.
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
    splits = [split] if isinstance(split, TrainingSplit) else list(split)
    if not all(split.triplets.num_rows for split in splits):
        raise MissingError("the train split has no triplets", hint="uncited build --policy NAME --test-share 0.1")
    data = _data(splits, recipe)
    if processes() > 1 and data.rows.seen < recipe.batch_size * processes():
        raise UsageError(f"{data.rows.seen:g} rows make no batch of {recipe.batch_size} for each process")
    settings = _settings(recipe, data.rows)
    build_ids = [split.build_id for split in splits]
    settings_id = content_id("run", *build_ids, settings)
    run = from_first(lambda: finished_run(out, settings_id))
    is_new = run is None
    if run is None:
        unfinished = from_first(lambda: unfinished_folder(out, settings_id))
        try:
            with quiet(), advice(recipe, out), keeping_freed_memory():
                model, trained = _train(data, recipe, unfinished, progress if is_first() else silent)
                builds = [dict(split.provenance) for split in splits]
                told: dict[str, Any] = {"build_id": build_ids[0], "builds": builds, "made_from": made_from(settings)}
                told |= {"settings_id": settings_id, "settings": settings, **trained}
                run = from_first(lambda: save_run(model, told, unfinished, out))
        finally:
            if is_first() and unfinished.exists() and not checkpoints(unfinished):
                shutil.rmtree(unfinished, ignore_errors=True)
    return TrainResult(out, is_new, run)


def _settings(recipe: Recipe, rows: Rows) -> dict[str, object]:
    """Return all that the weights follow from, the builds apart: equal settings give equal weights."""
    return {
        **recipe.settings(),
        "base_model_is": model_name(recipe.base_model),
        **({"guide_is": model_name(recipe.guide)} if recipe.guide else {}),
        **({"teacher_is": model_name(recipe.teacher)} if recipe.teacher not in ("", JUDGE) else {}),
        "rows": rows.count,
        "rows_sha256": rows.fingerprint(),
        **({"processes": processes()} if processes() > 1 else {}),
    }


def _data(splits: Sequence[TrainingSplit], recipe: Recipe) -> _Data:
    """Make the rows, some queries of each split held back where the recipe asks for it and there are enough."""
    parts = [hold_back(split, recipe.validation_share, recipe.seed) for split in splits]
    held = [part.held for part in parts if part.held]
    rest = [part.rest for part in parts]
    if len(splits) > 1 and held:
        queries = {key: text for one in held for key, text in validation_of(one).queries.items()}
        rest = [without(one, queries, {}) for one in rest]
    rows = rows_of_all(rest, recipe)
    if not held:
        return _Data(rows, (), None, parts[0].why_not)
    validation = tuple(map(validation_of, held))
    by_loss = len(held) == 1 and validation[0].metric == "loss"
    return _Data(rows, validation, rows_for(held[0], recipe) if by_loss else None, "")


def _train(data: _Data, recipe: Recipe, unfinished: Path, progress: Progress) -> tuple["BaseModel", dict[str, Any]]:
    """Train, from the last checkpoint where there is one; return the model and the record of the run."""
    from transformers import set_seed

    started = time.monotonic()
    set_seed(recipe.seed)  # before loading: weights that the base model lacks are drawn
    model: Any = load(recipe.kind, recipe.base_model)
    reads = model.max_seq_length
    model.max_seq_length = min(reads or MAX_TOKENS, MAX_TOKENS)
    prompts = use_prompts(model, recipe)
    saved = from_first(lambda: checkpoints(unfinished))
    trainer = _trainer(model, data, recipe, unfinished, progress, prompts=prompts, is_resumed=bool(saved))
    trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None)
    model.max_seq_length = reads
    history = trainer.state.log_history
    return model, {
        "fixed": fixed(recipe, model),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "device": model.device.type,
        "versions": {name: version(name) for name in ("uncited", "sentence-transformers", "transformers", "torch")},
        "environment": _environment(model.device),
        "prompts": prompts._asdict(),
        "steps": trainer.state.global_step,
        "resumed": bool(saved),
        "seconds": round(time.monotonic() - started, 1),
        "losses": [[entry["step"], float(entry["loss"])] for entry in history if "loss" in entry],
        "tasks": [{"name": task.name, "rows": len(task.rows), "weight": task.weight} for task in data.rows.tasks],
        "validation": _validated(data, history, trainer.state.best_global_step),
    }


def _validated(data: _Data, history: list[dict[str, Any]], kept: int | None) -> dict[str, object]:
    """Return what validation said, as `run.json` keeps it.

    Keys: why_not (empty where there was one; the others are absent else), queries, metric (nDCG@10 or loss: what chose
    the weights), curve (a list of [step, metric]), kept_step, base_ndcg (before training) and ndcg (of what was kept).
    """
    if not data.validation:
        return {"why_not": data.why_not}
    ndcgs = {entry["step"]: float(entry["eval_ndcg"]) for entry in history if "eval_ndcg" in entry}
    losses = {entry["step"]: float(entry["eval_loss"]) for entry in history if "eval_loss" in entry}
    return {
        "why_not": "",
        "queries": sum(len(part.qrels) for part in data.validation),
        "metric": "loss" if data.held_rows else "nDCG@10",
        "curve": [[step, value] for step, value in (losses if data.held_rows else ndcgs).items()],
        "kept_step": kept,
        "base_ndcg": ndcgs.get(0),
        "ndcg": ndcgs.get(kept) if kept is not None else None,
    }


def _environment(device: Any) -> dict[str, object]:  # noqa: ANN401
    import torch

    on_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device_name": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes(),
    }


def _trainer(
    model: Any,  # noqa: ANN401
    data: _Data,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    prompts: Prompts,
    is_resumed: bool,
) -> Any:  # noqa: ANN401
    """Make the trainer of sentence-transformers for this kind of model."""
    from transformers import EarlyStoppingCallback, PrinterCallback

    trainer_class, arguments_class = trainer_classes(recipe.kind)
    batches = data.rows.seen / recipe.batch_size / processes()
    steps = recipe.max_steps or math.ceil(batches / recipe.accumulate) * recipe.epochs
    arguments = arguments_class(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        warmup_steps=WARMUP_SHARE,  # below 1: a share of all steps
        **OPTIMIZATION,
        seed=recipe.seed,
        use_cpu=model.device.type == "cpu",
        bf16=computes_in_bfloat16(model.device.type),
        logging_steps=max(1, int(steps / _POINTS_OF_CURVE)),
        logging_nan_inf_filter=False,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        prompts=column_prompts(prompts, list(data.rows.columns)) or None,
        **_saving(data, steps, is_resumed=is_resumed),
    )
    callbacks = [watcher(progress, recipe.learning_rate)]
    if recipe.patience and data.validation:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=recipe.patience))
    trainer = _keeping_apart(trainer_class, data)(
        model=model,
        args=arguments,
        train_dataset=_dataset(data.rows),
        eval_dataset=_dataset(data.held_rows) if data.held_rows else None,
        loss=make_loss(model, recipe),
        evaluator=evaluator(recipe.kind, data.validation) if data.validation else None,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _keeping_apart(trainer_class: Any, data: _Data) -> Any:  # noqa: ANN401
    """Return a trainer class that puts no rows into one batch that must not meet, and quotes no training text."""

    class Trainer(trainer_class):  # type: ignore[misc]  # comes without types
        def add_model_card_callback(self, default_args_dict: Mapping[str, object]) -> None:
            """Collect nothing for a model card: it would quote training texts, which nobody has cleared for sharing."""

        def get_batch_sampler(self, dataset: "Dataset", **options: Any) -> object:  # noqa: ANN401
            """Keep apart what must not meet. A sampler among the arguments would have to be pickled with them."""
            rows = data.held_rows if dataset is self.eval_dataset and data.held_rows else data.rows
            if rows.apart:
                return apart_sampler(rows.apart, rows.tasks)(dataset, **options)
            return super().get_batch_sampler(dataset, **options)

    return Trainer


def _saving(data: _Data, steps: float, *, is_resumed: bool) -> dict[str, object]:
    """Return the arguments that make the trainer validate, and keep the best weights; the watcher saves too."""
    if not data.validation:
        return {"save_strategy": "no"}
    return {
        "eval_strategy": "steps",
        "eval_steps": max(1, math.ceil(steps / _VALIDATIONS)),
        "eval_on_start": not is_resumed,
        "save_strategy": "best",
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss" if data.held_rows else "eval_ndcg",
        "greater_is_better": not data.held_rows,
        "restore_callback_states_from_checkpoint": True,  # how often in a row nothing was better
    }


def _dataset(rows: Rows) -> Any:  # noqa: ANN401
    from datasets import Dataset

    return Dataset.from_dict({name: list(column) for name, column in rows.columns.items()})
