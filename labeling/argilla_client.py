"""The way to an Argilla server: which one, as whom, and one kind of error for all that can go wrong on it.

`ARGILLA_API_URL` and `ARGILLA_API_KEY` name a team's server; without them it is the workspace's own. Reviews live in
the Argilla workspace that `ARGILLA_WORKSPACE` names, else in `uncited`, else in the only one that the user has.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labeling import local_argilla
from store.errors import MissingError, ProviderError, UsageError
from store.workspace import secret

if TYPE_CHECKING:
    from argilla import Argilla

LOCAL_WORKSPACE = "uncited"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TIMEOUT_S = 120
_ATTEMPTS = 4
_TRANSIENT = frozenset({429, 502, 503, 504})


class RefusedError(ProviderError):
    """Argilla answered, and said no: `status` is the HTTP status, `detail` what it said."""

    def __init__(self, address: str, status: int, detail: str) -> None:
        """Word the refusal for the person at the keyboard."""
        reason = {
            401: "does not know this API key",
            403: "does not allow this user to do that",
            404: "knows no such thing",
        }.get(status, f"answered {status}")
        super().__init__(f"Argilla at {address} {reason}: {detail[:500]}", "uncited argilla status")
        self.status = status
        self.detail = detail


def connect(argilla_home: Path) -> "Argilla":
    """Connect to the Argilla that the environment names, else to the running one of this workspace.

    Args:
        argilla_home: the workspace's `argilla/` folder.

    Raises:
        UsageError: only one of `ARGILLA_API_URL` and `ARGILLA_API_KEY` is set.
        MissingError: neither is, and this workspace's server does not run.
        ProviderError: the server cannot be reached, refuses the key, or is no Argilla 2.
    """
    url, key = secret("ARGILLA_API_URL"), secret("ARGILLA_API_KEY")
    if url and key:
        return connect_as(url, key)
    if url or key:
        there, lacking = ("URL", "KEY") if url else ("KEY", "URL")
        raise UsageError(f"ARGILLA_API_{there} is set and ARGILLA_API_{lacking} is not; both or neither are needed")
    server = local_argilla.status(argilla_home)
    if server is None:
        raise MissingError(
            "no Argilla is running for this workspace, and ARGILLA_API_URL names no other",
            hint="uncited argilla up",
        )
    return connect_as(server.url, server.api_key)


def connect_as(url: str, api_key: str) -> "Argilla":
    """Connect to the Argilla at `url` as the user whose key this is.

    Raises:
        UsageError: `url` is no web address.
        ProviderError: as `connect`.
    """
    address = url.rstrip("/")
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise UsageError(f"ARGILLA_API_URL is {url!r}, which is no web address such as https://argilla.example.org")

    import httpx
    from argilla import Argilla
    from argilla._exceptions import ArgillaError

    # A proxy that the environment names must not see what goes to this very machine.
    through_proxy = urlsplit(address).hostname not in _LOOPBACK
    try:
        client = Argilla(address, api_key, timeout=_TIMEOUT_S, retries=1, trust_env=through_proxy)
    except httpx.HTTPError as error:
        raise _unreachable(address, error) from error
    except ArgillaError as error:
        status = getattr(error, "status_code", 401)
        raise RefusedError(address, status, "is ARGILLA_API_KEY this server's?") from None
    except (TypeError, ValueError) as error:  # a page of some other web site, or a key that no header can hold
        raise ProviderError(f"what answers at {address} is no Argilla", "uncited argilla status") from error
    version = str(call(client, "GET", "/api/v1/version").get("version", "unknown"))
    if not version.startswith("2."):
        raise ProviderError(f"{address} is Argilla {version}; reviews need Argilla 2", "uncited argilla up")
    return client


def call(client: "Argilla", method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """Send one request to Argilla's REST API and return the JSON of the answer (None where it has none).

    Every request that reviewing sends may be sent twice, so a lost connection or a busy server is tried again.

    Raises:
        RefusedError: the server said no.
        ProviderError: it did not answer, or not sensibly.
    """
    import httpx

    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        try:
            response = client.http_client.request(method, path, **arguments)
        except httpx.TransportError as error:
            if last or isinstance(error, httpx.ConnectError):
                raise _unreachable(client.api_url, error) from error
        else:
            if response.status_code not in _TRANSIENT or last:
                return _answer(client.api_url, response)
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def workspace_id(client: "Argilla") -> str:
    """Return the id of the Argilla workspace that holds the reviews (see the top of this file for which).

    Raises:
        MissingError: the user has none, or not the one that `ARGILLA_WORKSPACE` names.
        UsageError: there are several and nothing says which.
    """
    found = {w["name"]: str(w["id"]) for w in call(client, "GET", "/api/v1/me/workspaces")["items"]}
    named = secret("ARGILLA_WORKSPACE")
    names = ", ".join(sorted(found)) or "none"
    if named:
        if named in found:
            return found[named]
        raise MissingError(f"this user has no workspace {named!r} on {client.api_url} (there are: {names})")
    if LOCAL_WORKSPACE in found:
        return found[LOCAL_WORKSPACE]
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise MissingError(f"this user has no workspace on {client.api_url}", "make one in Argilla's settings")
    raise UsageError(f"{client.api_url} has several workspaces ({names})", "export ARGILLA_WORKSPACE=NAME")


def usernames(client: "Argilla", workspace: str) -> Mapping[str, str]:
    """Map the ids of those who may have answered to their names.

    An owner sees everybody; an admin sees the workspace's users and themself.
    """
    me = call(client, "GET", "/api/v1/me")
    listed = "/api/v1/users" if me["role"] == "owner" else f"/api/v1/workspaces/{workspace}/users"
    return {str(u["id"]): str(u["username"]) for u in [me, *call(client, "GET", listed)["items"]]}


def _answer(address: str, response: Any) -> Any:  # noqa: ANN401 (an httpx.Response; any JSON value)
    if response.is_success:
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise ProviderError(f"what answers at {address} is no Argilla", "uncited argilla status") from error
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text
    raise RefusedError(address, response.status_code, str(detail))


def _unreachable(address: str, error: Exception) -> ProviderError:
    return ProviderError(
        f"Argilla at {address} cannot be reached: {str(error) or type(error).__name__}",
        "uncited argilla status",
    )
