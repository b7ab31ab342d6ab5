"""Events over HTTP all the way: posted to the daemon, through Kafka, to the incident that they make."""

import hashlib
import json
import signal
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from monitor.intake.posted import CLOUD_EVENTS, JSON, MAX_EVENTS
from tests.kit.brokers import Broker
from tests.kit.daemon import Daemon
from tests.kit.http_server import Server
from tests.kit.recording import recording

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-the-model-server-2b7e1516"
POISONED_FROM, COUNT = 2000, 2400


def test_a_poisoned_model_is_found_whose_server_only_posts(
    embedded_broker: Broker, hook: Server, tmp_path: Path
) -> None:
    topic = "posted-events"
    with closing(Daemon(embedded_broker, topic, tmp_path, hook, registry="null", mode="observe")) as daemon:
        token = f"{{name: server, sha256: {hashlib.sha256(TOKEN.encode()).hexdigest()}, role: producer}}"
        more = f"intake: {{topic: {topic}}}, access: {{tokens: [{token}]}}, port"
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("server: {port", f"server: {{{more}"))
        daemon.start()
        daemon.wait_until(lambda: daemon.metric("tocsin_build_info") == 1)
        events = recording(COUNT, flip_from=POISONED_FROM)
        with httpx.Client(base_url=daemon.url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
            for number, low in enumerate(range(0, len(events), MAX_EVENTS)):
                batch = list(map(json.loads, events[low : low + MAX_EVENTS]))
                kind = (JSON, CLOUD_EVENTS)[number % 2]
                if kind == CLOUD_EVENTS:
                    batch = [
                        {
                            "specversion": "1.0",
                            "id": f"{low}-{place}",
                            "source": "/server",
                            "type": "event",
                            "data": each,
                        }
                        for place, each in enumerate(batch)
                    ]
                answer = client.post("/api/v1/events", content=json.dumps(batch), headers={"content-type": kind})
                assert (answer.status_code, answer.json()) == (202, {"accepted": len(batch)}), answer.text
            wrong = client.post("/api/v1/events", json=[json.loads(events[0]), {"kind": "label"}])
            assert (wrong.status_code, "events[1]" in wrong.json()["detail"]) == (400, True)
        daemon.wait_until_read(len(events))
        assert daemon.metric("tocsin_http_events_total", 'outcome="appended"') == len(events)
        assert daemon.metric("tocsin_http_events_total", 'outcome="refused"') == 1
        assert daemon.metric("tocsin_events_total") == len(events)
        assert daemon.metric("tocsin_events_invalid_total") == 0
        hook.wait_for(1)
        assert daemon.stop(signal.SIGTERM) == 0
        incidents, _ = daemon.result()
    assert [(incident.verdict, incident.version) for incident in incidents] == [("label_flip", "2")]
