"""Models that are not ours: loading them, telling them apart, and keeping their libraries quiet."""

import contextlib
from collections.abc import Iterator
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from store.encoders import is_at_hand
from store.errors import InvalidDataError, MissingError


def load_model(base_model: str, class_name: str = "SentenceTransformer", **options: object) -> Any:  # noqa: ANN401
    """Load a model from a folder or, by name, from the Hugging Face hub, as one of sentence-transformers' classes.

    A model that is on this machine already is not looked up at the hub: it is the revision that the record names.

    Raises:
        MissingError: there is no such folder, and the hub does not have it or cannot be reached.
        InvalidDataError: the folder holds no model that can be read.
    """
    import sentence_transformers

    with quiet():
        try:
            made = getattr(sentence_transformers, class_name)
            return made(base_model, local_files_only=is_at_hand(base_model), **options)
        except Exception as error:  # each kind of broken folder fails in its own way
            why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            if Path(base_model).exists():
                raise InvalidDataError(f"{base_model} cannot be read as a model: {why}") from error
            raise MissingError(
                f"no model at {base_model!r}, and no such name could be fetched from the Hugging Face hub ({why})",
                hint="give the folder of a model that sentence-transformers reads, or its name on the hub",
            ) from error


def computes_in_bfloat16(device: str) -> bool:
    """Tell whether bfloat16 saves time on a device; `python bench/train.py --precision` measures how much on a CPU."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and remarks of the libraries: progress is told to the caller, errors are raised."""
    from datasets import utils as datasets
    from transformers.utils import logging

    loggers = [getLogger(name) for name in ("sentence_transformers", "transformers", "datasets")]
    levels = [logger.level for logger in loggers]
    had_bars = logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars[0]:
            logging.enable_progress_bar()
        if not had_bars[1]:
            datasets.enable_progress_bars()
