"""The way to an Argilla server: which one, as whom, and one kind of error for all that can go wrong on it.

`ARGILLA_API_URL` and `ARGILLA_API_KEY` name a team's server; without them it is the workspace's own. Reviews live in
the Argilla workspace that `ARGILLA_WORKSPACE` names, else in `uncited`, else in the only one that the user has.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labeling import local_argilla
from labeling.argilla_address import no_argilla, send, way_to
from store.errors import MissingError, ProviderError, UsageError
from store.workspace import secret

if TYPE_CHECKING:
    from argilla import Argilla

LOCAL_WORKSPACE = "uncited"
_TIMEOUT_S = 120
_OTHER_KEY = "export ARGILLA_API_KEY=KEY   # each user finds theirs in Argilla, under My settings"


class RefusedError(ProviderError):
    """Argilla answered, and said no: `status` is the HTTP status, `detail` what it said."""

    def __init__(self, address: str, status: int, detail: str) -> None:
        """Word the refusal for the person at the keyboard."""
        reason, hint = {
            401: ("does not know this API key", _OTHER_KEY),
            403: ("does not allow this user to do that", _OTHER_KEY),
            404: ("knows no such thing", "uncited argilla status"),
        }.get(status, (f"answered {status}", "uncited argilla status"))
        super().__init__(f"Argilla at {address} {reason}: {detail[:500]}", hint)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Reached:
    """An Argilla that answers, and who is asking."""

    url: str
    version: str
    username: str
    role: str
    workspaces: tuple[str, ...]  # all that the user has
    workspace: str | None  # the one that holds the reviews; None where nothing says which


class _Address(NamedTuple):
    url: str
    api_key: str
    certificate: Path | None  # of this workspace's own server, where it speaks TLS


def connect(argilla_home: Path) -> "Argilla":
    """Connect to the Argilla that the environment names, else to the running one of this workspace.

    Args:
        argilla_home: the workspace's `argilla/` folder.

    Raises:
        UsageError: only one of `ARGILLA_API_URL` and `ARGILLA_API_KEY` is set.
        MissingError: neither is, and this workspace's server does not run.
        ProviderError: the server cannot be reached, refuses the key, or is no Argilla 2.
    """
    address = _chosen(argilla_home)
    if address is None:
        raise MissingError(
            "no Argilla is running for this workspace, and ARGILLA_API_URL names no other",
            hint="uncited argilla up",
        )
    return connect_as(*address)


def reach(argilla_home: Path) -> Reached | None:
    """Say which Argilla the review commands use, and as whom; None where there is none.

    Raises:
        UsageError, ProviderError: as `connect`.
    """
    address = _chosen(argilla_home)
    if address is None:
        return None
    client = connect_as(*address)
    with contextlib.closing(client.http_client):
        me = call(client, "GET", "/api/v1/me")
        version = call(client, "GET", "/api/v1/version")["version"]
        found = _workspaces(client)
        try:
            workspace = _holding_reviews(client, found)
        except (MissingError, UsageError):
            workspace = None
    return Reached(client.api_url, version, me["username"], me["role"], tuple(sorted(found)), workspace)


def named_by_environment() -> str | None:
    """Return the address of the Argilla that the environment names in place of this workspace's own."""
    return secret("ARGILLA_API_URL")


def only_own() -> None:
    """Raise `UsageError` where the environment names another Argilla: its users are not made from here."""
    url = named_by_environment()
    if url:
        raise UsageError(
            f"ARGILLA_API_URL names {url}, and users are made from here on this workspace's own Argilla only"
            " (docs/argilla.md says how to make them there)",
            "unset ARGILLA_API_URL ARGILLA_API_KEY",
        )


def _chosen(argilla_home: Path) -> _Address | None:
    url, key = secret("ARGILLA_API_URL"), secret("ARGILLA_API_KEY")
    if url and key:
        return _Address(url, key, None)
    if url or key:
        there, lacking = ("URL", "KEY") if url else ("KEY", "URL")
        raise UsageError(
            f"ARGILLA_API_{there} is set and ARGILLA_API_{lacking} is not; both or neither are needed",
            f"export ARGILLA_API_{lacking}=...   # or, for this workspace's own Argilla: unset ARGILLA_API_{there}",
        )
    server = local_argilla.status(argilla_home)
    return _Address(server.url, server.api_key, server.certificate) if server else None


def connect_as(url: str, api_key: str, certificate: Path | None = None) -> "Argilla":
    """Connect to the Argilla at `url` as the user whose key this is.

    Args:
        url: the server's address.
        api_key: the user's key.
        certificate: the only one to trust, where it is this workspace's own server; else those that the system and
            `SSL_CERT_FILE` name are trusted.

    Raises:
        UsageError: `url` is no web address, or `api_key` nothing that can be sent.
        ProviderError: as `connect`.
    """
    address = url.rstrip("/")
    if not (api_key.isascii() and api_key.isprintable()):
        raise UsageError("no web request can carry ARGILLA_API_KEY: it holds other than plain characters", _OTHER_KEY)
    way = way_to(address, certificate)

    from argilla import Argilla
    from argilla._exceptions import ArgillaError
    from httpx import HTTPError

    try:
        return Argilla(address, api_key, timeout=_TIMEOUT_S, retries=1, verify=way.verify, proxy=way.proxy)
    except ArgillaError as error:
        status = getattr(error, "status_code", 401)
        raise RefusedError(address, status, "is ARGILLA_API_KEY this server's?") from None
    except (HTTPError, TypeError, ValueError) as error:
        raise no_argilla(address, "it says who it is, but not who asks") from error


def call(client: "Argilla", method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """Send one request to Argilla's REST API and return the JSON of the answer (None where it has none).

    Every request that reviewing sends may be sent twice, so a lost connection or a busy server is tried again.

    Raises:
        RefusedError: the server said no.
        ProviderError: it did not answer, or not sensibly.
    """
    address = client.api_url
    response = send(address, lambda: client.http_client.request(method, path, **arguments))
    if response.is_success:
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise no_argilla(address, f"its answer to {path} is no JSON") from error
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.text
    if response.status_code == 403:
        me = client.me
        detail = f"{me.username} is {me.role.value} there, and an owner's or admin's key is needed ({detail})"
    raise RefusedError(address, response.status_code, detail)


def workspace_id(client: "Argilla") -> str:
    """Return the id of the Argilla workspace that holds the reviews (see the top of this file for which).

    Raises:
        MissingError: the user has none, or not the one that `ARGILLA_WORKSPACE` names.
        UsageError: there are several and nothing says which.
    """
    found = _workspaces(client)
    return found[_holding_reviews(client, found)]


def _workspaces(client: "Argilla") -> dict[str, str]:
    return {w["name"]: str(w["id"]) for w in call(client, "GET", "/api/v1/me/workspaces")["items"]}


def _holding_reviews(client: "Argilla", found: Mapping[str, str]) -> str:
    named = secret("ARGILLA_WORKSPACE")
    names = ", ".join(sorted(found)) or "none"
    if named and named not in found:
        raise MissingError(
            f"this user has no workspace {named!r} on {client.api_url} (there are: {names})",
            "export ARGILLA_WORKSPACE=NAME",
        )
    if not found:
        raise MissingError(
            f"this user has no workspace on {client.api_url}", "ask an owner of that Argilla for one: docs/argilla.md"
        )
    if not named and LOCAL_WORKSPACE not in found and len(found) > 1:
        raise UsageError(f"{client.api_url} has several workspaces ({names})", "export ARGILLA_WORKSPACE=NAME")
    return named or (LOCAL_WORKSPACE if LOCAL_WORKSPACE in found else names)


def usernames(client: "Argilla", workspace: str) -> Mapping[str, str]:
    """Map the ids of those who may have answered to their names.

    An owner sees everybody; an admin sees the workspace's users and themself.
    """
    me = call(client, "GET", "/api/v1/me")
    listed = "/api/v1/users" if me["role"] == "owner" else f"/api/v1/workspaces/{workspace}/users"
    return {str(u["id"]): str(u["username"]) for u in [me, *call(client, "GET", listed)["items"]]}
