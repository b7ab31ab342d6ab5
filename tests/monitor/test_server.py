"""The HTTP side, asked over real sockets."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from alerting.incident import Incident, Onset, Severity, Status
from monitor.metrics import Metrics
from monitor.server import MAX_INCIDENTS, Heartbeat, Probe, Server, ServerError
from monitor.store import StoreError
from tests.contracts.outbox_contract import message


class Log:
    """Incidents in memory, as the store would give them."""

    def __init__(self) -> None:
        newest = message("b").transition.incident
        onset = Onset(ts=1.0, low=float("-inf"), high=2.0)
        older = msgspec.structs.replace(newest, id="a", status=Status.RESOLVED, onset=onset)
        self.kept: list[Incident] = [newest, older]
        self.broken = False

    def incidents(self, *, open_only: bool = False, limit: int | None = None) -> Sequence[Incident]:
        if self.broken:
            raise StoreError("store tocsin.db: database is locked")
        return [found for found in self.kept if found.status is Status.FIRING or not open_only][:limit]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def wrong() -> dict[str, str]:
    """What the probes say; empty while all is well."""
    return {}


@pytest.fixture
def client(registry: CollectorRegistry, log: Log, wrong: dict[str, str]) -> Iterator[httpx.Client]:
    def probe(name: str) -> Probe:
        return lambda: wrong.get(name)

    health = {"loop": probe("loop"), "delivery": probe("delivery")}
    server = Server("127.0.0.1", 0, registry=registry, incidents=log, health=health, readiness={"source": probe("s")})
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


def test_incidents_come_back_as_they_are(client: httpx.Client, log: Log) -> None:
    answer = client.get("/api/v1/incidents")
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()["incidents"]
    assert [one["id"] for one in found] == ["b", "a"]
    assert msgspec.convert(found[0], Incident) == log.kept[0]
    assert found[0]["severity"] == Severity.CRITICAL
    assert found[1]["onset"]["low"] is None  # JSON has no infinity
    assert [one["id"] for one in client.get("/api/v1/incidents?open_only=true").json()["incidents"]] == ["b"]
    assert [one["id"] for one in client.get("/api/v1/incidents?limit=1").json()["incidents"]] == ["b"]


@pytest.mark.parametrize(
    "query", ["limit=0", f"limit={MAX_INCIDENTS + 1}", "limit=-1", "limit=²", "limit=" + "9" * 5000, "limit=",
              "open_only=yes", "open=true"]
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/api/v1/incidents?{query}")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_a_store_in_trouble_is_said_and_passes(client: httpx.Client, log: Log) -> None:
    log.broken = True
    answer = client.get("/api/v1/incidents")
    assert (answer.status_code, answer.json()) == (503, {"error": "store tocsin.db: database is locked"})
    assert client.get("/healthz").status_code == 200
    log.broken = False
    assert client.get("/api/v1/incidents").status_code == 200


def test_there_is_nothing_to_change_and_nothing_else_to_see(client: httpx.Client) -> None:
    assert client.post("/api/v1/incidents", json={}).status_code == 405
    assert client.delete("/api/v1/incidents").status_code == 405
    assert client.get("/").status_code == 404
    assert client.get("/metrics/../etc/passwd").status_code == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_path_and_no_query_is_a_server_error(client: httpx.Client, text: str) -> None:
    assert client.get("/x/" + quote(text, safe="/")).status_code == 404
    assert client.get("/api/v1/incidents", params={"limit": text}).status_code in (200, 400)
    assert client.get("/api/v1/incidents", params={text or "x": "1"}).status_code in (200, 400)


def test_a_slow_answer_does_not_hold_up_the_probes(registry: CollectorRegistry) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class SlowLog(Log):
        def incidents(self, *, open_only: bool = False, limit: int | None = None) -> Sequence[Incident]:
            asked.set()
            go_on.wait(30)
            return super().incidents(open_only=open_only, limit=limit)

    server = Server("127.0.0.1", 0, registry=registry, incidents=SlowLog(), health={}, readiness={})
    server.start()
    address = f"http://127.0.0.1:{server.port}"
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(httpx.get(f"{address}/api/v1/incidents").status_code))
    slow.start()
    assert asked.wait(30)
    assert httpx.get(f"{address}/healthz").status_code == 200
    go_on.set()
    slow.join()
    server.stop()
    assert answers == [200]


def serve(port: int, host: str = "127.0.0.1") -> Server:
    return Server(host, port, registry=CollectorRegistry(), incidents=Log(), health={}, readiness={})


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
