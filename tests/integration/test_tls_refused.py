"""Whom nobody may talk to: servers with a certificate of a stranger, of another host or out of date, or with old TLS.

One listener, and whatever Tocsin connects with. It is refused in the handshake, so not one byte of a request is sent.
"""

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from alerting.receiver import SendError
from alerting.webhook import WebhookConfig
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.source import SourceError
from monitor.rollback.http_registry import HttpRegistry, HttpRegistryConfig
from monitor.rollback.mlflow_registry import MlflowRegistry
from monitor.rollback.mlflow_rest import MlflowConfig
from monitor.rollback.registry import RegistryError
from tests.kit.certificates import DAY, serving
from tests.kit.http_registry_server import SECTION
from tests.kit.incidents import opened
from tests.kit.supplies import on_loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_forgotten_sockets"),
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
]


class Listener:
    """What came through the handshake."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard = b""
        self.tried = 0


@contextmanager
def listening(tls: ssl.SSLContext) -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                listener.tried += 1
                with connection, suppress(OSError), tls.wrap_socket(connection, server_side=True) as secured:
                    listener.heard += secured.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def webhook(port: int, authority: Path) -> None:
    settings = {"kind": "webhook", "name": "hook", "url": f"https://127.0.0.1:{port}/x", "ca_file": authority}

    async def send() -> None:
        receiver = WebhookConfig.model_validate(settings).connect(on_loopback())
        try:
            await receiver.send(opened())
        finally:
            await receiver.close()

    asyncio.run(send())


def mlflow(port: int, authority: Path) -> None:
    settings = {"kind": "mlflow", "url": f"https://127.0.0.1:{port}", "ca_file": authority}
    with closing(MlflowRegistry(MlflowConfig.model_validate(settings))) as registry:
        registry.current("mail")


def http_registry(port: int, authority: Path) -> None:
    settings = SECTION | {"url": f"https://127.0.0.1:{port}", "ca_file": authority}
    with closing(HttpRegistry(HttpRegistryConfig.model_validate(settings))) as registry:
        registry.current("mail")


def kafka(port: int, authority: Path) -> None:
    security = {"protocol": "SSL", "ca_file": authority}
    settings = {"bootstrap_servers": [f"127.0.0.1:{port}"], "topics": ["events"], "connect_timeout": 1.0}
    with closing(KafkaSource(KafkaConfig.model_validate(settings | {"security": security}))) as source:
        source.start(lambda _partitions: {})


CLIENTS = (webhook, mlflow, http_registry, kafka)


def old(tls: ssl.SSLContext) -> None:
    """Let a server speak nothing newer than TLS 1.1."""
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1


FLAWS = ("none", "stranger", "another host", "out of date", "old TLS")


@contextmanager
def flawed(flaw: str, folder: Path) -> Iterator[tuple[Listener, Path]]:
    """A listener with one flaw, and the authority that its clients are told to trust."""
    tls, authority = serving(
        folder,
        host="192.0.2.1" if flaw == "another host" else "127.0.0.1",
        ends=timedelta(hours=-1) if flaw == "out of date" else DAY,
    )
    if flaw == "stranger":
        (folder / "trusted").mkdir()
        _, authority = serving(folder / "trusted")
    if flaw == "old TLS":
        old(tls)
    with listening(tls) as listener:
        yield listener, authority


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_server_with_a_flaw_hears_nothing(client: Callable[[int, Path], None], flaw: str, tmp_path: Path) -> None:
    with flawed(flaw, tmp_path) as (listener, authority), pytest.raises((SendError, RegistryError, SourceError)):
        client(listener.port, authority)
    assert listener.tried
    assert bool(listener.heard) is (flaw == "none")


def test_the_old_server_would_talk_to_whoever_is_content_with_it(tmp_path: Path) -> None:
    with flawed("old TLS", tmp_path) as (listener, authority):
        content = ssl.create_default_context(cafile=authority)
        old(content)
        with suppress(httpx.HTTPError), httpx.Client(verify=content) as client:
            client.get(f"https://127.0.0.1:{listener.port}")
    assert listener.heard.startswith(b"GET /")
