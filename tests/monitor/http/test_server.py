"""The HTTP side, asked over real sockets."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from monitor.http.access_config import AccessConfig, Role
from monitor.http.endpoint import Call, Endpoint
from monitor.http.server import Heartbeat, Probe, Server, ServerError
from monitor.http.tls import TlsConfig
from monitor.telemetry.metrics import Metrics
from tests.kit.api_world import known
from tests.kit.certificates import self_signed


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def wrong() -> dict[str, str]:
    """What the probes say; empty while all is well."""
    return {}


@pytest.fixture
def client(registry: CollectorRegistry, wrong: dict[str, str]) -> Iterator[httpx.Client]:
    def probe(name: str) -> Probe:
        return lambda: wrong.get(name)

    health = {"loop": probe("loop"), "delivery": probe("delivery")}
    server = serve(0, registry=registry, health=health, readiness={"source": probe("s")})
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        server.stop()


def test_metrics_are_served_in_the_format_that_is_asked_for(client: httpx.Client, registry: CollectorRegistry) -> None:
    Metrics(registry).reading.events.at("net-ids", "label").inc(3)
    text = client.get("/metrics")
    assert text.status_code == 200
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert 'tocsin_events_total{kind="label",model="net-ids"} 3.0' in text.text
    open_metrics = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


@pytest.mark.parametrize(("path", "name"), [("/healthz", "loop"), ("/healthz", "delivery"), ("/readyz", "s")])
def test_a_probe_says_what_is_wrong(client: httpx.Client, wrong: dict[str, str], path: str, name: str) -> None:
    assert (client.get(path).status_code, client.get(path).json()) == (200, {"ok": True, "wrong": {}})
    wrong[name] = "it hangs"
    answer = client.get(path)
    assert answer.status_code == 503
    assert list(answer.json()["wrong"].values()) == ["it hangs"]
    other = client.get("/readyz" if path == "/healthz" else "/healthz")
    assert other.status_code == 200


def test_there_is_nothing_else_to_see(client: httpx.Client) -> None:
    assert client.get("/").status_code == 404
    assert client.get("/metrics/").status_code == 404
    assert client.get("/metrics/../etc/passwd").status_code == 404
    assert client.post("/metrics").status_code == 405


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_path_is_a_server_error(client: httpx.Client, text: str) -> None:
    answer = client.get("/x/" + quote(text, safe="/"))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_slow_answer_does_not_hold_up_the_probes() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow_page(_call: Call) -> str:
        asked.set()
        go_on.wait(30)
        return "at last"

    server = serve(0, endpoints=[Endpoint("GET", "/slow", Role.VIEWER, "Slow.", str, slow_page)])
    server.start()
    address = f"http://127.0.0.1:{server.port}"
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(httpx.get(f"{address}/api/v1/slow", timeout=30).json()))
    slow.start()
    assert asked.wait(30)
    assert httpx.get(f"{address}/healthz").status_code == 200
    go_on.set()
    slow.join()
    server.stop()
    assert answers == ["at last"]


def serve(port: int, host: str = "127.0.0.1", **settings: Any) -> Server:
    parts: dict[str, Any] = {"registry": CollectorRegistry(), "endpoints": (), "health": {}, "readiness": {}}
    return Server(host, port, access=known(AccessConfig()), **(parts | settings))


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve(port)
        with pytest.raises(
            ServerError, match=rf"^server: cannot listen on 127\.0\.0\.1:{port}: Address already in use$"
        ):
            server.start()
        server.stop()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 0)])
def test_an_address_that_cannot_be_had_is_one_clear_error(host: str, port: int) -> None:
    with pytest.raises(ServerError, match="server: cannot listen on"):
        serve(port, host).start()


def test_stopped_at_any_time_the_port_is_free_again() -> None:
    stop: list[Callable[[], object]] = [lambda: None, lambda: httpx.get(f"http://127.0.0.1:{port}/healthz")]
    port = 0
    for use in stop:
        server = serve(port)
        server.start()
        port = server.port
        use()
        server.stop()
        server.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
    serve(0).stop()


def test_a_heart_that_stops_is_noticed() -> None:
    now = 100.0
    heart = Heartbeat("the loop", limit=30.0, clock=lambda: now)
    now = 130.0
    assert heart() is None
    now = 131.0
    assert heart() == "the loop has not turned for 31 s"
    heart.beat()
    assert heart() is None


def test_with_a_certificate_it_speaks_tls_and_nothing_else(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = serve(0, tls=TlsConfig(cert_file=certificate, key_file=key))
    server.start()
    try:
        page = f"https://127.0.0.1:{server.port}/healthz"
        trusting = ssl.create_default_context(cafile=certificate)
        assert httpx.get(page, verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(page)
        with pytest.raises(httpx.HTTPError):
            httpx.get(page.replace("https", "http"))
        with (
            socket.create_connection(("127.0.0.1", server.port)) as raw,
            trusting.wrap_socket(raw, server_hostname="127.0.0.1") as secured,
        ):
            assert secured.version() == "TLSv1.3"
    finally:
        server.stop()
