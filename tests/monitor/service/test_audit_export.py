"""A copy of the audit log: nothing is missing in it, and it gives away whoever rewrites the store."""

import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from monitor.intake.kafka_appender import AppendError, KafkaAppender
from monitor.service.audit_export import Line, copy
from monitor.store.audit import Act, Broken, Head, chained, sign
from monitor.store.audit_copy import CopyError, entry_line, head_line, verify
from monitor.store.audit_table import Place
from monitor.store.store import Store
from tests.kit.brokers import Broker
from tests.kit.command_line import invoke

KEY = Ed25519PrivateKey.from_private_bytes(b"3" * 32)
ENTRIES = list(chained([Act(float(n), "ada", "did", f"s{n}") for n in range(6)], Head()))
HEAD = Head(ENTRIES[-1].number, ENTRIES[-1].digest)
LINES = [*map(entry_line, ENTRIES[:4]), head_line(sign(Head(4, ENTRIES[3].digest), KEY)), *map(entry_line, ENTRIES[4:])]


class Flaky:
    """An appender that fails at times, in the middle of a batch."""

    def __init__(self, fails: Sequence[bool] = ()) -> None:
        self.lines: list[bytes] = []
        self._fails = itertools.chain(fails, itertools.repeat(False))

    def append(self, records: Sequence[Line]) -> None:
        assert {record.key for record in records} == {b"audit"}
        whole = [record.value for record in records]
        if next(self._fails):
            self.lines += whole[: len(whole) // 2]
            raise AppendError("Kafka has not taken all of it in time")
        self.lines += whole


def act(number: int) -> Act:
    return Act(float(number), "ada", "did", f"s{number}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "tocsin.db")) as made:
        yield made


def test_everything_is_copied_once_while_all_is_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.service.audit_export.AT_ONCE", 4)
    there = Flaky()
    assert copy(store, Place.TOPIC, there) == 0
    store.audit.append(*map(act, range(10)))
    assert copy(store, Place.TOPIC, there) == 10
    store.audit.sign(KEY, 1.0)
    store.audit.append(act(10))
    assert copy(store, Place.TOPIC, there) == 2
    assert copy(store, Place.TOPIC, there) == 0
    assert verify(there.lines, KEY.public_key()) == store.audit.head()
    assert [json.loads(line)["number"] for line in there.lines] == [*range(1, 11), 11, 10]


@settings(deadline=None, max_examples=8)
@given(fails=st.lists(st.booleans(), max_size=12))
def test_whatever_fails_nothing_is_missing(tmp_path_factory: pytest.TempPathFactory, fails: list[bool]) -> None:
    there = Flaky(fails)
    with closing(Store(tmp_path_factory.mktemp("s") / "tocsin.db")) as store:
        for number in range(4):
            store.audit.append(act(2 * number), act(2 * number + 1))
            store.audit.sign(KEY, float(number))
            try:
                copy(store, Place.TOPIC, there)
            except AppendError:
                continue
        while True:
            try:
                copy(store, Place.TOPIC, there)
                break
            except AppendError:
                continue
        assert verify(there.lines, KEY.public_key()) == store.audit.head() == Head(8, store.audit.head().digest)


@settings(deadline=None)
@given(lines=st.permutations([*LINES, *LINES[:3]]))
def test_order_and_copies_of_lines_do_not_matter(lines: list[bytes]) -> None:
    assert verify(lines, KEY.public_key()) == HEAD


@pytest.mark.parametrize("number", range(1, 7))
def test_what_is_missing_or_changed_is_named(number: int) -> None:
    without = [line for line in LINES if json.loads(line)["number"] != number or b'"head"' in line[:20]]
    found = verify(without, KEY.public_key())
    assert found == (Head(5, ENTRIES[4].digest) if number == 6 else Broken(number, "it is missing"))
    changed = [line.replace(f's{number - 1}\\"'.encode(), b's9\\"') for line in LINES]
    assert verify(changed, KEY.public_key()) == Broken(number, "it has been changed")
    assert verify([*LINES, *changed], KEY.public_key()) == Broken(number, "it is there twice, and says something else")


def test_a_copy_that_was_written_anew_is_given_away_by_a_signed_head() -> None:
    anew = [entry_line(entry) for entry in chained([act(90 + number) for number in range(6)], Head())]
    assert isinstance(verify(anew, KEY.public_key()), Head)
    assert verify([*anew, LINES[4]], KEY.public_key()) == Broken(4, "it is another one than the head that was signed")
    other = Ed25519PrivateKey.generate().public_key()
    assert verify(LINES, other) == Broken(4, "its head is not signed with this key")
    assert verify(LINES, None) == HEAD


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[" * 5000, b"\xff", b'{"kind":"head","number":1,"digest":"x","signature":"?"}']
)
def test_what_is_no_line_is_one_clear_error(line: bytes) -> None:
    with pytest.raises(CopyError, match="line 8 is not of the audit log"):
        verify([*LINES, line], None)


def test_whoever_rewrites_the_store_is_given_away_by_the_topic(embedded_broker: Broker, tmp_path: Path) -> None:
    topic = f"audit-{uuid.uuid4().hex}"
    embedded_broker.create_topic(topic)
    path, config = tmp_path / "tocsin.db", tmp_path / "tocsin.yaml"
    config.write_text(
        f"kafka: {{bootstrap_servers: ['{embedded_broker.address}'], topics: [t]}}\n"
        f"models: {{m: {{reference: {{events: 1000}}}}}}\nstore: {{path: {path}}}\naudit: {{topic: {topic}}}\n"
    )
    (tmp_path / "public.pem").write_bytes(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

    def audit_verify(*words: str) -> tuple[int, list[Any]]:
        told = ["audit", "verify", *words, "--public-key", str(tmp_path / "public.pem")]
        result = invoke(*told, "--config", config, "--output", "json")
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]

    with closing(Store(path)) as store, closing(KafkaAppender(embedded_broker.config("t"), topic, 30.0)) as appender:
        store.audit.append(*map(act, range(20)))
        store.audit.sign(KEY, 1.0)
        assert copy(store, Place.TOPIC, appender) == 21
        store.audit.append(act(20))  # written, and not copied yet
    code, told = audit_verify("--topic")
    assert code == 0
    assert [(each["intact"], each["entries"]) for each in told] == [(True, 20), (True, 21)]

    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:  # all of it anew, hashes and all
        for table in ("audit", "audit_end", "audit_heads"):
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()
    with closing(Store(path)) as store:
        store.audit.append(*map(act, range(100, 130)))
    assert audit_verify()[0] == 0
    code, told = audit_verify("--topic")
    assert code == 1
    assert told[-1] == {
        "intact": False,
        "where": "store",
        "number": 20,
        "why": "it is another one than the head that was seen before",
    }
    (tmp_path / "copy").write_bytes(b"\n".join(LINES[1:]))
    code, told = audit_verify("--file", str(tmp_path / "copy"))
    assert (code, told[-1]["number"], told[-1]["why"]) == (1, 1, "it is missing")
    for words in (("--file", str(tmp_path / "none")), ("--file", str(path))):
        assert audit_verify(*words)[0] == 2
