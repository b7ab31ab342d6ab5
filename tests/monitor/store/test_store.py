"""The store, on SQLite and on PostgreSQL: in order, only once, and nothing unreadable passed over."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, Update, update

from alerting.incident import Status
from alerting.outbox import Message
from monitor.intake.source import Partition
from monitor.rollback.action import ActionState
from monitor.store.action_table import ActionTable
from monitor.store.outbox_table import OutboxTable
from monitor.store.store import Commit, Store, StoreError
from monitor.store.tables import ACTIONS, INCIDENTS, MESSAGES, SCHEMA, STATES
from tests.contracts.action_log_contract import ActionLogContract, MakeLog
from tests.contracts.outbox_contract import MakeOutbox, OutboxContract
from tests.kit.postgres import MakeLocation
from tests.kit.stored import action, incident, message, whole


class StoreSubject:
    """A store as the contracts of its two ports want it."""

    def __init__(self, location: str | Path) -> None:
        self._location = location
        self.store = Store(location)

    def add(self, *messages: Message) -> None:
        self.store.commit(Commit(messages=messages))

    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self._location)

    @property
    def outbox(self) -> OutboxTable:
        return self.store.outbox

    @property
    def log(self) -> ActionTable:
        return self.store.actions


@pytest.fixture
def make_subject(make_location: MakeLocation) -> Iterator[Callable[[], StoreSubject]]:
    made: list[StoreSubject] = []

    def make() -> StoreSubject:
        made.append(StoreSubject(make_location()))
        return made[-1]

    yield make
    for subject in made:
        subject.store.close()


class TestStoreAsOutbox(OutboxContract):
    @pytest.fixture
    def make_outbox(self, make_subject: MakeOutbox) -> MakeOutbox:
        return make_subject


class TestStoreAsActionLog(ActionLogContract):
    @pytest.fixture
    def make_log(self, make_subject: MakeLog) -> MakeLog:
        return make_subject


@pytest.fixture
def store(location: str | Path) -> Iterator[Store]:
    with closing(Store(location)) as opened:
        yield opened


def change(store: Store, statement: Update) -> None:
    """What somebody does at a database shell."""
    with store._database.writing() as connection:
        connection.execute(statement)


def test_what_was_committed_is_there_after_opening_again(location: str | Path) -> None:
    with closing(Store(location)) as store:
        store.commit(whole(1))
    with closing(Store(location)) as store:
        assert store.offsets() == {Partition("events", 0): 1, Partition("events", 1): 1}
        assert store.states() == {"bank": b"1", "joiner": b"1"}
        assert store.incidents() == [incident("i1"), incident("latest", opened_at=1.0)]
        assert store.outbox.due(now=100.0, limit=10) == [message("i1"), message("i1", receiver="webhook")]
        assert store.actions.all() == [action("i1")]


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
    before = store.incidents(), store.states(), store.offsets(), store.outbox.counts(), store.actions.all()
    store.commit(Commit())
    assert (store.incidents(), store.states(), store.offsets(), store.outbox.counts(), store.actions.all()) == before


def test_a_replayed_message_or_action_does_not_start_again(store: Store) -> None:
    store.commit(whole(1))
    store.outbox.delivered(message("i1"), now=101.0)
    store.actions.save(action("i1", ActionState.MOVED))
    store.commit(whole(1))
    assert store.outbox.due(now=200.0, limit=10) == [message("i1", receiver="webhook")]
    assert store.actions.all() == [action("i1", ActionState.MOVED)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blobs=st.dictionaries(st.text(st.characters(exclude_categories=["C"])), st.binary(), max_size=5))
def test_any_state_comes_back_as_it_was(store: Store, blobs: dict[str, bytes]) -> None:
    store.commit(Commit(forget=store.states()))
    store.commit(Commit(states=blobs))
    assert store.states() == blobs


# Outbox.


def test_messages_of_an_incident_wait_for_each_other_and_nobody_else_does(store: Store) -> None:
    first, second = message(number=0), message(number=1)
    other = message("i2", number=0, created_at=150.0)
    store.commit(Commit(messages=[second, other, first]))
    assert store.outbox.due(now=200.0, limit=10) == [first, other]
    store.outbox.retry(first, at=300.0, error="503")
    assert store.outbox.due(now=200.0, limit=10) == [other]
    (again,) = (found for found in store.outbox.due(now=300.0, limit=10) if found.id == first.id)
    assert again.attempts == 1
    store.outbox.delivered(again, now=300.0)
    store.outbox.dead(other, now=300.0, error="gone")
    assert store.outbox.due(now=300.0, limit=10) == [second]
    assert store.outbox.oldest_pending() == {"slack": second.created_at}
    assert store.outbox.counts() == {("slack", "delivered"): 1, ("slack", "dead"): 1, ("slack", "pending"): 1}


def test_what_was_told_of_an_open_incident_is_kept_for_as_long_as_it_is_open(store: Store) -> None:
    going_on, over = incident("i1"), incident("i2", status=Status.RESOLVED)
    messages = [message("i1"), message("i2")]
    store.commit(Commit(incidents=[going_on, over], messages=messages))
    for told in messages:
        store.outbox.delivered(told, 10.0, "a receipt")
    assert store.outbox.prune(before=20.0) == 1
    assert store.outbox.heard("i1") == {"slack"}
    assert store.outbox.heard("i2") == set()
    ended = incident("i1", status=Status.RESOLVED)
    store.commit(Commit(incidents=[ended]))
    assert store.outbox.prune(before=20.0) == 1


def test_a_delivered_message_stays_delivered(store: Store) -> None:
    store.commit(Commit(messages=[message()]))
    store.outbox.delivered(message(), now=101.0)
    store.outbox.retry(message(), at=102.0, error="late")
    store.outbox.dead(message(), now=103.0, error="late")
    assert store.outbox.counts() == {("slack", "delivered"): 1}
    assert store.outbox.oldest_pending() == {}
    assert store.outbox.due(now=1e12, limit=10) == []


def test_a_new_message_is_due_even_if_the_clock_was_set_back(store: Store) -> None:
    store.commit(Commit(messages=[message(created_at=1e9)]))
    assert store.outbox.due(now=1.0, limit=10) == [message(created_at=1e9)]


def test_pruning_takes_only_old_delivered_messages(store: Store) -> None:
    messages = [message(f"i{number}") for number in range(4)]
    store.commit(Commit(messages=messages))
    store.outbox.delivered(messages[0], now=10.0)
    store.outbox.delivered(messages[1], now=20.0)
    store.outbox.dead(messages[2], now=10.0, error="gone")
    assert store.outbox.prune(before=20.0) == 1
    assert store.outbox.counts() == {("slack", "delivered"): 1, ("slack", "dead"): 1, ("slack", "pending"): 1}


# Actions.


def test_actions_are_read_by_what_is_left_to_do(store: Store) -> None:
    store.actions.save(action("i2", ActionState.INTENDED, requested_at=50.0))
    store.actions.save(action("i1"))
    store.actions.save(action("i3", ActionState.RECOVERED, moved_at=10.0))
    assert [found.incident for found in store.actions.unfinished()] == ["i2", "i1"]
    assert [found.incident for found in store.actions.spent()] == ["i2", "i3"]


def test_one_state_is_read_by_its_name(store: Store) -> None:
    store.commit(Commit(states={"answers/m": b"blob"}))
    assert (store.state("answers/m"), store.state("answers/other")) == (b"blob", None)


def test_threads_share_a_store(store: Store) -> None:
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        try:
            for number in range(20):
                name = f"{worker}-{number}"
                store.commit(Commit(states={name: b"x"}, messages=[message(name, receiver=str(worker))]))
                (found,) = (one for one in store.outbox.due(now=1e12, limit=1000) if one.receiver == str(worker))
                store.outbox.delivered(found, now=1.0)
                store.actions.save(action(name, ActionState.MOVED))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.states()) == len(store.actions.all()) == 80
    assert store.outbox.counts() == {(str(worker), "delivered"): 20 for worker in range(4)}


# What is not right is said.


@pytest.mark.parametrize("damage", [{"blob": b"\0"}, {"sha256": b"\0"}, {"name": "moved"}], ids=str)
def test_a_damaged_state_is_named(store: Store, damage: dict[str, object]) -> None:
    store.commit(whole(1))
    change(store, update(STATES).where(STATES.c.name == "bank").values(damage))
    with pytest.raises(StoreError, match=r"state '(bank|moved)' is damaged") as caught:
        store.states()
    assert not caught.value.passing


def test_a_state_of_another_format_is_named(store: Store) -> None:
    store.commit(whole(1))
    change(store, update(STATES).where(STATES.c.name == "bank").values(format=9))
    with pytest.raises(StoreError, match="state 'bank' has format 9; this version reads 1"):
        store.states()


@pytest.mark.parametrize("table", [INCIDENTS, MESSAGES, ACTIONS], ids=lambda table: table.name)
def test_a_document_that_cannot_be_read_is_named(store: Store, table: Table) -> None:
    store.commit(whole(1))
    change(store, update(table).values(document=b"\xc1"))
    read = {INCIDENTS: store.incidents, MESSAGES: lambda: store.outbox.due(1e12, 9), ACTIONS: store.actions.all}[table]
    with pytest.raises(StoreError, match=r"(incidents|messages|actions) '.+' cannot be read"):
        read()


def test_a_store_made_by_a_later_version_is_refused(location: str | Path) -> None:
    with closing(Store(location)) as store:
        change(store, update(SCHEMA).values(version=99))
    with pytest.raises(StoreError, match=r"made by a later Tocsin \(schema 99, this one knows \d+\)"):
        Store(location)
