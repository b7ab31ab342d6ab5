"""The core promise, on a real Kafka: killed at random points, the daemon ends with the state and the incidents of a run
that was not, and everybody was told everything.

`TOCSIN_KILLS` and `TOCSIN_EVENTS` make it longer than CI has time for.
"""

import json
import os
import random
import signal
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting.incident import Incident, Transition
from monitor.intake.source import Partition
from monitor.store.store import Store
from monitor.store.tables import WHOLE
from tests.kit.apache_kafka import ApacheKafka
from tests.kit.http_server import Server
from tests.kit.replicas import Process, digest, offsets, settings, told, traffic, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("TOCSIN_KILLS", "4"))
EVENTS = int(os.environ.get("TOCSIN_EVENTS", "12000"))
MODELS = ("mail", "fraud", "net")


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    each = EVENTS // (2 * len(MODELS))  # a prediction has about one label
    return traffic(MODELS, each, flip_from=each // 2)


def new_topic(broker: ApacheKafka) -> str:
    name = f"kills-{uuid.uuid4().hex}"
    broker.create_topic(name)
    return name


def configured(broker: ApacheKafka, topic: str, store: str | Path, folder: Path, hook: Server) -> dict[str, Any]:
    # A name of its own, as in a StatefulSet: the broker need not wait for the session of the dead one to end.
    config = settings(broker.address, [topic], store, folder, group_id=uuid.uuid4().hex, group_instance_id="pod-0")
    receiver = {"kind": "webhook", "name": "hook", "url": hook.address}
    return config | {"alerting": {"receivers": [receiver], "network": {"allow": ["127.0.0.1"]}}}


def heard(hook: Server) -> dict[str, Incident]:
    """What was told under each id. Whatever is told again says the same."""
    found: dict[str, Incident] = {}
    for request in list(hook.requests):
        incident = msgspec.convert(json.loads(request.body)["tocsin"], Transition, strict=False).incident
        assert found.setdefault(request.headers["webhook-id"], incident) == incident
    return found


def known(hook: Server) -> list[tuple[object, ...]]:
    """What people know of each incident in the end.

    Steps of one turn are told as one, and evidence is that of the moment; so ids and numbers depend on the turns.
    """
    last = {incident.id: incident for incident in sorted(heard(hook).values(), key=lambda each: each.updated_at)}
    return sorted((i.model, i.id, i.verdict, i.severity, i.status, i.attribution) for i in last.values())


def outcome(store: str | Path) -> tuple[dict[str, bytes], list[tuple[object, ...]]]:
    with closing(Store(store)) as opened:
        return digest(opened, [WHOLE]), told(opened.incidents())


def messages(store: str | Path) -> dict[str, int]:
    """How many messages were ever written, by what became of them."""
    with closing(Store(store)) as opened:
        return {state: count for (_, state), count in opened.outbox.counts().items()}


@pytest.fixture(scope="module")
def whole(
    apache_kafka: ApacheKafka, events: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], list[tuple[object, ...]], list[tuple[object, ...]]]:
    """The run without: the state, the incidents, and what was told of them."""
    folder, name = tmp_path_factory.mktemp("whole"), new_topic(apache_kafka)
    apache_kafka.write(name, events)
    with Server() as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        store = folder / "tocsin.db"
        replica = Process(configured(apache_kafka, name, store, folder, hook), folder)
        replica.start()
        try:
            wait_until(lambda: sum(offsets(store).values()) >= len(events), replica.said, 600)
            states, incidents = outcome(store)
            wait_until(lambda: len(known(hook)) == len(incidents), replica.said)
            assert replica.end() == 0
        finally:
            replica.kill()
            hook.shutdown()
        assert len(incidents) >= len(MODELS)
        return states, incidents, known(hook)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kill9_loop_no_loss(
    apache_kafka: ApacheKafka,
    events: list[bytes],
    whole: tuple[dict[str, bytes], list[tuple[object, ...]], list[tuple[object, ...]]],
    hook: Server,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    """A kill for each part of the log: some while it starts, some while it reads, some when it has nothing to do."""
    name, count = new_topic(apache_kafka), len(events)
    store = tmp_path / "tocsin.db" if kind == "sqlite" else request.getfixturevalue("postgres").create()
    config = configured(apache_kafka, name, store, tmp_path, hook)
    config["kafka"]["max_poll_records"] = 20  # so slow that a part is not read in a moment
    config["store"]["commit_every"] = 0.1
    replica, draw, partition = Process(config, tmp_path), random.Random(1), Partition(name, 0)
    began, recoveries, amid = time.monotonic(), [], 0

    def read() -> int:
        return offsets(store).get(partition, 0)

    try:
        for kill in range(KILLS):
            start, end = (count * part // KILLS for part in (kill, kill + 1))
            apache_kafka.write(name, events[start:end])
            before, started = read(), time.monotonic()
            replica.start()
            if draw.random() < 0.2:
                time.sleep(draw.uniform(0, 4))
            else:
                wait_until(lambda: read() > before, replica.said)  # noqa: B023 - called within this round
                recoveries.append(time.monotonic() - started)
                time.sleep(draw.uniform(0, 0.4))
            assert replica.end(signal.SIGKILL) == -signal.SIGKILL
            amid += read() < end
        found = {"store": kind, "kills": KILLS, "with records left to read": amid, "events": count}
        found |= {"seconds": time.monotonic() - began, "from start to commit": [min(recoveries), max(recoveries)]}
        print(json.dumps(found))  # noqa: T201
        replica.start()
        wait_until(replica.ready, replica.said)  # if there is nothing left to read, it could be asked to end too soon
        wait_until(lambda: read() == count, replica.said, 300 + count / 200)
        states, incidents, expected = whole
        wait_until(lambda: known(hook) == expected, replica.said)
        wait_until(lambda: messages(store) == {"delivered": len(heard(hook))}, replica.said)  # none is lost on its way
        assert replica.end() == 0
    finally:
        replica.kill()
    assert outcome(store) == (states, incidents)
    assert known(hook) == expected
