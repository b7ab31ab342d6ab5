"""Ownership: whoever comes with an older claim changes nothing, delivers nothing and acts for nobody."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from alerting.incident import Status
from monitor.intake.source import Partition
from monitor.rollback.action import ActionState
from monitor.store.fence import check
from monitor.store.store import Commit, FencedError, Store, StoreError
from tests.kit.stored import action, incident, message

HERE = Partition("events", 3)


@pytest.fixture
def two(location: str | Path) -> Iterator[tuple[Store, Store]]:
    """Two processes on one store."""
    with closing(Store(location)) as one, closing(Store(location)) as other:
        yield one, other


def decided(epoch: int, name: str = "i1") -> Commit:
    return Commit(
        shard="3",
        epoch=epoch,
        offsets={HERE: 10},
        states={"watch/mail": b"state"},
        incidents=[incident(name)],
        messages=[message(name)],
        actions=[action(name)],
    )


def test_a_new_owner_finds_what_the_last_one_committed(two: tuple[Store, Store]) -> None:
    one, other = two
    first = one.claim("3", "one", 1.0)
    assert (first.offsets, first.states, first.incidents) == ({}, {}, [])
    one.commit(decided(first.epoch))
    one.commit(Commit(shard="3", epoch=first.epoch, incidents=[incident("i0", status=Status.RESOLVED)]))
    second = other.claim("3", "other", 2.0)
    assert second.epoch > first.epoch
    assert (second.offsets, second.states) == ({HERE: 10}, {"watch/mail": b"state"})
    assert [found.id for found in second.incidents] == ["i1"]
    assert other.epochs() == {"3": second.epoch}


def test_shards_do_not_see_each_other(two: tuple[Store, Store]) -> None:
    one, other = two
    three, four = one.claim("3", "one", 1.0), other.claim("4", "other", 1.0)
    one.commit(decided(three.epoch))
    other.commit(Commit(shard="4", epoch=four.epoch, states={"watch/mail": b"another"}, forget=["watch/spam"]))
    assert one.states("3") == {"watch/mail": b"state"}
    assert one.states("4") == {"watch/mail": b"another"}
    other.commit(Commit(shard="4", epoch=four.epoch, forget=["watch/mail"]))
    assert (one.states("3"), one.states("4")) == ({"watch/mail": b"state"}, {})


def test_a_stale_owner_changes_nothing_not_even_what_is_still_its_own(two: tuple[Store, Store]) -> None:
    one, other = two
    mine, kept = one.claim("3", "one", 1.0), one.claim("5", "one", 1.0)
    other.claim("3", "the other one", 2.0)
    for epoch in (mine.epoch, 0):
        with pytest.raises(FencedError, match="shard 3 was taken over by the other one") as caught:
            one.commit(Commit(shard="5", epoch=kept.epoch, states={"a": b"1"}), decided(epoch))
        assert caught.value.passing
    assert one.states("5") == one.states("3") == {}
    assert (one.incidents(), one.actions.all(), one.outbox.counts()) == ([], [], {})
    one.commit(Commit(shard="5", epoch=kept.epoch, states={"a": b"1"}))


def test_a_stale_owner_delivers_nothing_and_does_not_act(two: tuple[Store, Store]) -> None:
    one, other = two
    first = one.claim("3", "one", 1.0)
    one.commit(decided(first.epoch))
    one.hold({"3": first.epoch})
    other.hold({})
    assert one.outbox.due(1.0, 10) == [message("i1")]
    assert one.actions.unfinished() == [action("i1")]
    assert other.outbox.due(1.0, 10) == other.actions.unfinished() == []
    second = other.claim("3", "other", 2.0)
    other.hold({"3": second.epoch})
    assert one.outbox.due(1.0, 10) == one.actions.unfinished() == []
    assert other.outbox.due(1.0, 10) == [message("i1")]
    other.actions.save(action("i1", ActionState.RECOVERED))
    with pytest.raises(FencedError):
        one.actions.save(action("i1", ActionState.INTENDED))
    assert other.actions.all() == [action("i1", ActionState.RECOVERED)]


def test_a_command_beside_the_daemon_sees_everything_and_may_approve(two: tuple[Store, Store]) -> None:
    daemon, command = two
    claim = daemon.claim("3", "daemon", 1.0)
    daemon.hold({"3": claim.epoch})
    daemon.commit(decided(claim.epoch))
    assert command.actions.unfinished() == [action("i1")]
    command.actions.save(action("i1", ActionState.INTENDED))
    assert [found.state for found in daemon.actions.unfinished()] == [ActionState.INTENDED]


def test_nobody_takes_over_between_the_look_and_the_write(two: tuple[Store, Store]) -> None:
    one, other = two
    epoch = one.claim("3", "one", 1.0).epoch
    taken = threading.Event()

    def take_over() -> None:
        other.claim("3", "other", 2.0)
        taken.set()

    thread = threading.Thread(target=take_over)
    with one._database.writing() as connection:
        check(one._database, connection, "3", epoch)
        thread.start()
        assert not taken.wait(0.5)
    thread.join()
    assert taken.is_set()


def test_of_two_that_fight_each_commit_is_whole_and_one_is_refused(two: tuple[Store, Store]) -> None:
    """Threads in place of processes: every claim must find all that the commits before it wrote."""
    wrong: list[str] = []

    def fight(store: Store, name: str) -> None:
        for _ in range(15):
            try:
                claim = store.claim("3", name, 0.0)
                number = claim.offsets.get(HERE, 0)
                if claim.states.get("number", b"0") != b"%d" % number:
                    wrong.append(f"{number} and {claim.states}")
                commit = Commit(
                    shard="3", epoch=claim.epoch, offsets={HERE: number + 1}, states={"number": b"%d" % (number + 1)}
                )
                store.commit(commit)
            except FencedError:
                continue
            except StoreError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=fight, args=(store, name)) for store, name in zip(two, "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert two[0].epochs() == {"3": 30}
    assert two[0].states("3") == {"number": b"%d" % two[0].offsets()[HERE]}
