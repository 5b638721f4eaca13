"""What is trained, and how: everything that a run is told, with defaults that suit its kind of model."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

from store.errors import UsageError

Kind = Literal["bi-encoder", "reranker", "multi-vector", "sparse"]
Shape = Literal["tuples", "pairs", "lists"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a loss reads: rows of which shape, and whether the other rows of a batch serve as negatives.

    `tuples` are an anchor, a positive and hard negatives; `pairs` an anchor, a chunk and how relevant it is, from 0 to
    1; `lists` an anchor with all its labelled chunks and the grade of each. What `distills` reads a teacher's scores
    besides. `fixed` are the numbers of the loss that no option sets, named as sentence-transformers names them.
    """

    shape: Shape
    in_batch: bool = False
    distills: bool = False
    fixed: Mapping[str, float] = field(default_factory=dict)


_OF_COSINES = {"scale": 20.0}  # before a softmax takes them for logits
_OF_SUMS = {"scale": 1.0}  # of products, which are large enough


def _in_batch(fixed: Mapping[str, float]) -> Loss:
    return Loss("tuples", in_batch=True, fixed=fixed)


def _distillation(fixed: Mapping[str, float]) -> dict[str, Loss]:
    kl = Loss("tuples", distills=True, fixed={**fixed, "temperature": 1.0})
    return {"margin-mse": Loss("tuples", distills=True), "distill-kl": kl}


# The first loss of each kind is its default.
LOSSES: Mapping[Kind, Mapping[str, Loss]] = {
    "bi-encoder": {
        "multiple-negatives": _in_batch(_OF_COSINES),
        "cached-multiple-negatives": _in_batch(_OF_COSINES),
        "gist": _in_batch({"temperature": 0.01, "margin": 0.0}),
        "triplet": Loss("tuples", fixed={"triplet_margin": 0.2}),  # of cosine distances, which go from 0 to 2
        "cosine": Loss("pairs"),
        **_distillation(_OF_COSINES),
    },
    "reranker": {
        "binary-cross-entropy": Loss("pairs"),
        "lambda": Loss("lists", fixed={"mu": 10.0, "sigma": 1.0}),
        "listwise": Loss("lists"),
    },
    "multi-vector": {
        "multiple-negatives": _in_batch(_OF_SUMS),
        "cached-multiple-negatives": _in_batch(_OF_SUMS),
        **_distillation({}),
    },
    "sparse": {"multiple-negatives": _in_batch(_OF_SUMS), **_distillation({})},
}

BASE_MODELS: Mapping[Kind, str] = {
    "bi-encoder": "sentence-transformers/all-MiniLM-L6-v2",
    "reranker": "cross-encoder/ms-marco-MiniLM-L6-v2",
    "multi-vector": "lightonai/answerai-colbert-small-v1",
    "sparse": "naver/splade-cocondenser-ensembledistil",
}

# Longer texts are cut for training only: attention grows with the square of the length, and the start of a chunk
# nearly always says what it is about. The saved model reads as much as its base does.
MAX_TOKENS = 512

JUDGE = "judge"  # as a teacher
_SOFTENED = "binary-cross-entropy"  # takes labels, and a teacher's probabilities in their place

_SINGLE_NEGATIVE = ("triplet", "gist")  # losses that read one negative a row


def takes_negatives(kind: Kind, loss: str) -> bool:
    """Tell whether a loss reads rows with several hard negatives."""
    return LOSSES[kind][loss].shape == "tuples" and loss not in _SINGLE_NEGATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run is told. Empty `loss` and `base_model` become the defaults of the kind (`complete`).

    `batch_size` counts rows a step; with `accumulate` so many batches make one step of the optimizer. `negatives` are
    the hard negatives a row. The learning rate is the peak, reached after a tenth of the steps; it falls linearly to
    zero. `mini_batch_size` bounds the memory of a cached loss, `guide` is the model that tells `gist` which negatives
    to mistrust (the base model where it is empty), and `matryoshka` are the lengths at which an embedding should do.

    `validation_share` of the queries are not trained on: they choose the checkpoint that is kept (`train.validation`).
    After `patience` validations in a row that are no better than the best before, training ends early; None: never.

    `teacher` is a reranker, by folder or hub name, or "judge": its scores are what the losses of distillation, and
    binary cross-entropy, come near (`train.teacher`).

    `query_prompt` and `chunk_prompt` stand before each text of their kind, in training and in use; None leaves it to
    the model (`train.prompts`).

    `weights` say how often rows are seen in an epoch: 2 is twice, 0.5 in every other one, 0 never. A name stands for a
    policy, a source of labels (human, judge, propagated), a kind of chunk, or "synthetic" for questions that a model
    wrote; a row that several name is seen as often as their product. What is not named has the weight 1.
    """

    kind: Kind = "bi-encoder"
    base_model: str = ""
    loss: str = ""
    epochs: float = 1.0
    batch_size: int = 32
    accumulate: int = 1
    mini_batch_size: int = 32
    learning_rate: float = 2e-5
    negatives: int = 1
    matryoshka: tuple[int, ...] = ()
    guide: str = ""
    teacher: str = ""
    query_prompt: str | None = None
    chunk_prompt: str | None = None
    max_steps: int | None = None
    validation_share: float = 0.0
    patience: int | None = None
    weights: tuple[tuple[str, float], ...] = ()
    seed: int = 0

    def complete(self) -> "Recipe":
        """Fill in the defaults of the kind.

        Raises:
            UsageError: something is out of range, or does not go together.
        """
        if self.kind not in get_args(Kind):
            raise UsageError(f"no kind of model is called {self.kind!r}; there are {', '.join(get_args(Kind))}")
        losses = LOSSES[self.kind]
        distilling = next((name for name, loss in losses.items() if loss.distills), "") if self.teacher else ""
        loss = self.loss or distilling or next(iter(losses))
        if loss not in losses:
            raise UsageError(
                f"a {self.kind} is not trained with the loss {loss!r}; there are {', '.join(losses)}",
                hint=f"uncited train --policy NAME --kind {self.kind} --loss {next(iter(losses))}",
            )
        _check_numbers(self)
        _check_combination(self, loss)
        base_model = self.base_model or BASE_MODELS[self.kind]
        guide = self.guide or (base_model if loss == "gist" else "")
        return replace(self, loss=loss, base_model=base_model, guide=guide)

    @property
    def reads(self) -> Loss:
        """What the loss reads."""
        return LOSSES[self.kind][self.loss]

    def settings(self) -> dict[str, object]:
        """Return what has a bearing on the result, as JSON has it."""
        cached = self.loss.startswith("cached-")
        unused = {
            "mini_batch_size": not cached,
            "negatives": self.reads.shape != "tuples",
            "matryoshka": not self.matryoshka,
            "guide": not self.guide,
            "teacher": not self.teacher,
            "query_prompt": self.query_prompt is None,
            "chunk_prompt": self.chunk_prompt is None,
            "max_steps": self.max_steps is None,
            "validation_share": not self.validation_share,
            "patience": self.patience is None,
            "weights": not self.weights,
        }
        given = asdict(self) | {
            "matryoshka": list(self.matryoshka),
            "weights": dict(self.weights),
            "max_tokens": MAX_TOKENS,
        }
        return {name: value for name, value in given.items() if not unused.get(name, False)}


def _check_numbers(recipe: Recipe) -> None:
    wrong = [
        name
        for name in ("epochs", "batch_size", "accumulate", "mini_batch_size", "learning_rate", "negatives")
        if getattr(recipe, name) <= 0
    ]
    if wrong or (recipe.max_steps is not None and recipe.max_steps < 1):
        names = ", ".join([*wrong, *(["max_steps"] if not wrong else [])]).replace("_", " ")
        raise UsageError(f"must be above zero: {names}")
    if not 0 <= recipe.validation_share <= 0.5:
        raise UsageError(f"a validation share of {recipe.validation_share} makes no sense: from 0 to 0.5")
    if recipe.patience is not None and (recipe.patience < 1 or not recipe.validation_share):
        raise UsageError("patience counts validations: at least 1, with --validation-share above 0")
    weights = dict(recipe.weights)
    if not all(0 <= weight < math.inf for weight in weights.values()) or len(weights) < len(recipe.weights):
        raise UsageError("weights are zero or more, one for each name")


def _check_combination(recipe: Recipe, loss: str) -> None:
    if recipe.matryoshka and recipe.kind != "bi-encoder":
        raise UsageError(f"shorter embeddings (--matryoshka) are of bi-encoders, not of a {recipe.kind}")
    if recipe.matryoshka and (min(recipe.matryoshka) < 1 or len(set(recipe.matryoshka)) < len(recipe.matryoshka)):
        raise UsageError(f"--matryoshka {','.join(map(str, recipe.matryoshka))}: different lengths above zero")
    if recipe.negatives > 1 and not takes_negatives(recipe.kind, loss):
        read = "one negative" if loss in _SINGLE_NEGATIVE else "labels"
        raise UsageError(
            f"the loss {loss!r} reads {read}, not {recipe.negatives} negatives a row", hint="leave out --negatives"
        )
    if recipe.guide and loss != "gist":
        raise UsageError(f"a guide belongs to the loss 'gist', not to {loss!r}", hint="leave out --guide")
    if LOSSES[recipe.kind][loss].distills and not recipe.teacher:
        raise UsageError(f"the loss {loss!r} learns from the scores of a teacher", hint="--teacher RERANKER or judge")
    if recipe.teacher and not (LOSSES[recipe.kind][loss].distills or loss == _SOFTENED):
        raise UsageError(f"the loss {loss!r} learns from no teacher", hint="leave out --teacher, or --loss margin-mse")
    if recipe.kind == "reranker" and (recipe.query_prompt is not None or recipe.chunk_prompt is not None):
        raise UsageError("a reranker reads query and chunk as one, without prompts", hint="leave out the prompts")
