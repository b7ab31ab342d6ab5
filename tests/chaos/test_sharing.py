"""Several replicas on one stream and one PostgreSQL: they take over from each other, and nobody is told twice."""

import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.intake.source import Partition
from monitor.store.store import Store
from tests.kit.apache_kafka import ApacheKafka
from tests.kit.http_server import Server
from tests.kit.postgres import Postgres
from tests.kit.recording import recording
from tests.kit.replicas import Member, Process, digest, offsets, settings, told, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

MODELS = 6
SHARDS = [str(number) for number in range(MODELS)]
EACH = 900
EVENTS = [recording(EACH, model=f"m{number}", flip_from=600, seed=number) for number in range(MODELS)]
"""By partition: a model has one of its own."""
STORM = int(os.environ.get("TOCSIN_STORM", "12"))
"""Seconds, about, for which members come and go."""
CUT = 900
"""Where the second half of each partition begins, in which its model is poisoned."""


@pytest.fixture
def topic(apache_kafka: ApacheKafka) -> str:
    name = f"shared-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name, MODELS)
    return name


def write(broker: ApacheKafka, topic: str, part: slice) -> None:
    for number, events in enumerate(EVENTS):
        broker.write(topic, events[part], number)


def ends(topic: str, part: slice = slice(None)) -> dict[Partition, int]:
    return {Partition(topic, number): len(events[: part.stop]) for number, events in enumerate(EVENTS)}


def shared(broker: ApacheKafka, topic: str, store: str | Path, folder: Path, hook: Server | None) -> dict[str, Any]:
    config = settings(broker.address, [topic], store, folder, replicas="several", max_poll_records=100)
    config["models"] = {"*": {"reference": {"events": 700}}}
    if hook is not None:
        receiver = {"kind": "webhook", "name": "hook", "url": hook.address}
        config["alerting"] = {"receivers": [receiver], "network": {"allow": ["127.0.0.1"]}}
    return config


def ids(hook: Server) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in hook.requests)


def result(store: str | Path) -> tuple[dict[str, bytes], list[tuple[object, ...]]]:
    with closing(Store(store)) as opened:
        return digest(opened, SHARDS), told(opened.incidents())


@pytest.fixture
def alone(apache_kafka: ApacheKafka, topic: str, tmp_path: Path) -> Any:
    """What one replica makes of the same topic; called when everything is in it."""

    def run() -> tuple[dict[str, bytes], list[tuple[object, ...]]]:
        folder = tmp_path / "alone"
        folder.mkdir()
        config = shared(apache_kafka, topic, folder / "db", folder, None)
        config["kafka"]["group_id"] = uuid.uuid4().hex
        member = Member(config)
        member.wait_until_read(ends(topic))
        member.close()
        return result(folder / "db")

    return run


@pytest.mark.parametrize("count", [2, 3])
def test_one_of_several_killed(
    apache_kafka: ApacheKafka,
    topic: str,
    postgres: Postgres,
    hook: Server,
    tmp_path: Path,
    alone: Any,
    count: int,
) -> None:
    store = postgres.create()
    config = shared(apache_kafka, topic, store, tmp_path, hook)
    replicas = [Process(config, tmp_path, f"replica-{number}") for number in range(count)]
    try:
        for replica in replicas:
            replica.start()
        wait_until(lambda: all(replica.ready() for replica in replicas), replicas[0].said)
        write(apache_kafka, topic, slice(CUT))
        wait_until(lambda: offsets(store) == ends(topic, slice(CUT)), replicas[0].said)
        assert replicas[0].end(signal.SIGKILL) == -signal.SIGKILL
        died = time.monotonic()
        write(apache_kafka, topic, slice(CUT, None))
        wait_until(lambda: offsets(store) == ends(topic), replicas[1].said)
        print(json.dumps({"replicas": count, "seconds until all is read again": time.monotonic() - died}))  # noqa: T201
        expected = alone()
        wait_until(lambda: len(ids(hook)) >= len(expected[1]), replicas[1].said)
        assert [replica.end() for replica in replicas[1:]] == [0] * (count - 1)
    finally:
        for replica in replicas:
            replica.kill()
    assert result(store) == expected
    assert {incident[0] for incident in expected[1]} == {f"m{number}" for number in range(MODELS)}
    assert set(ids(hook).values()) == {1}


def test_zombie_owner_fenced(
    apache_kafka: ApacheKafka, topic: str, postgres: Postgres, hook: Server, tmp_path: Path, alone: Any
) -> None:
    """Stopped for longer than its session, and then it goes on: what it had in hand is refused."""
    store = postgres.create()
    config = shared(apache_kafka, topic, store, tmp_path, hook)
    zombie, other = (Process(config, tmp_path, name) for name in ("zombie", "other"))
    try:
        zombie.start()
        wait_until(zombie.ready, zombie.said)
        write(apache_kafka, topic, slice(CUT))
        wait_until(lambda: sum(offsets(store).values()) > CUT, zombie.said)
        zombie.send(signal.SIGSTOP)
        other.start()
        write(apache_kafka, topic, slice(CUT, None))
        wait_until(lambda: offsets(store) == ends(topic), other.said)
        zombie.send(signal.SIGCONT)
        wait_until(lambda: "partitions lost" in zombie.said() or "taken over" in zombie.said(), zombie.said)
        expected = alone()
        wait_until(lambda: len(ids(hook)) >= len(expected[1]), other.said)
        wait_until(lambda: zombie.ready() and other.ready(), zombie.said)
        assert [zombie.end(), other.end()] == [0, 0]
    finally:
        zombie.kill()
        other.kill()
    assert result(store) == expected
    assert set(ids(hook).values()) == {1}


def test_rebalance_storm(apache_kafka: ApacheKafka, topic: str, postgres: Postgres, tmp_path: Path, alone: Any) -> None:
    """Five members come and go all the time; each event counts once, and no partition is left standing."""
    store = postgres.create()
    config = shared(apache_kafka, topic, store, tmp_path, None)
    draw = random.Random(3)
    members = [Member(config) for _ in range(3)]
    joined = left = 0
    size = max(1, max(map(len, EVENTS)) // STORM)
    pieces = [slice(start, start + size) for start in range(0, max(map(len, EVENTS)), size)]
    try:
        for piece in pieces:
            write(apache_kafka, topic, piece)
            if len(members) < 5 and draw.random() < 0.6:
                members.append(Member(config))
                joined += 1
            elif len(members) > 1:
                members.pop(draw.randrange(len(members))).close()
                left += 1
            time.sleep(draw.uniform(0.5, 1.5))
            assert all(member.error is None for member in members), [member.error for member in members]
        while len(members) > 2:
            members.pop().close()
        members[0].wait_until_read(ends(topic))
    finally:
        for member in members:
            member.close()
    assert joined >= 2
    assert left >= 2
    assert result(store) == alone()
