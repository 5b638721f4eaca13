"""The four kinds of model that sentence-transformers trains: how each is loaded, and its losses and trainer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import InvalidDataError, UsageError
from train.models import load_model
from train.prompts import add_known_prompts
from train.recipe import Kind, Recipe

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from torch import nn

# The names that sentence-transformers gives its classes, and writes beside the weights of a model.
CLASSES: Mapping[Kind, str] = {
    "bi-encoder": "SentenceTransformer",
    "reranker": "CrossEncoder",
    "multi-vector": "MultiVectorEncoder",
    "sparse": "SparseEncoder",
}

# How every kind is trained, beside the learning rate; the betas are those that all use, 0.9 and 0.999.
WARMUP_SHARE = 0.1
OPTIMIZATION: Mapping[str, object] = {"lr_scheduler_type": "linear", "weight_decay": 0.0, "max_grad_norm": 1.0}

# What keeps sparse vectors sparse: of SPLADE the weights of Lassance and Clinchant (2022, arXiv 2207.03834), of sparse
# autoencoders (CSR) those of sentence-transformers.
_REGULARIZERS: Mapping[str, Mapping[str, float]] = {
    "splade": {"document_regularizer_weight": 3e-5, "query_regularizer_weight": 5e-5},
    "csr": {"beta": 0.1, "gamma": 1.0},
}


def kind_of(model: str) -> Kind:
    """Tell which kind of model a folder, or a name on the Hugging Face hub, holds.

    A model that does not say is a bi-encoder, as sentence-transformers takes it, unless its architecture classifies
    sequences: rerankers of older days.
    """
    from transformers.utils import cached_file

    known = {name: kind for kind, name in CLASSES.items()}
    for file in ("config_sentence_transformers.json", "config.json"):
        try:
            found = cached_file(model, file, _raise_exceptions_for_missing_entries=False)
        except (OSError, ValueError):  # no such model: whoever loads it says so
            found = None
        if not found:
            continue
        try:
            config = json.loads(Path(found).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidDataError(f"{found} is no JSON: {error}") from error
        if config.get("model_type") in known:
            return known[config["model_type"]]
        if any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
            return "reranker"
    return "bi-encoder"


def load(kind: Kind, base_model: str) -> "BaseModel":
    """Load a model as one of a kind; weights of another kind get what they lack, newly made.

    A model that embeds has the prompts that it wants: its own, or those known of its name.

    Raises:
        MissingError: there is no such folder, and the hub does not have it or cannot be reached.
        InvalidDataError: the folder holds no model that can be read.
    """
    options = {"num_labels": 1} if kind == "reranker" else {}
    model: BaseModel = load_model(base_model, CLASSES[kind], **options)
    if kind != "reranker":
        add_known_prompts(model, base_model)
    return model


def trainer_classes(kind: Kind) -> tuple[type, type]:
    """Return the trainer of a kind and the arguments that it takes."""
    import sentence_transformers

    name = CLASSES[kind]
    return (
        getattr(sentence_transformers, f"{name}Trainer"),
        getattr(sentence_transformers, f"{name}TrainingArguments"),
    )


def make_loss(model: Any, recipe: Recipe) -> "nn.Module":  # noqa: ANN401 (four kinds, none with types)
    """Make the loss of a complete recipe.

    Raises:
        UsageError: the model's embeddings are shorter than the recipe wants them.
    """
    made = {
        "bi-encoder": _of_bi_encoder,
        "reranker": _of_reranker,
        "multi-vector": _of_multi_vector,
        "sparse": _of_sparse,
    }[recipe.kind](model, recipe)
    if not recipe.matryoshka:
        return made
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    full = model.get_embedding_dimension()
    if max(recipe.matryoshka) > full:
        raise UsageError(f"--matryoshka {max(recipe.matryoshka)}: embeddings of {recipe.base_model} have {full} values")
    return MatryoshkaLoss(model, made, matryoshka_dims=sorted({full, *recipe.matryoshka}, reverse=True))


def fixed(recipe: Recipe, model: Any = None) -> dict[str, object]:  # noqa: ANN401
    """Return what the weights rest on and `Recipe.settings` does not tell, as JSON has it: what no option sets.

    The numbers of the loss have the names that sentence-transformers gives them. `mini_batch_size` is there where lists
    are read: it moves rounding and what dropout draws, and so is no setting. Which regularizer a sparse model has, the
    `model` tells; without it those of both architectures are named.
    """
    sparse = recipe.kind == "sparse"
    regularizers = [_regularizer(model)] if sparse and model is not None else list(_REGULARIZERS) if sparse else []
    return {
        "optimizer": "AdamW",
        "warmup_share": WARMUP_SHARE,
        **OPTIMIZATION,
        **recipe.reads.fixed,
        **({"mini_batch_size": recipe.mini_batch_size} if recipe.reads.shape == "lists" else {}),
        **{name: value for each in regularizers for name, value in _REGULARIZERS[each].items()},
    }


def _of_bi_encoder(model: Any, recipe: Recipe) -> "nn.Module":  # noqa: ANN401
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.util import pairwise_cos_sim

    numbers = recipe.reads.fixed
    if recipe.loss == "gist":
        return losses.GISTEmbedLoss(model, guide=load("bi-encoder", recipe.guide), **numbers)
    if recipe.loss == "triplet":
        return losses.TripletLoss(model, distance_metric=losses.TripletDistanceMetric.COSINE, **numbers)
    if recipe.loss == "margin-mse":
        return losses.MarginMSELoss(model, similarity_fct=pairwise_cos_sim)
    if recipe.loss == "distill-kl":
        return losses.DistillKLDivLoss(
            model,
            similarity_fct=lambda a, b: numbers["scale"] * pairwise_cos_sim(a, b),
            temperature=numbers["temperature"],
        )
    if recipe.loss == "cosine":
        return losses.CosineSimilarityLoss(model)
    if recipe.loss == "cached-multiple-negatives":
        return losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=recipe.mini_batch_size, **numbers)
    return losses.MultipleNegativesRankingLoss(model, **numbers)


def _of_reranker(model: Any, recipe: Recipe) -> "nn.Module":  # noqa: ANN401
    from sentence_transformers.cross_encoder import losses

    numbers = recipe.reads.fixed
    if recipe.loss == "lambda":
        weighting = losses.NDCGLoss2PPScheme(mu=numbers["mu"])
        return losses.LambdaLoss(
            model, weighting_scheme=weighting, sigma=numbers["sigma"], mini_batch_size=recipe.mini_batch_size
        )
    if recipe.loss == "listwise":
        return losses.ListNetLoss(model, mini_batch_size=recipe.mini_batch_size)
    return losses.BinaryCrossEntropyLoss(model)


def _of_multi_vector(model: Any, recipe: Recipe) -> "nn.Module":  # noqa: ANN401
    from sentence_transformers.multi_vector_encoder import losses

    numbers = recipe.reads.fixed
    if recipe.loss == "margin-mse":
        return losses.MultiVectorMarginMSELoss(model)
    if recipe.loss == "distill-kl":
        return losses.MultiVectorDistillKLDivLoss(model, **numbers)
    if recipe.loss == "cached-multiple-negatives":
        return losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, mini_batch_size=recipe.mini_batch_size, **numbers
        )
    return losses.MultiVectorMultipleNegativesRankingLoss(model, **numbers)


def _of_sparse(model: Any, recipe: Recipe) -> "nn.Module":  # noqa: ANN401
    """Regularize as the architecture asks: SPLADE by FLOPS, a sparse autoencoder (CSR) by reconstruction."""
    from sentence_transformers.sparse_encoder import losses

    ranking = {
        "multiple-negatives": losses.SparseMultipleNegativesRankingLoss,
        "margin-mse": losses.SparseMarginMSELoss,
        "distill-kl": losses.SparseDistillKLDivLoss,
    }[recipe.loss](model, **recipe.reads.fixed)
    architecture = _regularizer(model)
    regularized = {"splade": losses.SpladeLoss, "csr": losses.CSRLoss}[architecture]
    return regularized(model, loss=ranking, **_REGULARIZERS[architecture])


def _regularizer(model: Any) -> str:  # noqa: ANN401
    return "csr" if any(type(module).__name__ == "SparseAutoEncoder" for module in model) else "splade"
