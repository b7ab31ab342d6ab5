"""The daemon as its own process, with a real broker, a real receiver and a real kill -9."""

import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.kit.brokers import Broker
from tests.kit.daemon import Daemon
from tests.kit.http_server import Server
from tests.kit.recording import recording

REGISTRY = {
    "models": {
        "mail": {
            "aliases": {"champion": "2"},
            "versions": {
                "1": {"created": "2026-02-01T00:00:00Z", "known_good_at": "2026-02-02T00:00:00Z"},
                "2": {"created": "2026-03-02T00:00:00Z"},
            },
        }
    }
}


class OnAFile(Protocol):
    def __call__(self, broker: Broker, topic: str, folder: Path, hook: Server) -> Daemon: ...


@pytest.fixture
def on_a_file() -> Iterator[OnAFile]:
    """Makes daemons whose registry is a file, in which version 2 serves; none is left behind."""
    with ExitStack() as open_daemons:

        def make(broker: Broker, topic: str, folder: Path, hook: Server) -> Daemon:
            (folder / "registry.json").write_text(json.dumps(REGISTRY))
            made = Daemon(broker, topic, folder, hook, registry=f"{{kind: file, path: {folder}/registry.json}}")
            return open_daemons.enter_context(closing(made))

        yield make


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    name = "embedded_broker" if request.param == "embedded" else "apache_kafka"
    found: Broker = request.getfixturevalue(name)
    return found


def told(hook: Server) -> list[tuple[str, str]]:
    """Ids and verdicts of what the receiver got, in order."""
    return [
        (request.headers["webhook-id"], json.loads(request.body)["tocsin"]["incident"]["verdict"])
        for request in hook.requests
    ]


@pytest.mark.slow
def test_a_poisoned_version_is_found_told_and_rolled_back(
    broker: Broker, tmp_path: Path, hook: Server, on_a_file: OnAFile
) -> None:
    daemon = on_a_file(broker, f"whole-{tmp_path.name}", tmp_path, hook)
    events = recording(3000, flip_from=2000)
    broker.write(daemon.topic, [*events, b"{bad", None])
    daemon.start()
    daemon.wait_until_read(len(events) + 2)
    daemon.wait_until(lambda: daemon.metric("tocsin_rollbacks_total", 'state="moved"') == 1)
    daemon.wait_until(lambda: len(hook.requests) >= 2)
    assert daemon.metric("tocsin_incidents_total") == 1
    assert daemon.metric("tocsin_records_polled_total") == len(events) + 2
    assert daemon.metric("tocsin_events_invalid_total") == 2
    assert daemon.metric("tocsin_quarantined_total") == 1
    assert httpx.get(f"{daemon.url}/readyz").status_code == 200
    assert daemon.stop(signal.SIGTERM) == 0
    (incident,), _ = daemon.result()
    assert (incident.verdict, incident.attribution.class_from, incident.attribution.class_to) == (
        "label_flip",
        "spam",
        "ham",
    )
    assert incident.attribution.version == "2"
    assert incident.action is not None
    assert "back from 2 to 1" in incident.action
    assert json.loads((tmp_path / "registry.json").read_text())["models"]["mail"]["aliases"] == {"champion": "1"}
    assert told(hook)[0] == (f"{incident.id}-1", "label_flip")
    kept = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [(record["reason"], record["offset"]) for record in kept] == [("not_json", len(events))]


@pytest.mark.slow
def test_killed_and_unkilled_runs_agree(broker: Broker, tmp_path: Path, hook: Server, on_a_file: OnAFile) -> None:
    """kill -9 while learning, while watching and with an incident open: same incidents, same state, nothing twice."""
    events = recording(3000, flip_from=2000, seed=7)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole = on_a_file(broker, f"whole-{tmp_path.name}", folders[0], hook)
    broker.write(whole.topic, events)
    whole.start()
    whole.wait_until_read(len(events))
    whole.wait_until(lambda: whole.metric("tocsin_rollbacks_total", 'state="moved"') == 1)
    assert whole.stop(signal.SIGTERM) == 0
    expected, told_before = told(hook), len(hook.requests)

    killed = on_a_file(broker, f"killed-{tmp_path.name}", folders[1], hook)
    cuts = [0, 700, 2600, 4300, len(events)]
    for low, high in itertools.pairwise(cuts):
        killed.start()
        broker.write(killed.topic, events[low:high])
        killed.wait_until_read(low + (high - low) // 2)
        assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    killed.start()
    killed.wait_until_read(len(events))
    killed.wait_until(lambda: len(told(hook)) - told_before >= len(expected))
    assert killed.stop(signal.SIGTERM) == 0

    assert killed.result()[1] == whole.result()[1]
    strip = lambda incident: (incident.id, incident.verdict, incident.onset, incident.attribution, incident.evidence)  # noqa: E731
    assert [strip(i) for i in killed.result()[0]] == [strip(i) for i in whole.result()[0]]
    assert set(told(hook)[told_before:]) == set(expected)
    assert json.loads((folders[1] / "registry.json").read_text())["models"]["mail"]["aliases"] == {"champion": "1"}


@pytest.mark.slow
def test_events_unlike_all_others_are_listed_over_a_kill(
    broker: Broker, tmp_path: Path, hook: Server, on_a_file: OnAFile
) -> None:
    daemon = on_a_file(broker, f"outliers-{tmp_path.name}", tmp_path, hook)
    listed = tmp_path / "suspects.jsonl"
    section = f"suspects: {{file: {listed}, outlier_share: 0.002, outliers_per_hour: 1000}}\n"
    daemon.config.write_text(daemon.config.read_text() + section)
    events, far = [json.loads(event) for event in recording(2500)], set()
    for number, event in enumerate(event for event in events if event["kind"] == "prediction"):
        if number > 1500 and number % 50 == 0:
            event["features"]["length"] = -4_000.0
            far.add(event["event_id"])
    records = [json.dumps(event).encode() for event in events]
    broker.write(daemon.topic, records[:3500])
    daemon.start()
    daemon.wait_until_read(3500)
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    broker.write(daemon.topic, records[3500:])
    daemon.start()
    daemon.wait_until_read(len(records))
    assert daemon.stop(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    found = {line["event_id"] for line in lines}
    assert far <= found
    assert len(found - far) < 10
    assert {line["reason"] for line in lines} == {"outlier"}
