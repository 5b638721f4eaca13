"""The words that some models want before a query or a chunk: the same in training as in use."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from train.recipe import Recipe
from train.runs import read_run

_BGE = "Represent this sentence for searching relevant passages: "

# Of models that were trained with prompts and do not say so in their configuration: what their cards tell.
_KNOWN = (
    (re.compile(r"(^|/)(multilingual-)?e5-(small|base|large)(-v2)?$"), "query: ", "passage: "),
    (re.compile(r"(^|/)bge-(small|base|large)-en(-v1\.5)?$"), _BGE, ""),
    (re.compile(r"(^|/)nomic-embed-text-v1(\.5)?$"), "search_query: ", "search_document: "),
    (re.compile(r"(^|/)mxbai-embed-large-v1$"), _BGE, ""),
)
_CHUNK_NAMES = ("document", "passage", "corpus")  # in the order in which sentence-transformers looks for one


class Prompts(NamedTuple):
    """What stands before each query and each chunk; empty where nothing does."""

    query: str
    chunk: str


def use_prompts(model: Any, recipe: Recipe) -> Prompts:  # noqa: ANN401
    """Give a loaded model the prompts that it is to have, so that it carries them when saved; return them.

    They are those of the recipe; else those of the model's own configuration; else what is known of a base model of
    this name. A reranker reads query and chunk as one, and has none.
    """
    if recipe.kind == "reranker":
        return Prompts("", "")
    add_known_prompts(model, recipe.base_model)
    own = _own(model)
    prompts = Prompts(
        own.query if recipe.query_prompt is None else recipe.query_prompt,
        own.chunk if recipe.chunk_prompt is None else recipe.chunk_prompt,
    )
    _set(model, prompts)
    return prompts


def add_known_prompts(model: Any, name: str) -> None:  # noqa: ANN401
    """Give a loaded model that has no prompts those that are known of its name, so that it is used as it was made.

    A base model that is compared with one that was tuned with prompts must not go without them.
    """
    known = known_prompts(name)
    if any(known) and not any(_own(model)):
        _set(model, known)


def known_prompts(name: str) -> Prompts:
    """Return what is known of a model by its folder or hub name; nothing of a run, which carries what it was given."""
    known = next((Prompts(*found) for pattern, *found in _KNOWN if pattern.search(name)), None)
    return known if known and read_run(Path(name)) is None else Prompts("", "")


def _own(model: Any) -> Prompts:  # noqa: ANN401
    default = model.prompts.get(model.default_prompt_name) or ""
    return Prompts(model.prompts.get("query", default) or "", model.prompts.get(_chunk_name(model), default) or "")


def _set(model: Any, prompts: Prompts) -> None:  # noqa: ANN401
    model.prompts["query"], model.prompts[_chunk_name(model)] = prompts


def _chunk_name(model: Any) -> str:  # noqa: ANN401
    return next((name for name in _CHUNK_NAMES if name in model.prompts), "document")


def column_prompts(prompts: Prompts, columns: list[str]) -> dict[str, str]:
    """Return the prompt of each column of rows that has one: the first column holds queries."""
    texts = [name for name in columns if not name.startswith("label")]
    wanted = dict(zip(texts, [prompts.query] + [prompts.chunk] * (len(texts) - 1), strict=True))
    return {name: prompt for name, prompt in wanted.items() if prompt}
