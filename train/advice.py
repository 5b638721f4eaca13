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
            hint=f"uncited train --policy NAME {cached or f'--batch-size {smaller} --accumulate {recipe.accumulate * 2}'}",
        ) from error
