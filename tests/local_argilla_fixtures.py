"""A real Argilla server for tests, and the few calls of its API that they make."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling import local_argilla
from labeling.local_argilla import Server


@pytest.fixture(scope="session")
def argilla_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for the whole test run, in a home of its own."""
    home = tmp_path_factory.mktemp("argilla")
    yield local_argilla.up(home)
    local_argilla.down(home)


@pytest.fixture
def argilla_home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server, if a test starts one, does not outlive the test."""
    yield tmp_path / "argilla"
    local_argilla.down(tmp_path / "argilla")


def ask(server: Server, method: str, path: str, body: Any = None, key: str | None = None) -> Any:  # noqa: ANN401
    """Call the API as the owner, or as whoever `key` belongs to; a refusal fails the test."""
    import requests

    response = requests.request(
        method,
        f"{server.url}/api/v1{path}",
        json=body,
        headers={"X-Argilla-Api-Key": key or server.api_key},
        timeout=60,
    )
    assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
    return response.json() if response.content else None


def make_dataset(server: Server, name: str, parts: dict[str, list[dict[str, Any]]], min_submitted: int = 1) -> str:
    """Make and publish a dataset in the default workspace; `parts` maps `fields`, `questions` ... to what to create."""
    (workspace,) = (w for w in ask(server, "GET", "/me/workspaces")["items"] if w["name"] == "uncited")
    dataset = {
        "name": name,
        "workspace_id": workspace["id"],
        "distribution": {"strategy": "overlap", "min_submitted": min_submitted},
    }
    dataset_id: str = ask(server, "POST", "/datasets", dataset)["id"]
    for part, items in parts.items():
        for item in items:
            ask(server, "POST", f"/datasets/{dataset_id}/{part}", {"title": item["name"], **item})
    ask(server, "PUT", f"/datasets/{dataset_id}/publish")
    return dataset_id


TEXT_AND_LABEL: dict[str, list[dict[str, Any]]] = {
    "fields": [{"name": "text", "required": True, "settings": {"type": "text"}}],
    "questions": [
        {
            "name": "label",
            "required": True,
            "settings": {
                "type": "label_selection",
                "options": [{"value": value, "text": value} for value in ("yes", "no", "unsure")],
            },
        }
    ],
}


def push(server: Server, dataset_id: str, count: int, first: int = 0) -> None:
    items = [{"external_id": str(n), "fields": {"text": f"text number {n}"}} for n in range(first, first + count)]
    ask(server, "PUT", f"/datasets/{dataset_id}/records/bulk", {"items": items})


def record_ids(server: Server, dataset_id: str) -> list[str]:
    return [r["id"] for r in ask(server, "GET", f"/datasets/{dataset_id}/records?limit=1000")["items"]]


def submit(server: Server, record_id: str, key: str, label: str = "yes") -> None:
    body = {"status": "submitted", "values": {"label": {"value": label}}}
    ask(server, "POST", f"/records/{record_id}/responses", body, key)


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False
