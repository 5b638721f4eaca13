"""Where a local server listens, and who may overhear it: all of it settled before the server is started."""

import errno
import ipaddress
import os
import re
import shlex
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from store.errors import ProviderError, UsageError

LOOPBACK = "127.0.0.1"
_DEFAULT_PORT = 6900
_PORTS_TO_TRY = 100
_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wish:
    """How a server is to be reached. Passwords and keys travel over it, so what leaves this machine needs TLS."""

    host: str | None = None  # None: the loopback address
    port: int | None = None  # None: the one used last time, else 6900, else the next free one
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_in_front: bool = False  # a proxy in front of it speaks TLS

    def options(self) -> str:
        """Return the options of `uncited argilla up` that wish for this, each after a space."""
        given = {"host": self.host, "port": self.port, "tls-cert": self.tls_cert, "tls-key": self.tls_key}
        said = [f" --{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
        return "".join(said) + " --tls-in-front" * self.tls_in_front

    def check(self) -> None:
        """Raise `UsageError` where the server would be overheard, or its certificate cannot be used."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key are needed both, or neither", "uncited argilla up --help")
        loopback = _is_loopback(self.host)
        if self.tls_cert is not None:
            _check_certificate(self.tls_cert, self.tls_key)
        elif not loopback and not self.tls_in_front:
            raise UsageError(
                f"Passwords and answers would cross the network unencrypted to {self.host}. Give the server a"
                " certificate, or say --tls-in-front if a proxy in front of it speaks TLS.",
                f"uncited argilla up --host {self.host} --tls-cert CERT.pem --tls-key KEY.pem",
            )

    def listen(self, remembered: int | None) -> socket.socket:
        """Bind and listen here already, so that nobody can take the port while the server starts.

        Raises:
            UsageError: the given port is taken, or the address is not this machine's.
            ProviderError: no port is free.
        """
        if self.port is not None:
            return self._bound(self.port)
        for port in (remembered or _DEFAULT_PORT, *range(_DEFAULT_PORT, _DEFAULT_PORT + _PORTS_TO_TRY), 0):
            try:
                return self._bound(port)
            except _TakenError:
                continue
        raise ProviderError(
            f"No port of {self.host or LOOPBACK} is free for Argilla.", "uncited argilla up --port PORT"
        )

    def url(self, port: int) -> str:
        """Return the address at which this machine reaches a server that listens as wished."""
        host = self.host or LOOPBACK
        _, address = _resolve(host)
        if ipaddress.ip_address(address).is_unspecified:
            host = "[::1]" if ":" in address else LOOPBACK
        elif ":" in host:
            host = f"[{host}]"
        return f"{'http' if self.tls_cert is None else 'https'}://{host}:{port}"

    def agrees_with(self, running: dict[str, object]) -> bool:
        """Say whether a server that runs already listens as wished."""
        return (
            self.port in (None, running.get("port"))
            and self.host in (None, running.get("host"))
            and (self.tls_cert is None or str(running.get("url")).startswith("https:"))
        )

    def _bound(self, port: int) -> socket.socket:
        family, address = _resolve(self.host)
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listening.listen(2048)
        except (OSError, OverflowError) as error:
            listening.close()
            number = getattr(error, "errno", None)
            if number == errno.EADDRNOTAVAIL:
                raise UsageError(f"{self.host} is no address of this machine", "ip address") from error
            reason = "is in use by another program" if number == errno.EADDRINUSE else f"cannot be had: {error}"
            raise _TakenError(
                f"Port {port} of {self.host or LOOPBACK} {reason}. Without --port Argilla takes the next free one.",
                "uncited argilla up",
            ) from error
        return listening


class _TakenError(UsageError):
    """This port will not do; another may."""


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trust one server's own certificate and no other, whoever signed it and whatever name it is for."""
    first = _FIRST_CERTIFICATE.search(certificate.read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if first:
        context.load_verify_locations(cadata=first[0])
    return context


def _resolve(host: str | None) -> tuple[socket.AddressFamily, str]:
    """Return the family and the first address of a host."""
    try:
        found = socket.getaddrinfo(host or LOOPBACK, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host!r} is no address of this machine: {error}", "ip address") from error
    family, *_, address = found[0]
    return family, str(address[0])


def _is_loopback(host: str | None) -> bool:
    _, address = _resolve(host)
    if not ipaddress.ip_address(address).is_loopback:
        return False
    if host not in (None, "localhost", address):  # Debian's /etc/hosts, for one, says so of the machine's own name
        raise UsageError(f"{host} is {address} here, which no other machine can reach. Name the address.", "ip address")
    return True


def _check_certificate(certificate: Path, key: Path | None) -> None:
    def no_password() -> str:
        raise ValueError("the key is locked with a password")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except (OSError, ValueError) as error:
        for file in (certificate, key):
            if file is not None and not os.access(file, os.R_OK):
                raise UsageError(f"{file} cannot be read", f"ls -l {file}") from error
        raise UsageError(
            f"{certificate} and {key} cannot be used as a certificate and its key: {error}",
            f"openssl x509 -in {certificate} -noout -subject -dates",
        ) from error
