"""What servers were found to take: which form of answer, and which parameters not. Asked once, then remembered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from store.database import Store


class Form(NamedTuple):
    """How requests to a server and a model have to look."""

    answer_form: str  # how the shape of the answer is asked for
    dropped: frozenset[str] = frozenset()  # parameters that it refuses


def known_form(store: Store, base_url: str, model: str) -> Form | None:
    """Return what is remembered of a model at a server, or None."""
    found = store.rows("FROM endpoint_forms WHERE base_url = ? AND model = ?", [base_url, model])
    if not found:
        return None
    dropped = found[0]["dropped"]
    assert isinstance(dropped, Sequence)
    return Form(str(found[0]["answer_form"]), frozenset(map(str, dropped)))


def remember_form(store: Store, base_url: str, model: str, form: Form) -> None:
    """Keep what a model at a server takes, in place of what was known."""
    row = {
        "base_url": [base_url],
        "model": [model],
        "answer_form": [form.answer_form],
        "dropped": pa.array([sorted(form.dropped)], pa.list_(pa.string())),
        "learned_at": [datetime.now(UTC)],
    }
    store.insert("endpoint_forms", pa.table(row), replace=True)


def forget_form(store: Store, base_url: str, model: str) -> None:
    """Let the next request find out anew what the server takes."""
    store.execute("DELETE FROM endpoint_forms WHERE base_url = ? AND model = ?", [base_url, model])
