"""What to do where a training runs out of memory or of disk."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from store.errors import UsageError, UserError
from train.recipe import LOSSES, Recipe

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@contextlib.contextmanager
def advice(recipe: Recipe, out: Path) -> Iterator[None]:
    """Turn a full memory or disk into what to do about it."""
    try:
        with memory_advice(
            f"training {recipe.base_model} with batches of {recipe.batch_size}",
            f"uncited train --policy NAME {_smaller(recipe)}",
        ):
            yield
    except OSError as error:
        raise UsageError(f"cannot write the model to {out}: {error.strerror or error}") from error


@contextlib.contextmanager
def memory_advice(doing: str, hint: str) -> Iterator[None]:
    """Turn a full memory into an error that says what filled it, and what needs less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise
        raise UserError(f"memory ran out while {doing}", hint=hint) from error


def _smaller(recipe: Recipe) -> str:
    """Return the options that need less memory and change least of what is learned.

    Only the cached losses keep no more than a mini-batch: those that read lists keep all of a batch until its gradient.
    """
    is_cached = recipe.loss.startswith("cached-")
    cached = recipe.loss if is_cached else f"cached-{recipe.loss}"
    if cached in LOSSES[recipe.kind] and not (is_cached and recipe.mini_batch_size == 1):
        return f"--loss {cached} --mini-batch-size {max(1, min(recipe.mini_batch_size, recipe.batch_size) // 2)}"
    if recipe.batch_size > 1:
        return f"--batch-size {recipe.batch_size // 2} --accumulate {recipe.accumulate * 2}"
    return "--base-model SMALLER_MODEL"
