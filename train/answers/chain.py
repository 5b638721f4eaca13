"""The chain that both retrievers are put into: test queries, what is found for them, and the prompt for an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from store.completions import Prompt
from store.encoders import model_name
from store.errors import MissingError, UsageError
from store.ids import content_id
from store.progress import Progress, silent
from train.experiments import kept
from train.held_out import HeldOut
from train.kinds import kind_of, load
from train.models import quiet
from train.ranking import rank_with_all

Retrieved = Mapping[str, Mapping[str, Sequence[str]]]  # by retriever and query: ids of chunks, best first

BASE, TUNED = "base", "tuned"

_PROMPT = Template((Path(__file__).parent / "prompt.txt").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Question:
    """A test query: the texts that each retriever finds for it, best first, and the answer that was logged, if any."""

    anchor_id: str
    text: str
    group: str
    chunks: Mapping[str, tuple[str, ...]]  # by retriever: BASE and TUNED
    reference: str | None

    def prompt(self, retriever: str) -> Prompt:
        """Return the prompt for an answer from what a retriever found."""
        found = self.chunks[retriever]
        mark = content_id("passage", *found).removeprefix("passage_")[:8]  # no passage can end itself early
        passages = (f"<passage-{i}-{mark}>\n{text}\n</passage-{i}-{mark}>" for i, text in enumerate(found, start=1))
        return Prompt(_PROMPT.substitute(passages="\n".join(passages), question=self.text))


def ask_about(
    test: HeldOut, references: Mapping[str, str], retrieved: Retrieved, *, queries: int, k: int
) -> list[Question]:
    """Return the questions of a sample of the logged test queries, each with the best `k` chunks of both retrievers.

    The sample is random and the same every time, and a smaller one is part of a larger one: ids are hashes, and the
    smallest are taken.
    """
    return [
        Question(
            anchor_id=anchor_id,
            text=test.queries[anchor_id],
            group=test.groups[anchor_id],
            chunks={
                name: tuple(test.pool[chunk_id] for chunk_id in found[anchor_id][:k])
                for name, found in retrieved.items()
            },
            reference=references.get(anchor_id),
        )
        for anchor_id in logged_queries(test)[:queries]
    ]


def logged_queries(test: HeldOut) -> list[str]:
    """Return the test queries that people asked, in order; questions that a model wrote flatter retrieval.

    Raises:
        MissingError: there are none.
    """
    logged = sorted(test.queries.keys() - test.synthetic)
    if not logged:
        raise MissingError(
            f"all test queries of {test.build_id} were written by a model; answers are measured for logged ones",
            hint="uncited import FILE",
        )
    return logged


def retrieve(
    test: HeldOut, base: str, tuned: str, *, kept_in: Path | None = None, progress: Progress = silent
) -> Retrieved:
    """Search the pool for every logged test query with both models, given by folder or hub name.

    `kept_in` is a folder where the result is kept, so that a command that goes on need not encode the pool again.

    Raises:
        MissingError: there is no such model, or no logged test query.
        InvalidDataError: a model cannot be read.
        UsageError: the result cannot be kept.
    """
    wanted = logged_queries(test)
    models = {BASE: base, TUNED: tuned}
    names = {name: model_name(model) for name, model in models.items()}
    searched = content_id("retrieved", test.build_id, names, wanted, sorted(test.pool))

    def search() -> dict[str, dict[str, list[str]]]:
        ranked = rank_with_all(test, wanted, list(dict.fromkeys(models.values())), progress)
        return {
            name: {
                query: sorted(scores, key=lambda chunk: (-scores[chunk], chunk))
                for query, scores in ranked[model].collection.items()
            }
            for name, model in models.items()
        }

    return kept(kept_in / f"{searched}.json", search) if kept_in else search()


def embedder(model: str) -> Callable[[Sequence[str]], list[list[float]]]:
    """Load a model that compares questions, and return the function that embeds them.

    Raises:
        UsageError: the model has no embeddings that can be compared.
        MissingError, InvalidDataError: see `train.models.load_model`.
    """
    if kind_of(model) != "bi-encoder":
        raise UsageError(
            f"{model} is a {kind_of(model)}, and answer_relevancy compares embeddings of questions",
            hint="name a bi-encoder as similarity_model in [answers], or leave answer_relevancy out with --metrics",
        )
    loaded: Any = load("bi-encoder", model)

    def embed(texts: Sequence[str]) -> list[list[float]]:
        with quiet():
            found: list[list[float]] = loaded.encode(list(texts), show_progress_bar=False).tolist()
        return found

    return embed
