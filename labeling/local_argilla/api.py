"""Asking a local server's API, without the weight of Argilla's own client."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from labeling.local_argilla.credentials import Server
from labeling.local_argilla.listening import LOOPBACK, trusting


def request(
    server: Server, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 120
) -> tuple[int, Any]:
    """Ask as the owner; return (status, parsed body). Raises OSError when the server does not answer.

    Straight to this machine: a proxy that the environment names must not see the key.
    """
    address = urlsplit(server.url)
    host = address.hostname or LOOPBACK
    connection = (
        http.client.HTTPConnection(host, address.port, timeout=timeout_s)
        if server.certificate is None
        else http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=trusting(server.certificate))
    )
    headers = {"X-Argilla-Api-Key": server.api_key, "Content-Type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    except ssl.SSLError:  # one of them is a ValueError
        raise
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no sensible answer from {server.url}") from error
    finally:
        connection.close()
