"""The way to an address where an Argilla should answer: certificates, proxies, lost connections, other web sites."""

import shlex
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from labeling import local_argilla
from store.errors import ProviderError, UsageError

if TYPE_CHECKING:
    from httpx import Response

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TIMEOUT_S = 30
_ATTEMPTS = 4
_TRANSIENT = frozenset({429, 502, 503, 504})


class Way(NamedTuple):
    """How to get to a server: whom to trust, and the proxy to go through."""

    verify: ssl.SSLContext
    proxy: str | None


def way_to(address: str, certificate: Path | None) -> Way:
    """Return the way to the Argilla at `address`, having asked it for its version.

    Args:
        address: as the user gave it, without a slash at its end.
        certificate: the only one to trust; without it, what the system and `SSL_CERT_FILE` name, and certifi.

    Raises:
        UsageError: `address` is no web address.
        ProviderError: nothing answers there, or something that is not Argilla 2.
    """
    if not _is_web_address(address):
        raise UsageError(
            f"ARGILLA_API_URL is {address!r}, which is no web address",
            "export ARGILLA_API_URL=https://argilla.example.org",
        )
    import httpx

    way = Way(local_argilla.trusting(certificate) if certificate else _trusted(), _proxy(address))
    with httpx.Client(verify=way.verify, proxy=way.proxy, timeout=_TIMEOUT_S, trust_env=False) as client:
        response = send(address, lambda: client.get(f"{address}/api/v1/version"))
    version = _version(response)
    if version is None:
        said = f"status {response.status_code}"
        if response.is_redirect:
            said += f", go to {response.headers.get('location')}"
        raise no_argilla(address, said)
    if not version.startswith("2."):
        raise ProviderError(
            f"{address} is Argilla {version}; reviews need Argilla 2",
            "unset ARGILLA_API_URL ARGILLA_API_KEY && uncited argilla up",
        )
    return way


def send(address: str, request: Callable[[], "Response"]) -> "Response":
    """Send a request that may be sent twice, again where the connection is lost or the server busy.

    Raises:
        ProviderError: there is no connection.
    """
    import httpx

    for attempt in range(_ATTEMPTS):
        last = attempt == _ATTEMPTS - 1
        try:
            response = request()
        except httpx.TransportError as error:
            if last or isinstance(error, httpx.ConnectError):
                raise _unreachable(address, error) from error
        else:
            if response.status_code not in _TRANSIENT or last:
                return response
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def no_argilla(address: str, said: str) -> ProviderError:
    """Word what is wrong where a web server answers and Argilla does not."""
    return ProviderError(f"what answers at {address} is no Argilla ({said})", _look(address))


def _is_web_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        return False


def _version(response: "Response") -> str | None:
    try:
        return str(response.json()["version"]) if response.is_success else None
    except (ValueError, KeyError, TypeError):
        return None


def _unreachable(address: str, error: Exception) -> ProviderError:
    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return ProviderError(
            f"the certificate of {address} is not trusted: {reason}",
            "export SSL_CERT_FILE=CA.pem   # the certificate of whoever signed the server's, or the server's own",
        )
    return ProviderError(f"Argilla at {address} cannot be reached: {reason}", _look(address))


def _look(address: str) -> str:
    return f"curl -i {shlex.quote(address)}/api/v1/version   # Argilla answers with its version"


def _trusted() -> ssl.SSLContext:
    import certifi

    context = ssl.create_default_context()  # the system's store, and SSL_CERT_FILE: a company's own issuers
    context.load_verify_locations(certifi.where())
    return context


def _proxy(address: str) -> str | None:
    """Return the proxy that the environment names; what goes to this very machine goes past it."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
