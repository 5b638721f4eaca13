"""The library: log interactions from an application, open a workspace, load a build.

import uncited

uncited.log("interactions.jsonl", query, retrieved=[{"chunk_id": "a", "text": "..."}], cited=["a"])

with uncited.open("my-workspace") as store: ...
dataset = uncited.load_build("my-workspace", policy="answers-the-question")
dataset["train"]  # anchor, positive, negative: what SentenceTransformerTrainer takes
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict

    from store.database import Store

__all__ = ["load_build", "log", "open"]


def log(
    file: str | Path,
    query: str,
    *,
    retrieved: Sequence[Mapping[str, Any]],
    cited: Sequence[str],
    **fields: object,
) -> None:
    """Append one interaction to a JSON Lines file that `uncited import` reads.

    The line goes out in one write to a file opened for appending, so that several processes may log to one file
    and a crash leaves no torn line between whole ones.

    Args:
        file: where to; made if it is missing.
        query: what was asked.
        retrieved: the ranked chunks, best first: `chunk_id`, `text`, and optionally `score`, `kind`, `document`,
            `title`. A missing `rank` is the position.
        cited: the ids of the chunks that the answer cited; may be empty.
        fields: any other field of the format: `interaction_id`, `query_id`, `answer`, `source`, `signals`, `time`
            (default: now).
    """
    line = {
        "query": query,
        "time": datetime.now(UTC).isoformat(),
        **fields,
        "retrieved": [{"rank": rank, **chunk} for rank, chunk in enumerate(retrieved, start=1)],
        "cited": list(cited),
    }
    written = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, written)
    finally:
        os.close(descriptor)


def open(workspace: str | Path) -> "Store":
    """Open a workspace's database; use it as a context manager. See `store` for what can be read from it.

    Raises:
        store.errors.UserError: there is no workspace, or another process holds its database.
    """
    from store.workspace import open_workspace

    return open_workspace(Path(workspace)).open()


def load_build(workspace: str | Path, *, policy: str, build_id: str | None = None) -> "DatasetDict":
    """Load the newest build of a policy, or the one named, as a dataset with splits `train` and `test`.

    Returns:
        Columns anchor, positive, negative (strings), in the order that SentenceTransformerTrainer expects.

    Raises:
        store.errors.UserError: there is no such workspace, policy or build.
    """
    from datasets import Dataset, DatasetDict

    from store.builds import build_triplets, get_build, latest_build

    with open(workspace) as store:
        build = get_build(store, build_id) if build_id else latest_build(store, policy)
        triplets = build_triplets(store, build.build_id)
    rows = triplets.to_pandas()
    return DatasetDict(
        {
            split: Dataset.from_pandas(
                rows.loc[rows["split"] == split, ["anchor", "positive", "negative"]], preserve_index=False
            )
            for split in ("train", "test")
        }
    )
