"""The daemon believes signed records only, and tells of the others."""

import signal
from contextlib import closing
from pathlib import Path

import pytest

from monitor.intake.signatures import sign
from tests.kit.brokers import Broker
from tests.kit.daemon import Daemon
from tests.kit.http_server import Server
from tests.kit.recording import recording

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.slow
def test_forged_events_are_told_and_change_nothing(embedded_broker: Broker, hook: Server, tmp_path: Path) -> None:
    topic = "forged-events"
    with closing(Daemon(embedded_broker, topic, tmp_path, hook, registry="null", mode="observe")) as daemon:
        with daemon.config.open("a") as config:
            config.write(f"signatures: {{producers: [{{name: p, keys: [{{id: k, secret: {{value: {SECRET}}}}}]}}]}}\n")
        events, others = recording(20), recording(20, seed=2)
        for event in events:
            embedded_broker.write(topic, [event], headers=list(sign(SECRET.encode(), "p", "k", topic, event).items()))
        embedded_broker.write(topic, others)
        forged = sign(b"another secret", "p", "k", topic, events[0])
        embedded_broker.write(topic, events[:1], headers=list(forged.items()))
        daemon.start()
        daemon.wait_until_read(len(events) + len(others) + 1)
        hook.wait_for(1)
        assert daemon.metric("tocsin_events_total") == len(events)
        assert daemon.metric("tocsin_events_invalid_total", 'reason="unsigned"') == len(others)
        assert daemon.metric("tocsin_events_invalid_total", 'reason="forged"') == 1
        daemon.stop(signal.SIGTERM)
        (incident,), _ = daemon.result()
        assert (incident.verdict, incident.severity, incident.model) == ("forgery", "critical", f"{topic}[0]")
    assert b"no known producer has signed" in hook.requests[0].body
