"""What a replica stands on breaks: brokers, network, disk, database, clock. Each has its expected end."""

import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from monitor.intake.source import Partition
from monitor.store.store import Store
from monitor.store.tables import WHOLE
from tests.kit.apache_kafka import ApacheKafka, Cluster
from tests.kit.brokers import Broker
from tests.kit.http_server import Server, hang
from tests.kit.postgres import Postgres
from tests.kit.proxy import Proxy
from tests.kit.recording import recording
from tests.kit.replicas import Member, Process, digest, offsets, settings, told, wait_until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
    pytest.mark.usefixtures("no_forgotten_sockets"),
]

EVENTS = recording(1500, flip_from=1000)
HALF = len(EVENTS) // 2

Start = Callable[..., Member]


@pytest.fixture
def start() -> Iterator[Start]:
    members: list[Member] = []

    def started(config: dict[str, Any]) -> Member:
        members.append(Member(config))
        return members[-1]

    yield started
    for member in members:
        member.close()


@pytest.fixture
def topic(apache_kafka: ApacheKafka) -> str:
    name = f"faults-{uuid.uuid4().hex}"
    apache_kafka.create_topic(name)
    return name


@pytest.fixture(scope="module")
def expected(embedded_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """State and incidents of an undisturbed run."""
    folder, name = tmp_path_factory.mktemp("undisturbed"), f"undisturbed-{uuid.uuid4().hex}"
    embedded_broker.create_topic(name)
    embedded_broker.write(name, EVENTS)
    member = Member(settings(embedded_broker.address, [name], folder / "db", folder))
    member.wait_until_read({Partition(name, 0): len(EVENTS)})
    member.close()
    states, incidents = result(folder / "db")
    assert [incident[2] for incident in incidents] == ["label_flip"]
    return states, incidents


def result(store: str | Path) -> tuple[dict[str, bytes], list[tuple[object, ...]]]:
    with closing(Store(store)) as opened:
        return digest(opened, [WHOLE]), told(opened.incidents())


def half_read(member: Member, topic: str, broker: Broker) -> None:
    broker.write(topic, EVENTS[:HALF])
    member.wait_until_read({Partition(topic, 0): HALF})


def rest_read(member: Member, topic: str, broker: Broker) -> None:
    broker.write(topic, EVENTS[HALF:])
    member.wait_until_read({Partition(topic, 0): len(EVENTS)})


# Brokers and the network.


def test_broker_killed_and_restarted(
    apache_kafka: ApacheKafka, topic: str, start: Start, tmp_path: Path, expected: Any
) -> None:
    member = start(settings(apache_kafka.address, [topic], tmp_path / "db", tmp_path))
    half_read(member, topic, apache_kafka)
    apache_kafka.stop(kill=True)
    time.sleep(3.0)  # longer than the session
    assert member.alive
    apache_kafka.restart()
    rest_read(member, topic, apache_kafka)
    assert member.failures == []
    assert result(tmp_path / "db") == expected


def test_broker_half_open(apache_kafka: ApacheKafka, topic: str, start: Start, tmp_path: Path, expected: Any) -> None:
    """The connection stays open and nothing comes through it, for longer than a request may take."""
    with Proxy(apache_kafka.behind_proxy, apache_kafka.proxy_port) as proxy:
        member = start(settings(f"127.0.0.1:{proxy.port}", [topic], tmp_path / "db", tmp_path))
        half_read(member, topic, apache_kafka)
        proxy.freeze()
        time.sleep(5.0)
        assert member.alive
        proxy.mend()
        rest_read(member, topic, apache_kafka)
        proxy.cut()
        time.sleep(1.0)
        proxy.mend()
        wait_until(lambda: member.ready, lambda: repr(member.failures))
        member.close()
    assert result(tmp_path / "db") == expected


def test_three_brokers_one_killed(cluster: Cluster, start: Start, tmp_path: Path, expected: Any) -> None:
    name = "three"
    cluster.create_topic(name)
    member = start(settings(cluster.address, [name], tmp_path / "db", tmp_path))
    half_read(member, name, cluster)
    cluster.nodes[0].stop(kill=True)
    rest_read(member, name, cluster)
    assert result(tmp_path / "db") == expected


def test_retention_overtook_offset(apache_kafka: ApacheKafka, topic: str, start: Start, tmp_path: Path) -> None:
    """Records that are gone are counted and told: a blind window is what an attacker would want."""
    config = settings(apache_kafka.address, [topic], tmp_path / "db", tmp_path)
    first = start(config)
    half_read(first, topic, apache_kafka)
    first.close()
    apache_kafka.write(topic, EVENTS[HALF:])
    apache_kafka.delete_records(topic, HALF + 100)
    second = start(config)
    second.wait_until_read({Partition(topic, 0): len(EVENTS)})
    with closing(Store(tmp_path / "db")) as store:
        (blind,) = [incident for incident in store.incidents() if incident.model == f"{topic}[0]"]
    assert blind.evidence[0].stream == "records deleted before they were read"
    assert blind.evidence[0].observed == 100


# The store, and the process.


def test_disk_full(embedded_broker: Broker, start: Start, tmp_path: Path, expected: Any) -> None:
    """Nothing is half written, it goes on by itself when there is room, and nothing is lost."""
    _store_refuses(embedded_broker, start, tmp_path, "PRAGMA max_page_count = 1", "database or disk is full")
    assert result(tmp_path / "db") == expected


def test_readonly_disk(embedded_broker: Broker, start: Start, tmp_path: Path, expected: Any) -> None:
    _store_refuses(embedded_broker, start, tmp_path, "PRAGMA query_only = 1", "attempt to write a readonly database")
    assert result(tmp_path / "db") == expected


def _store_refuses(broker: Broker, start: Start, folder: Path, pragma: str, why: str) -> None:
    name = f"refused-{uuid.uuid4().hex}"
    broker.create_topic(name)
    member = start(settings(broker.address, [name], folder / "db", folder))
    half_read(member, name, broker)
    writer = member.store._database._writer

    def refuse(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(pragma)

    event.listen(writer, "checkout", refuse)
    broker.write(name, EVENTS[HALF : HALF + 200])
    wait_until(lambda: bool(member.failures), lambda: repr(member.error))
    wait_until(lambda: why in (member.supervisor.unready() or ""), lambda: str(member.supervisor.unready()))
    assert set(member.failures) == {"store"}
    assert member.read() == {Partition(name, 0): HALF}
    event.remove(writer, "checkout", refuse)
    writer.dispose()  # the pragma belonged to its connections
    broker.write(name, EVENTS[HALF + 200 :])
    member.wait_until_read({Partition(name, 0): len(EVENTS)})


def test_database_restarted(
    embedded_broker: Broker, postgres: Postgres, start: Start, tmp_path: Path, expected: Any
) -> None:
    name, store = f"database-{uuid.uuid4().hex}", postgres.create()
    embedded_broker.create_topic(name)
    member = start(settings(embedded_broker.address, [name], store, tmp_path))
    half_read(member, name, embedded_broker)
    postgres.stop(signal.SIGQUIT)
    embedded_broker.write(name, EVENTS[HALF:])
    wait_until(lambda: bool(member.failures), lambda: repr(member.error))
    postgres.start()
    member.wait_until_read({Partition(name, 0): len(EVENTS)})
    assert set(member.failures) == {"store"}
    assert result(store) == expected


def test_corrupted_state_row(embedded_broker: Broker, tmp_path: Path) -> None:
    """It is named, and ends the process: going on would forget what the detectors know, without a word."""
    name = f"corrupted-{uuid.uuid4().hex}"
    embedded_broker.create_topic(name)
    embedded_broker.write(name, EVENTS)
    path = tmp_path / "db"
    replica = Process(settings(embedded_broker.address, [name], path, tmp_path), tmp_path)
    replica.start()
    try:
        wait_until(lambda: sum(offsets(path).values()) == len(EVENTS), replica.said)
        assert replica.end() == 0
        with closing(sqlite3.connect(path)) as shell, shell:
            shell.execute("UPDATE states SET blob = x'00' WHERE name = 'watch/mail'")
        replica.start()
        assert replica.wait() == 1
    finally:
        replica.kill()
    last = msgspec.json.decode(replica.said().splitlines()[-1])
    assert last["event"] == "stopped"
    assert "state 'watch/mail' is damaged: its checksum does not match" in last["why"]


def test_sigterm_drains_and_a_second_one_ends_at_once(
    embedded_broker: Broker, server: Server, tmp_path: Path, expected: Any
) -> None:
    """The first lets what was read be committed, also under load; neither loses or repeats anything."""
    name, path = f"drained-{uuid.uuid4().hex}", tmp_path / "db"
    embedded_broker.create_topic(name)
    embedded_broker.write(name, EVENTS)
    server.answers = [hang]
    config = settings(embedded_broker.address, [name], path, tmp_path, max_poll_records=100)
    hook = {"kind": "webhook", "name": "hook", "url": server.address}
    replica = Process(config | {"alerting": {"receivers": [hook], "network": {"allow": ["127.0.0.1"]}}}, tmp_path)
    try:
        replica.start()
        wait_until(lambda: sum(offsets(path).values()) > 0, replica.said)
        assert replica.end() == 0
        sent = len(server.requests)  # where the first of them had come to an incident
        replica.start()
        server.wait_for(sent + 1)
        replica.send(signal.SIGTERM)
        wait_until(lambda: replica.said().count('"stopping"') == 2, replica.said)  # now it waits for that message
        assert replica.end() == -signal.SIGTERM
        replica.start()
        wait_until(lambda: sum(offsets(path).values()) == len(EVENTS), replica.said)
        wait_until(replica.ready, replica.said)
        assert replica.end() == 0
    finally:
        replica.kill()
    assert result(path) == expected


# Time.


@pytest.mark.parametrize("jump", [-3600.0, 365 * 86400.0], ids=["back an hour", "forward a year"])
def test_clock_jumps(
    embedded_broker: Broker,
    start: Start,
    tmp_path: Path,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
    jump: float,
) -> None:
    name = f"clock-{uuid.uuid4().hex}"
    embedded_broker.create_topic(name)
    config = settings(embedded_broker.address, [name], tmp_path / "db", tmp_path)
    true_time = time.time
    ahead = 0.0
    monkeypatch.setattr(time, "time", lambda: true_time() + ahead)  # before its parts take hold of it
    member = start(config)
    half_read(member, name, embedded_broker)
    ahead = jump
    member.reader.due.silence.set()
    wait_until(lambda: not member.reader.due.silence.is_set())
    rest_read(member, name, embedded_broker)
    assert member.failures == []
    assert result(tmp_path / "db") == expected


def test_future_timestamps(apache_kafka: ApacheKafka, topic: str, start: Start, tmp_path: Path, expected: Any) -> None:
    """Events from the future are refused: or they would end every wait for a label."""
    member = start(settings(apache_kafka.address, [topic], tmp_path / "db", tmp_path))
    ten_years_on = msgspec.json.decode(EVENTS[0])
    ten_years_on["ts"] += 10 * 365 * 86400.0
    ahead = [msgspec.json.encode(ten_years_on | {"event_id": f"ahead-{number}"}) for number in range(20)]
    for begin in range(0, len(EVENTS), 500):
        apache_kafka.write(topic, EVENTS[begin : begin + 500])
        apache_kafka.write(topic, ahead[:5])
    count = len(EVENTS) + 5 * len(range(0, len(EVENTS), 500))
    member.wait_until_read({Partition(topic, 0): count})
    wait_until(lambda: member.registry.get_sample_value("tocsin_quarantined_total") == count - len(EVENTS))
    found, incidents = result(tmp_path / "db")
    states, told_before = expected
    assert incidents == told_before
    assert {name: blob for name, blob in found.items() if "pipeline" not in name} == {
        name: blob for name, blob in states.items() if "pipeline" not in name
    }
