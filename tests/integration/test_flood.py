"""A flood through everything that is real: a broker, the daemon as a process, and HTTP servers that are told."""

import json
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from alerting.causes import cause
from alerting.incident import Change, Incident, Transition, Verdict
from monitor.detection.baseline import Baseline, save
from monitor.detection.lessons import Until
from monitor.detection.watch import WatchState
from monitor.intake.events import Prediction
from monitor.store.store import Store
from tests.bench import traffic
from tests.kit.brokers import Broker
from tests.kit.http_server import Server
from tests.kit.replicas import Process, settings, wait_until
from tests.kit.served import World, bad_labeler, make_pipeline, records, worse_everywhere

pytestmark = pytest.mark.slow

FINDINGS = 10_000
PAGES = 20
WIDE, WORSE, LIED_TO = 32, 30, 8
"""Models of 30 features that are all null; models that err more, each by itself; models that one labeler lies to."""


def learnt() -> Baseline:
    """What the small models were like."""
    pipeline = make_pipeline(until=Until(events=2_800))
    pipeline.process(records(World(predictions=2_000).events()))
    bank = pipeline.watches["mail"].bank
    assert bank is not None
    return bank.baseline


def wide(number: int) -> Iterator[bytes]:
    """A model that loses all of its inputs at once, whoever asks."""
    for event in traffic.events(80, seed=number):
        yield msgspec.json.encode(
            Prediction(
                event_id=event.event_id,
                ts=event.ts,
                model=f"wide-{number}",
                version=event.version,
                features=dict.fromkeys(event.features),
                prediction=event.prediction,
                source=event.source,
            )
        )


def small(name: str, seed: int, **world: Any) -> Iterator[bytes]:
    for event in World(seed=seed, model=name, predictions=400, onset=0, **world).events():
        yield msgspec.json.encode(event)


def streams() -> Iterator[Iterator[bytes]]:
    yield from map(wide, range(WIDE))
    yield from (small(f"worse-{number}", number, cause=worse_everywhere) for number in range(WORSE))
    yield from (small(f"lied-{number}", 99 + number, cause=bad_labeler) for number in range(LIED_TO))


def configured(broker: Broker, topic: str, folder: Path, hooks: dict[str, Server]) -> dict[str, Any]:
    models, several, few = {}, traffic.baseline(), learnt()
    for baseline, name in [
        *((several, f"wide-{number}") for number in range(WIDE)),
        *((few, f"worse-{number}") for number in range(WORSE)),
        *((few, f"lied-{number}") for number in range(LIED_TO)),
    ]:
        path = folder / f"{name}.json"
        save(msgspec.structs.replace(baseline, model=name), path)
        models[name] = {"baseline": str(path)}
    patient = {"replicas": "one", "max_poll_interval": 300.0}
    return settings(broker.address, [topic], folder / "tocsin.db", folder, **patient) | {
        "models": models,
        "alerting": {
            "network": {"allow": ["127.0.0.1"]},
            "receivers": [{"kind": "webhook", "name": name, "url": hook.address} for name, hook in hooks.items()],
        },
    }


def told(hook: Server) -> list[Transition]:
    return [msgspec.convert(json.loads(request.body)["tocsin"], Transition, strict=False) for request in hook.requests]


def result(folder: Path) -> tuple[int, list[Incident]]:
    """How many streams alarmed, and the incidents that came of it."""
    with closing(Store(folder / "tocsin.db")) as store:
        blobs = [blob for name, blob in store.states().items() if name.startswith("watch/")]
        findings = sum(len(msgspec.msgpack.decode(blob, type=WatchState).episode) for blob in blobs)
        return findings, store.incidents()


@pytest.mark.timeout(600)
def test_ten_thousand_findings_in_a_minute_are_a_page_a_group_and_a_digest(
    embedded_broker: Broker, tmp_path: Path
) -> None:
    topic = f"flood-{uuid.uuid4().hex}"
    embedded_broker.create_topic(topic)
    values = [value for turn in zip_longest(*streams()) for value in turn if value is not None]
    hooks = {name: Server() for name in ("pager", "chat")}
    for hook in hooks.values():
        threading.Thread(target=hook.serve_forever, daemon=True).start()
    daemon = Process(configured(embedded_broker, topic, tmp_path, hooks), tmp_path)
    daemon.start()

    def metric(name: str) -> float:
        lines = httpx.get(f"{daemon.url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    try:
        wait_until(daemon.ready, daemon.said)
        began = time.monotonic()
        embedded_broker.write(topic, values)
        wait_until(lambda: metric("tocsin_records_polled_total") == len(values), daemon.said, 500)
        wait_until(lambda: metric('tocsin_outbox_messages{receiver="chat",state="pending"}') == 0, daemon.said)
        seconds = time.monotonic() - began
        assert daemon.end() == 0
    finally:
        daemon.kill()
        for hook in hooks.values():
            hook.shutdown()
            hook.server_close()
    findings, incidents = result(tmp_path)
    sys.stdout.write(f"{findings} findings and {len(incidents)} incidents in {seconds:.0f} s\n")
    assert findings >= FINDINGS
    groups = {cause(incident) for incident in incidents if incident.verdict is not Verdict.FLOOD}
    assert len(groups) > PAGES
    for hook in hooks.values():
        begun = [step.incident for step in told(hook) if step.change is Change.OPENED]
        digests = [incident for incident in begun if incident.verdict is Verdict.FLOOD]
        pages = [incident for incident in begun if incident.verdict is not Verdict.FLOOD]
        assert len(pages) == PAGES
        assert max(Counter(map(cause, pages)).values()) == 1
        assert len(digests) == 1
        # Whatever is not a page of its own is in somebody else's, or waits behind the digest.
        assert len(hook.requests) <= 2 * (PAGES + 1)
