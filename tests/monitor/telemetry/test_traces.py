"""Spans, as a collector gets them from the real exporter; and what it costs where nobody wants them."""

import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from monitor.intake.file_source import FileSource
from monitor.service.app import serve
from monitor.service.config import load
from monitor.telemetry import traces
from tests.kit.http_server import Server, hang
from tests.kit.recording import recording

CONFIG = """
kafka: {{bootstrap_servers: ["127.0.0.1:1"], topics: [mail], group_id: mail}}
models: {{mail: {{reference: {{events: 2000}}}}}}
detection: {{budget: 10000}}
store: {{path: {folder}/tocsin.db, commit_every: 0.2}}
quarantine: {{file: {folder}/quarantine.jsonl}}
alerting:
  network: {{allow: [127.0.0.1]}}
  receivers: [{{kind: webhook, name: hook, url: "{hook}/hush-hush"}}]
registry: {{kind: file, path: {folder}/registry.json}}
server: {{port: 0}}
"""
REGISTRY = (
    '{"models": {"mail": {"aliases": {"champion": "2"}, "versions": {"1": {"created": 0}, "2": {"created": 1}}}}}'
)
KINDS = {"turn", "commit", "delivery", "rollback"}


class Endless(FileSource):
    """A file that more may be written to, as a topic is."""

    @property
    def finished(self) -> bool:
        return False


class Collector:
    """What a server has got, decoded with OpenTelemetry's own schema."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self._batches()[0].resource)

    @property
    def spans(self) -> list[Any]:
        return [span for batch in self._batches() for scope in batch.scope_spans for span in scope.spans]

    @property
    def records(self) -> int:
        return sum(attributes(span)["records"] for span in self.spans if span.name == "turn")

    def wait_for(self, names: set[str], records: int) -> None:
        while (seen := len(self.server.requests)) == 0 or not (
            names <= {span.name for span in self.spans} and records <= self.records
        ):
            self.server.wait_for(seen + 1)

    def _batches(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        bodies = [request.body for request in self.server.requests]
        return [batch for body in bodies for batch in ExportTraceServiceRequest.FromString(body).resource_spans]


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of.attributes}


def variables(server: Server) -> Mapping[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": server.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Collector:
    try:
        importlib.import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError:
        missing = "the extra `traces` is not installed; `make setup` does that"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    server = make_server()
    for name, value in variables(server).items():
        monkeypatch.setenv(name, value)
    return Collector(server)


def test_a_daemon_tells_where_its_time_goes_and_nothing_else(
    collector: Collector, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    hook = make_server()
    (tmp_path / "registry.json").write_text(REGISTRY)
    (tmp_path / "tocsin.yaml").write_text(CONFIG.format(folder=tmp_path, hook=hook.address))
    log = tmp_path / "mail.jsonl"
    log.write_bytes(b"\n".join(events := recording(3000, flip_from=2000)) + b"\n")
    config, stop = load(tmp_path / "tocsin.yaml", {}), threading.Event()
    daemon = threading.Thread(target=serve, args=(config, {}, lambda: Endless([log], max_records=100), stop))
    daemon.start()
    try:
        collector.wait_for(KINDS, len(events))
    finally:
        stop.set()
        daemon.join(30)
    spans = collector.spans
    assert collector.resource["service.name"] == "tocsin"
    assert {span.name for span in spans} == KINDS
    turns = {span.span_id: span for span in spans if span.name == "turn"}
    assert collector.records == len(events)
    assert any(span.parent_span_id in turns for span in spans if span.name == "commit")
    told = [attributes(span) for span in spans if span.name == "delivery"]
    assert {"receiver": "hook", "outcome": "delivered"} in told
    steps = [attributes(span) for span in spans if span.name == "rollback"]
    assert {"model": "mail", "state": "requested"} in steps
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    known = {"turn": {"records"}, "commit": set(), "delivery": {"receiver", "outcome"}, "rollback": {"model", "state"}}
    assert all(set(attributes(span)) == known[span.name] for span in spans)
    sent = b"".join(request.body for request in collector.server.requests)
    assert hook.requests
    assert not any(word in sent for word in (b"hush-hush", b"http://", b"spam"))


def test_the_last_spans_are_sent_and_a_failure_is_told_without_its_words(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "watchman")
    with traces.sending():
        traces.past("before", 2.0)
        with pytest.raises(OSError, match="hush-hush"), traces.span("outer"), traces.span("inner", model="mail"):
            raise ConnectionError("http://user:hush-hush@mlflow")
    assert collector.resource["service.name"] == "watchman"
    before, inner, outer = collector.spans
    assert before.end_time_unix_nano - before.start_time_unix_nano == 2_000_000_000
    assert inner.parent_span_id == outer.span_id
    assert attributes(inner) == {"model": "mail", "error.type": "ConnectionError"}
    assert (inner.status.code, inner.status.message, list(inner.events)) == (2, "", [])
    assert b"hush-hush" not in collector.server.requests[0].body


def test_a_collector_that_hangs_does_not_hold_up_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "LAST_SPANS", 0.1)
    collector.server.answers = [hang]
    with traces.sending():
        with traces.span("turn"):
            pass
        collector.server.wait_for(1)
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 5.0
    collector.server.closing.set()


@pytest.mark.usefixtures("collector")
def test_without_the_extra_it_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with structlog.testing.capture_logs() as said, traces.sending(), traces.span("turn", records=1):
        traces.past("delivery", 1.0)
    (line,) = said
    assert line["event"] == "no traces"
    assert "tocsin[traces]" in line["why"]


def test_nothing_is_loaded_or_sent_where_nobody_asks() -> None:
    code = """if True:
        import sys, threading
        from monitor.telemetry.traces import past, sending, span
        with sending(), span("turn", records=1):
            past("delivery", 1.0)
            print([name for name in sys.modules if name.startswith("opentelemetry")], threading.active_count())
        """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", "1"]


def test_a_header_that_opentelemetry_quotes_is_not_logged(collector: Collector) -> None:
    code = """if True:
        import sys
        from monitor.telemetry import logs, traces
        logs.configure("info", "json", traces.secrets())
        with traces.sending(), traces.span("turn"):
            pass
        """
    environ = os.environ | variables(collector.server) | {"OTEL_EXPORTER_OTLP_HEADERS": "a=b, hush-hush"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert "hush-hush" not in found.stderr
    assert "[hidden]" in found.stderr
