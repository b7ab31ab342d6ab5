"""HTTP servers for as long as a test needs them."""

import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.kit.http_server import Server


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Start any number of servers."""
    servers: list[Server] = []

    def make(tls: ssl.SSLContext | None = None) -> Server:
        server = Server()
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()


@pytest.fixture
def hook(make_server: Callable[..., Server]) -> Server:
    """Where messages of a daemon go."""
    return make_server()
