"""The HTTP side: metrics for Prometheus, two probes, the API, and pages for people.

GET /metrics    the Prometheus text format, or OpenMetrics if it is asked for
GET /healthz    200 while the process works, 503 once it should be restarted
GET /readyz     200 once it reads events, 503 before
/incidents/...  see `monitor/http/pages.py`: for each incident a page, and its pictures
/console/...    see `monitor/http/console.py`: for people who sign in
/api/v1/...     see `monitor/http/api.py`; /api/v1/openapi.json describes it
"""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.http.access import Access
from monitor.http.endpoint import Endpoint, answer, refused, routes
from monitor.http.tls import PeerProtocol, TlsConfig

Probe = Callable[[], str | None]
"""Looks at one thing: None if it is well, otherwise one sentence that says what is wrong."""


class ServerError(Exception):
    """The server cannot listen; one clear line."""


class Heartbeat:
    """A probe of something that must go on: well as long as it was heard of within `limit` seconds."""

    def __init__(self, what: str, limit: float, clock: Callable[[], float]) -> None:
        """`what` is the subject of the sentence, `clock` a monotonic one; it counts as heard of now."""
        self._what = what
        self._limit = limit
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Say that it is alive. Any thread."""
        self._last = self._clock()

    def __call__(self) -> str | None:
        """The probe."""
        silent = self._clock() - self._last
        return None if silent <= self._limit else f"{self._what} has not turned for {silent:.0f} s"


class Server:
    """Serves in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        endpoints: Sequence[Endpoint],
        access: Access,
        health: Mapping[str, Probe],
        readiness: Mapping[str, Probe],
        pages: Sequence[Route] = (),
        tls: TlsConfig | None = None,
    ) -> None:
        """Nothing is bound yet.

        Args:
            host: name or address to listen on.
            port: 0 takes any free one; see `port` after `start`.
            registry: what /metrics shows.
            endpoints: the table of the API.
            access: who may use it.
            health: probes by name; /healthz is 200 if all are well.
            readiness: probes by name; /readyz is 200 if all are well.
            pages: what is served beside all that.
            tls: None for plain HTTP.
        """
        self._host = host
        self._port = port
        served = application(
            registry=registry, endpoints=endpoints, access=access, health=health, readiness=readiness, pages=pages
        )
        # One way in, whatever the environment says: no signal handlers, no logging set-up, no websockets.
        config = uvicorn.Config(
            served,
            loop="asyncio",
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            ssl_certfile=None if tls is None else tls.cert_file,
            ssl_keyfile=None if tls is None else tls.key_file,
            ssl_ca_certs=None if tls is None or tls.client_ca_file is None else str(tls.client_ca_file),
            ssl_cert_reqs=ssl.CERT_NONE if tls is None else tls.asks,
            ssl_ciphers="DEFAULT",  # its own default leaves little but what TLS 1.0 knew
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served; the configured one before `start`."""
        return self._port if self._socket is None else int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen, and serve in a thread. Raises ServerError if the address cannot be had."""
        self._socket = _listen(self._host, self._port)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered, and close. Safe to call twice, and before `start`."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()


def application(
    *,
    registry: CollectorRegistry,
    endpoints: Sequence[Endpoint],
    access: Access,
    health: Mapping[str, Probe],
    readiness: Mapping[str, Probe],
    pages: Sequence[Route] = (),
) -> Starlette:
    """The ASGI application that the server serves; see the top of the file."""

    # Plain functions: Starlette runs them in its threads, so a slow disk does not hold up the probes.
    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    def healthz(_request: Request) -> Response:
        return _probed(health)

    def readyz(_request: Request) -> Response:
        return _probed(readiness)

    own = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    app = Starlette(routes=[*own, *pages, *routes(endpoints, access)], exception_handlers={HTTPException: refused})
    app.router.redirect_slashes = False  # one page, one address
    return app


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches off Nagle's delay, 40 ms an answer, only where it is.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise ServerError(f"server: cannot listen on {host}:{port}: {reason}") from error
    return listening


def wrong(probes: Mapping[str, Probe]) -> dict[str, str]:
    """What is wrong now, by the name of the probe that says so."""
    return {name: sentence for name, probe in probes.items() if (sentence := probe()) is not None}


def _probed(probes: Mapping[str, Probe]) -> Response:
    found = wrong(probes)
    return answer({"ok": not found, "wrong": found}, status=503 if found else 200)
