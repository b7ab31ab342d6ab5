"""The store: everything or nothing, in order, only once, and nothing unreadable passed over."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Incident,
    Onset,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.outbox import Message
from monitor import tables
from monitor.action import Action, ActionState
from monitor.source import Partition
from monitor.store import Commit, Store, StoreError
from tests.contracts.action_log_contract import ActionLogContract, MakeLog
from tests.contracts.outbox_contract import MakeOutbox, OutboxContract


def incident(
    name: str = "i1", *, status: Status = Status.FIRING, opened_at: float = 100.0, model: str = "m"
) -> Incident:
    return Incident(
        id=name,
        model=model,
        version="1",
        verdict=Verdict.LABEL_FLIP,
        severity=Severity.CRITICAL,
        status=status,
        opened_at=opened_at,
        updated_at=opened_at,
        event_index=7,
        onset=Onset(ts=90.0, low=80.0, high=95.0),
        attribution=Attribution(features=("a", "b"), class_from="spam"),
        evidence=(Evidence("errors", "confusion/spam->ham", float("inf"), 0.3, 0.04),),
    )


def message(name: str = "i1", number: int = 0, receiver: str = "slack", created_at: float = 100.0) -> Message:
    return Message(receiver, Transition(Change.OPENED, number, incident(name)), created_at)


def action(name: str = "i1", state: ActionState = ActionState.REQUESTED, **changes: object) -> Action:
    values: dict[str, object] = {
        "incident": name,
        "model": "m",
        "from_version": "2",
        "onset_low": 80.0,
        "state": state,
        "requested_at": 100.0,
        "updated_at": 100.0,
    }
    return Action(**(values | changes))


def whole(number: int) -> Commit:
    """A commit that writes `number` into every table at once."""
    name = f"i{number}"
    return Commit(
        offsets={Partition("events", 0): number, Partition("events", 1): number},
        states={"bank": str(number).encode(), "joiner": str(number).encode()},
        incidents=[incident(name), incident("latest", opened_at=float(number))],
        messages=[message(name), message(name, receiver="webhook")],
        actions=[action(name)],
    )


def numbers_found(store: Store) -> set[int]:
    """What each part of the store says was the last commit; one number if it is whole."""
    latest = next((i.opened_at for i in store.incidents() if i.id == "latest"), 0.0)
    offsets, states = store.offsets(), store.states()
    return {
        *(offsets.get(Partition("events", number), 0) for number in (0, 1)),
        *(int(states.get(name, b"0")) for name in ("bank", "joiner")),
        int(latest),
        max(0, len(store.incidents()) - 1),
        sum(store.outbox_counts().values()) // 2,
        len(store.actions()),
    }


class StoreSubject:
    """A store as the contracts of its two ports want it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outbox = Store(path)

    def add(self, *messages: Message) -> None:
        self.outbox.commit(Commit(messages=messages))

    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Store(self._path)

    @property
    def log(self) -> Store:
        return self.outbox


@pytest.fixture
def make_subject(tmp_path: Path) -> Iterator[Callable[[], StoreSubject]]:
    made: list[StoreSubject] = []

    def make() -> StoreSubject:
        made.append(StoreSubject(tmp_path / f"{len(made)}.db"))
        return made[-1]

    yield make
    for subject in made:
        subject.outbox.close()


class TestStoreAsOutbox(OutboxContract):
    @pytest.fixture
    def make_outbox(self, make_subject: MakeOutbox) -> MakeOutbox:
        return make_subject


class TestStoreAsActionLog(ActionLogContract):
    @pytest.fixture
    def make_log(self, make_subject: MakeLog) -> MakeLog:
        return make_subject


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tocsin.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


def test_what_was_committed_is_there_after_opening_again(path: Path) -> None:
    with closing(Store(path)) as store:
        store.commit(whole(1))
    with closing(Store(f"sqlite:///{path}")) as store:
        assert store.offsets() == {Partition("events", 0): 1, Partition("events", 1): 1}
        assert store.states() == {"bank": b"1", "joiner": b"1"}
        assert store.incidents() == [incident("i1"), incident("latest", opened_at=1.0)]
        assert store.due(now=100.0, limit=10) == [message("i1"), message("i1", receiver="webhook")]
        assert store.actions() == [action("i1")]


def test_a_commit_replaces_what_moved_and_keeps_the_rest(store: Store) -> None:
    store.commit(whole(1))
    store.commit(Commit(offsets={Partition("events", 1): 5}, states={"bank": b"5"}))
    store.commit(Commit(incidents=[incident("i1", status=Status.RESOLVED)]))
    assert store.offsets() == {Partition("events", 0): 1, Partition("events", 1): 5}
    assert store.states() == {"bank": b"5", "joiner": b"1"}
    assert [found.id for found in store.incidents(open_only=True)] == ["latest"]
    assert len(store.incidents()) == 2
    assert [found.id for found in store.incidents(limit=1)] == ["i1"]


def test_a_state_can_be_forgotten_and_written_anew(store: Store) -> None:
    store.commit(Commit(states={"segment/1": b"1", "segment/2": b"2", "segment/3": b"3"}))
    store.commit(Commit(forget=["segment/1", "segment/2", "never was"], states={"segment/2": b"new"}))
    assert store.states() == {"segment/2": b"new", "segment/3": b"3"}


def test_an_empty_commit_changes_nothing(store: Store) -> None:
    store.commit(whole(3))
    before = store.incidents(), store.states(), store.offsets(), store.outbox_counts(), store.actions()
    store.commit(Commit())
    assert (store.incidents(), store.states(), store.offsets(), store.outbox_counts(), store.actions()) == before


def test_a_replayed_message_or_action_does_not_start_again(store: Store) -> None:
    store.commit(whole(1))
    store.delivered(message("i1"), now=101.0)
    store.save(action("i1", ActionState.DONE))
    store.commit(whole(1))
    assert store.due(now=200.0, limit=10) == [message("i1", receiver="webhook")]
    assert store.actions() == [action("i1", ActionState.DONE)]


@settings(max_examples=40, deadline=None)
@given(blobs=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), max_size=5))
def test_any_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, blobs: dict[str, bytes]) -> None:
    with closing(Store(tmp_path_factory.mktemp("store") / "db")) as store:
        store.commit(Commit(states=blobs))
        assert store.states() == blobs


# Outbox.


def test_messages_of_an_incident_wait_for_each_other_and_nobody_else_does(store: Store) -> None:
    first, second = message(number=0), message(number=1)
    other = message("i2", number=0, created_at=150.0)
    store.commit(Commit(messages=[second, other, first]))
    assert store.due(now=200.0, limit=10) == [first, other]
    store.retry(first, at=300.0, error="503")
    assert store.due(now=200.0, limit=10) == [other]
    (again,) = (found for found in store.due(now=300.0, limit=10) if found.id == first.id)
    assert again.attempts == 1
    store.delivered(again, now=300.0)
    store.dead(other, now=300.0, error="gone")
    assert store.due(now=300.0, limit=10) == [second]
    assert store.oldest_pending() == {"slack": second.created_at}
    assert store.outbox_counts() == {("slack", "delivered"): 1, ("slack", "dead"): 1, ("slack", "pending"): 1}


def test_a_delivered_message_stays_delivered(store: Store) -> None:
    store.commit(Commit(messages=[message()]))
    store.delivered(message(), now=101.0)
    store.retry(message(), at=102.0, error="late")
    store.dead(message(), now=103.0, error="late")
    assert store.outbox_counts() == {("slack", "delivered"): 1}
    assert store.oldest_pending() == {}
    assert store.due(now=1e12, limit=10) == []


def test_a_new_message_is_due_even_if_the_clock_was_set_back(store: Store) -> None:
    store.commit(Commit(messages=[message(created_at=1e9)]))
    assert store.due(now=1.0, limit=10) == [message(created_at=1e9)]


def test_pruning_takes_only_old_delivered_messages(store: Store) -> None:
    messages = [message(f"i{number}") for number in range(4)]
    store.commit(Commit(messages=messages))
    store.delivered(messages[0], now=10.0)
    store.delivered(messages[1], now=20.0)
    store.dead(messages[2], now=10.0, error="gone")
    assert store.prune(before=20.0) == 1
    assert store.outbox_counts() == {("slack", "delivered"): 1, ("slack", "dead"): 1, ("slack", "pending"): 1}


# Actions.


def test_actions_are_read_by_what_is_left_to_do(store: Store) -> None:
    store.save(action("i2", ActionState.INTENDED, requested_at=50.0))
    store.save(action("i1"))
    store.save(action("i3", ActionState.DONE, updated_at=10.0))
    store.save(action("i4", ActionState.DONE, updated_at=20.0, requested_at=1.0))
    store.save(action("i5", ActionState.DONE, model="other", updated_at=30.0))
    assert [found.incident for found in store.unfinished()] == ["i2", "i1"]
    assert store.latest_done("m") == action("i4", ActionState.DONE, updated_at=20.0, requested_at=1.0)
    assert store.latest_done("nobody") is None


# All or nothing.


def test_a_commit_that_fails_halfway_leaves_nothing(store: Store) -> None:
    store.commit(whole(1))
    store.commit(Commit(states={"big": b"x" * 200_000}))

    def no_room(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size as the limit: a full disk

    event.listen(store._writer, "checkout", no_room)
    with pytest.raises(StoreError, match=r"tocsin\.db: database or disk is full"):
        store.commit(Commit(offsets={Partition("events", 0): 2}, states={"bank": b"y" * 1_000_000}))
    assert numbers_found(store) == {1}
    event.remove(store._writer, "checkout", no_room)
    store.close()  # the limit belonged to its connections
    store.commit(whole(2))
    assert numbers_found(store) == {2}


KILLED_AT_EACH_STATEMENT = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from sqlalchemy import event
from test_store import whole
from monitor.store import Store

for statements in range(1, 100):
    child = os.fork()
    if child == 0:
        store = Store(Path(sys.argv[1]) / str(statements))
        store.commit(whole(1))
        seen = 0
        def count(*_):
            global seen
            seen += 1
            if seen == statements:
                os.kill(os.getpid(), signal.SIGKILL)
        event.listen(store._writer, "after_cursor_execute", count)
        store.commit(whole(2))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(statements)
        break
"""

COMMITS_UNTIL_KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
from test_store import whole
from monitor.store import Store

store = Store(sys.argv[1])
for number in range(1, 1_000_000):
    store.commit(whole(number))
    print(number, flush=True)
"""


def python(program: str, *arguments: Path) -> list[str]:
    root = Path(tables.__file__).parents[1]
    return [sys.executable, "-c", program, *map(str, arguments), str(root), str(Path(__file__).parent)]


def test_killed_after_any_statement_of_a_commit_nothing_of_it_is_there(tmp_path: Path) -> None:
    ran = subprocess.run(python(KILLED_AT_EACH_STATEMENT, tmp_path), capture_output=True, text=True, check=True)
    survived = int(ran.stdout)
    assert survived > 6  # BEGIN and one statement for each of five tables were cut off one after the other
    for statements in range(1, survived + 1):
        with closing(Store(tmp_path / str(statements))) as store:
            assert numbers_found(store) == ({2} if statements == survived else {1})


@pytest.mark.parametrize("commits", [1, 7, 20])
def test_killed_at_any_moment_every_commit_is_whole(path: Path, commits: int) -> None:
    with subprocess.Popen(python(COMMITS_UNTIL_KILLED, path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = 0
        while reported < commits:
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            reported = int(line)
    with closing(Store(path)) as store:
        (found,) = numbers_found(store)
    assert found in (reported, reported + 1)  # what was reported is durable; one more may not have been reported


def test_threads_share_a_store(store: Store) -> None:
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        try:
            for number in range(20):
                name = f"{worker}-{number}"
                store.commit(Commit(states={name: b"x"}, messages=[message(name, receiver=str(worker))]))
                (found,) = (one for one in store.due(now=1e12, limit=1000) if one.receiver == str(worker))
                store.delivered(found, now=1.0)
                store.save(action(name, ActionState.DONE))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.states()) == len(store.actions()) == 80
    assert store.outbox_counts() == {(str(worker), "delivered"): 20 for worker in range(4)}


# What is not right is said.


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE states SET blob = x'00' WHERE name = 'bank'",
        "UPDATE states SET sha256 = x'00' WHERE name = 'bank'",
        "UPDATE states SET name = 'moved' WHERE name = 'bank'",
    ],
)
def test_a_damaged_state_is_named(store: Store, path: Path, damage: str) -> None:
    store.commit(whole(1))
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute(damage)
    with pytest.raises(StoreError, match=r"tocsin\.db: state '(bank|moved)' is damaged"):
        store.states()


def test_a_state_of_another_format_is_named(store: Store, path: Path) -> None:
    store.commit(whole(1))
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("UPDATE states SET format = 9 WHERE name = 'bank'")
    with pytest.raises(StoreError, match="state 'bank' has format 9; this version reads 1"):
        store.states()


@pytest.mark.parametrize("table", ["incidents", "messages", "actions"])
def test_a_document_that_cannot_be_read_is_named(store: Store, path: Path, table: str) -> None:
    store.commit(whole(1))
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute(f"UPDATE {table} SET document = x'c1'")
    with pytest.raises(StoreError, match=r"(incident|message|action of incident) '.+' cannot be read"):
        {"incidents": store.incidents, "messages": lambda: store.due(1e12, 9), "actions": store.actions}[table]()


def test_a_store_made_by_a_later_version_is_refused(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("UPDATE tocsin_schema SET version = 99")
    with pytest.raises(StoreError, match=r"made by a later Tocsin \(schema 99, this one knows 1\)"):
        Store(path)


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.db", tmp_path / "notes.txt"
    with closing(sqlite3.connect(foreign)) as shell, shell:
        shell.execute("CREATE TABLE customers (id INTEGER)")
    text.write_text("not a database, and long enough not to be taken for an empty one" * 20)
    with pytest.raises(StoreError, match=r"foreign\.db: this is a database, but not one of Tocsin's"):
        Store(foreign)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database"):
        Store(text)
    with pytest.raises(StoreError, match=r"nowhere/tocsin\.db: No such file or directory"):
        Store(tmp_path / "nowhere" / "tocsin.db")
    with pytest.raises(StoreError, match="Is a directory"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (":memory:", "it has to be a file"),
        ("sqlite://", "it has to be a file"),
        ("postgresql://tocsin:hunter2@db/tocsin", "no support for postgresql"),
        ("://hunter2", "neither a path nor a database URL"),
    ],
)
def test_other_databases_are_refused_without_their_password(location: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        Store(location)
    assert "hunter2" not in str(refused.value)


def test_the_files_are_private_to_the_user(path: Path) -> None:
    path.touch(mode=0o666)
    path.chmod(0o666)
    with closing(Store(path)) as store:
        store.commit(whole(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"tocsin.db": 0o600, "tocsin.db-wal": 0o600, "tocsin.db-shm": 0o600}


def test_commits_are_synchronous_and_logged_ahead(store: Store) -> None:
    with store._writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
