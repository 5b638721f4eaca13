"""Publishing a run on the Hugging Face hub, or a server that speaks as it does (`HF_ENDPOINT`)."""

import contextlib
import os
import re
from collections.abc import Iterator
from http.client import NOT_FOUND
from pathlib import Path
from typing import TYPE_CHECKING

from store.encoders import model_hash
from store.errors import InvalidDataError, MissingError, ProviderError, UsageError
from store.progress import Progress, silent
from train.model_card import CARD, write_model_card
from train.models import quiet
from train.runs import read_run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def open_repository(repository: str, *, public: bool = False) -> str:
    """Make a repository unless it is there, and ask whether the token may write to it; return its address.

    Args:
        repository: `owner/name`.
        public: make one that everybody sees; of no effect on one that is there.

    Raises:
        UsageError: `repository` is no name.
        MissingError: no token.
        ProviderError: the hub refused, or cannot be reached.
    """
    if not _NAME.fullmatch(repository):
        raise UsageError(f"{repository!r} names no repository: the hub wants OWNER/NAME")
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not get_token():
        raise MissingError("the Hugging Face hub takes a model from those with a token", hint="hf auth login")
    with _asking_for(repository) as api:
        address = api.create_repo(repository, private=not public, exist_ok=True)
        try:
            api.auth_check(repository, write=True)  # one that may only be read "exists" as well
        except HfHubHTTPError as error:
            if error.response.status_code != NOT_FOUND:  # by a server that cannot be asked this
                raise
    return str(address)


def push_model(folder: Path, repository: str, *, public: bool = False, progress: Progress = silent) -> str:
    """Upload a run with its model card, written anew; return the address of the repository.

    Only what was saved as the model goes out, and the card. `run.json`, evaluations and reports stay: they hold texts
    of the logs, or paths of this machine. A repository that is not there yet is made, private unless `public`.

    Args:
        folder: of a run.
        repository: `owner/name`.
        public: make a repository that everybody sees; of no effect on one that is there.
        progress: told of the beginning and the end.

    Raises:
        MissingError: no run in the folder, or no token.
        InvalidDataError: the model in the folder is not the one that was trained.
        UsageError: `repository` is no name.
        ProviderError: the hub refused, or cannot be reached.
    """
    record = read_run(folder)
    if record is None:
        raise MissingError(f"{folder} holds no run: there is no run.json that can be read", hint="uncited runs")
    if "files" not in record or model_hash(folder) != record.get("model_sha256"):
        raise InvalidDataError(f"{folder} is not as it was trained: nobody could say what it is", hint="uncited runs")
    address = open_repository(repository, public=public)
    write_model_card(folder)
    progress.start(f"Uploading to {repository}", 1)
    with _asking_for(repository) as api, quiet():
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[*record["files"], CARD],
            commit_message=f"Model {record['model_sha256'][:12]} from {record['build_id']}",
        )
    progress.advance()
    return address


@contextlib.contextmanager
def _asking_for(repository: str) -> Iterator["HfApi"]:
    """Speak with the hub; what goes wrong there is raised as a ProviderError."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        yield api
    except Exception as error:  # several libraries, and each kind of refusal has a class of its own
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ProviderError(f"{api.endpoint} did not take {repository}: {why}", hint="hf auth whoami") from error
