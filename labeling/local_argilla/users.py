"""Reviewers of a local server: an account each, so that the owner's key is handed to nobody."""

import re
import secrets
from pathlib import Path
from typing import Any

from labeling.local_argilla import credentials, environment, process
from labeling.local_argilla.credentials import Credentials, Server
from store.errors import ProviderError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_ROLES = ("annotator", "admin")


def add(home: Path, username: str, role: str) -> Credentials:
    """Make the user, or return what is stored of it; see the package's `add_user`."""
    if not _NAME.fullmatch(username) or username == credentials.OWNER:
        raise UsageError(
            f"{username!r} cannot be a user's name: letters, digits and . _ @ - only, and not {credentials.OWNER!r}.",
            "uncited argilla user add NAME",
        )
    if role not in _ROLES:
        raise UsageError(f"{role!r} is not a role; use {' or '.join(_ROLES)}.", "uncited argilla user add NAME")
    server = process.required(home)
    folder = server.home / "users"
    folder.mkdir(exist_ok=True, mode=0o700)
    with environment.locked(home / "control.lock"):
        return credentials.stored(folder / f"{username}.json", lambda: _make(server, username, role))


def _make(server: Server, username: str, role: str) -> Credentials:
    password = secrets.token_urlsafe(15)
    users = _ask(server, "GET", "/users")["items"]
    user = next((user for user in users if user["username"] == username), None)
    if user is None:
        account = {"username": username, "first_name": username, "role": role, "password": password}
        user = _ask(server, "POST", "/users", account)
    else:  # made before, by hand or by a run that was stopped before it wrote the password down
        _ask(server, "PATCH", f"/users/{user['id']}", {"password": password})
    workspaces = _ask(server, "GET", "/me/workspaces")["items"]
    workspace = next(item["id"] for item in workspaces if item["name"] == credentials.WORKSPACE)
    members = _ask(server, "GET", f"/workspaces/{workspace}/users")["items"]
    if user["id"] not in {member["id"] for member in members}:
        _ask(server, "POST", f"/workspaces/{workspace}/users", {"user_id": user["id"]})
    return Credentials(username, password, user["api_key"], user["role"])


def _ask(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    code, answer = process.request(server, method, f"/api/v1{path}", body)
    if code >= 400:
        raise ProviderError(f"Argilla refused {method} {path} ({code}): {answer}", "uncited argilla status")
    return answer
