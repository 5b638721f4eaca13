"""What a command opens is closed when it ends."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from commands.session import opened
from store.workspace import create_workspace


def test_a_connection_to_argilla_is_closed_with_the_command_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_workspace(tmp_path / "w")
    clients = [SimpleNamespace(http_client=httpx.Client()) for _ in range(2)]
    waiting = iter(clients)
    monkeypatch.setattr("labeling.argilla_client.connect", lambda home: next(waiting))
    with opened(tmp_path / "w", as_json=True, quiet=True) as session:
        assert not session.argilla().http_client.is_closed
    with contextlib.suppress(KeyError), opened(tmp_path / "w", as_json=True, quiet=True) as session:
        session.argilla()
        raise KeyError
    assert [client.http_client.is_closed for client in clients] == [True, True]
