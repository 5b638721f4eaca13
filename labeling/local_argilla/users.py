"""Reviewers of a local server: an account each, so that the owner's key is handed to nobody."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from labeling.local_argilla import api, credentials, environment, process
from labeling.local_argilla.credentials import Credentials, Server
from store.errors import MissingError, ProviderError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


class User(NamedTuple):
    """Somebody who may review."""

    username: str
    role: str
    credentials: Path | None  # where the password stands, if it does


def add(home: Path, username: str) -> Credentials:
    """Make the user, or return what is stored of it; see the package's `add_user`."""
    if not _NAME.fullmatch(username) or username == credentials.OWNER:
        raise UsageError(
            f"{username!r} cannot be a user's name: letters, digits and . _ @ - only, and not {credentials.OWNER!r}.",
            "uncited argilla user add NAME",
        )
    server = process.required(home)
    file = server.home / "users" / f"{username}.json"
    file.parent.mkdir(exist_ok=True, mode=0o700)
    with environment.locked(server.home / "control.lock"):
        if file.exists():
            known = credentials.read(file, f"uncited argilla user add {username}")
            if any(member["api_key"] == known.api_key for member in _members(server)):
                return known
        made = _make(server, username)
        credentials.write(file, made)
        return made


def listed(home: Path) -> list[User]:
    """Return the owner and the workspace's members; see the package's `list_users`."""
    server = process.required(home)
    owner = User(server.username, credentials.OWNER, credentials.owner_file(server.home))
    members = sorted(_members(server), key=lambda member: str(member["username"]))
    return [owner, *(User(m["username"], m["role"], _stored(server, m["username"])) for m in members)]


def remove(home: Path, username: str) -> None:
    """Take a member's access away; see the package's `remove_user`.

    Argilla deletes a user's answers with the user. So the account stays, with a password that nobody knows and without
    a workspace: it can neither sign in nor, by its key, see anything. Leaving the workspace comes last: until then the
    user is listed and can be removed again.
    """
    server = process.required(home)
    with environment.locked(server.home / "control.lock"):
        user = next((member for member in _members(server) if member["username"] == username), None)
        if user is None:
            raise MissingError(f"{username!r} is no reviewer of this server.", "uncited argilla user list")
        _ask(server, "PATCH", f"/users/{user['id']}", {"password": credentials.new_password()})
        if file := _stored(server, username):
            file.unlink()
        _ask(server, "DELETE", f"/workspaces/{_workspace_id(server)}/users/{user['id']}")


def _make(server: Server, username: str) -> Credentials:
    password = credentials.new_password()
    user = next((user for user in _ask(server, "GET", "/users")["items"] if user["username"] == username), None)
    if user is None:
        account = {"username": username, "first_name": username, "role": "annotator", "password": password}
        user = _ask(server, "POST", "/users", account)
    else:  # removed before, made by hand, or by a run that was stopped before it wrote the password down
        _ask(server, "PATCH", f"/users/{user['id']}", {"password": password})
    if user["id"] not in {member["id"] for member in _members(server)}:
        _ask(server, "POST", f"/workspaces/{_workspace_id(server)}/users", {"user_id": user["id"]})
    return Credentials(username, password, user["api_key"], user["role"])


def _members(server: Server) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = _ask(server, "GET", f"/workspaces/{_workspace_id(server)}/users")["items"]
    return members


def _workspace_id(server: Server) -> str:
    workspaces = _ask(server, "GET", "/me/workspaces")["items"]
    return str(next(item["id"] for item in workspaces if item["name"] == credentials.WORKSPACE))


def _stored(server: Server, username: str) -> Path | None:
    """Return the file that holds the password, if there is one; a name made elsewhere may hold anything, even `../`."""
    return next((file for file in (server.home / "users").glob("*.json") if file.stem == username), None)


def _ask(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    try:
        code, answer = api.request(server, method, f"/api/v1{path}", body)
    except OSError as error:
        raise ProviderError(f"Argilla at {server.url} does not answer: {error}", "uncited argilla status") from error
    if code >= 400:
        raise ProviderError(f"Argilla refused {method} {path} ({code}): {answer}", "uncited argilla status")
    return answer
