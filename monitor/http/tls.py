"""TLS of the server, and who is at the other end: the names in the certificate that was shown and verified.

uvicorn does not tell who that is, so its protocol is extended by the one thing: every request of a connection has the
names in `request.state`.
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any, Self

from pydantic import FilePath, model_validator
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from alerting.section import Section

_ALTERNATIVE = ("DNS", "URI", "email")
_STATE = "certificate"


class TlsConfig(Section):
    """Who the server is, so that nobody on the way reads tokens; and who connects. Read once, at the start."""

    cert_file: FilePath
    """PEM certificate with its chain."""
    key_file: FilePath
    """Its private key, without a password."""
    client_ca_file: FilePath | None = None
    """PEM certificates of authorities: whoever connects may show a certificate of theirs; `server.access.certificates`
    says whose it is."""
    clients_only: bool = False
    """Whoever connects has to show one, even for metrics and probes."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert_file, self.key_file, password="")
        except OSError as error:  # an SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or "they do not fit together"
            raise ValueError(f"cert_file and key_file cannot be used: {reason}") from None
        if self.client_ca_file is None:
            if self.clients_only:
                raise ValueError("clients_only needs client_ca_file")
            return self
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self.client_ca_file)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or "it has no certificate"
            raise ValueError(f"client_ca_file cannot be used: {reason}") from None
        return self

    @property
    def asks(self) -> ssl.VerifyMode:
        """Whether whoever connects is asked for a certificate."""
        if self.client_ca_file is None:
            return ssl.CERT_NONE
        return ssl.CERT_REQUIRED if self.clients_only else ssl.CERT_OPTIONAL


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that knows who has connected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Note the names, once for all requests of the connection."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self.app_state = self.app_state | {_STATE: tuple(names(secured.getpeercert() or {}))}


def certificate(request: Request) -> tuple[str, ...]:
    """The names in the certificate that was shown for this request; none if none was."""
    return getattr(request.state, _STATE, ())


def names(shown: dict[str, Any]) -> Iterator[str]:
    """`CN:ada`, `DNS:...`, `URI:...`, `email:...`: what a certificate says, as Python's `getpeercert` gives it."""
    for part in shown.get("subject", ()):
        for kind, name in part:
            if kind == "commonName":
                yield f"CN:{name}"
    for kind, name in shown.get("subjectAltName", ()):
        if kind in _ALTERNATIVE:
            yield f"{kind}:{name}"
