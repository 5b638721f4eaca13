"""Whom a tuned model is compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from store.errors import UsageError
from train.kinds import kind_of
from train.ranking import BM25
from train.runs import read_run

TUNED = "tuned"


def line_up(
    tuned: Path,
    *,
    base_model: str = "",
    deployed: str = "",
    others: Sequence[str] = (),
    reranker: str = "",
) -> dict[str, str]:
    """Return the systems of an evaluation, folder or hub name by the name to print: the base first, `tuned` last.

    Args:
        tuned: folder of the model that is evaluated.
        base_model: what it is compared with first; empty for the model that it was trained from.
        deployed: the model in use, if there is one.
        others: further models.
        reranker: a model that orders anew what the base retrieves; or the first other one that embeds, or BM25.

    Raises:
        UsageError: no base model is named, and the folder does not tell what it was trained from; or `reranker` is
            none.
        InvalidDataError: the configuration of a model cannot be read.
    """
    base = base_model or str(_settings(tuned).get("base_model", ""))
    if not base:
        raise UsageError(f"{tuned} does not tell what it was trained from", hint="--base-model FOLDER_OR_NAME")
    systems = {"base": base, "BM25": BM25}
    if deployed:
        systems["deployed"] = deployed
    for model in others:
        systems[_unused(Path(model).name or model, systems)] = model
    if reranker:
        if kind_of(reranker) != "reranker":
            raise UsageError(f"--reranker {reranker}: this model is a {kind_of(reranker)}", hint=f"--with {reranker}")
        retrieving = [  # the first of them does; see `train.ranking.rank_with_all`
            name
            for name, model in {**systems, TUNED: str(tuned)}.items()
            if model != BM25 and kind_of(model) != "reranker"
        ]
        systems[f"{retrieving[0] if retrieving else 'BM25'} + reranker"] = reranker
    return {**systems, TUNED: str(tuned)}


def trained_sizes(tuned: Path) -> tuple[int, ...]:
    """Return the lengths at which the embeddings of a model were trained to do."""
    return tuple(_settings(tuned).get("matryoshka", ()))


def _settings(folder: Path) -> Mapping[str, Any]:
    run = read_run(folder)
    settings: Mapping[str, Any] = run["settings"] if run else {}
    return settings


def _unused(name: str, taken: Mapping[str, str]) -> str:
    """Return a name that is not taken yet."""
    number = 2
    found = name
    while found in taken or found == TUNED:
        found = f"{name} {number}"
        number += 1
    return found
