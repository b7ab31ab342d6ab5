"""The loop: what it commits, and where it goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alerting.incident import Change, Problem, Verdict
from monitor.intake.source import Partition, Positions
from monitor.rollback.action import ActionState
from monitor.store.store import Commit
from monitor.store.tables import WHOLE
from tests.kit.house import House, told, write
from tests.kit.recording import recording


def test_what_a_run_decides_is_committed_together(house: Callable[..., House], tmp_path: Path) -> None:
    log = write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000))
    built = house(log)
    built.run()
    (incident,) = built.store.incidents()
    assert incident.verdict is Verdict.LABEL_FLIP
    exhibit = built.store.exhibit(incident.id)
    assert exhibit is not None
    assert exhibit.confused is not None
    assert built.store.offsets() == {Partition(str(log), 0): built.pipeline.read}
    assert [message.id for message in built.store.outbox.due(built.now, 10)] == [f"{incident.id}-1-hook"]
    (action,) = built.store.actions.all()
    assert (action.incident, action.from_version, action.state) == (incident.id, "2", ActionState.REQUESTED)
    assert built.woken == 1
    assert built.metric("incidents_open", model="mail", verdict="label_flip", severity="critical") == 1
    opened = {"incident": incident.id, "model": "mail", "version": "2", "verdict": "label_flip", "severity": "critical"}
    assert built.metric("incident_opened_timestamp_seconds", **opened) == incident.opened_at
    assert built.metric("evidence", model="mail", kind="class", name="spam") >= 1e4
    assert built.metric("models", state="watched") == 1
    assert built.metric("partition_assignments_total") == 1
    assert built.metric("records_polled_total") == built.pipeline.read


def test_a_second_run_goes_on_where_the_first_one_ended(house: Callable[..., House], tmp_path: Path) -> None:
    events = recording(3000, flip_from=2000)
    log = write(tmp_path / "mail.jsonl", events[:3500])
    house(log).run()
    write(log, events)
    second = house(log)
    assert second.run() == []
    assert second.metric("records_polled_total") == len(events) - 3500
    whole = (
        House(tmp_path / "whole", write(tmp_path / "mail.jsonl", events))
        if (tmp_path / "whole").mkdir() is None
        else None
    )
    assert whole is not None
    whole.run()
    watched = lambda built: {name: blob for name, blob in built.store.states().items() if name.startswith("watch/")}  # noqa: E731
    assert watched(second) == watched(whole)
    assert [incident.id for incident in second.store.incidents()] == [
        incident.id for incident in whole.store.incidents()
    ]
    whole.close()


def test_when_partitions_are_assigned_anew_reading_goes_on_where_it_was(
    house: Callable[..., House], tmp_path: Path
) -> None:
    """Not where the last commit was: what is in memory has counted more than that."""
    asked: list[Positions] = []
    log = write(tmp_path / "mail.jsonl", recording(200))
    built = house(log)
    start = built.source.start
    built.source.start = lambda positions: (asked.append(positions), start(positions))[1]  # type: ignore[method-assign]  # listens in
    built.loop.start()
    built.loop.turn()
    partition = Partition(str(log), 0)
    assert built.store.offsets() == {}
    assert asked[0]([partition, Partition("foreign", 0)]) == {partition: built.pipeline.read}


def test_an_incident_ends_with_the_detectors_that_stood_behind_it(house: Callable[..., House], tmp_path: Path) -> None:
    log = write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000))
    house(log).run()
    changed = house(log)
    states = changed.store.states()
    epoch = changed.store.epochs()[WHOLE]
    changed.store.commit(
        Commit(epoch=epoch, forget=[name for name in states if name.startswith(("watch/", "baseline/"))])
    )
    changed.run()
    assert [incident.status for incident in changed.store.incidents()] == ["resolved"]


def test_a_model_that_goes_silent_is_reported_and_resolved_when_it_speaks(
    house: Callable[..., House], tmp_path: Path
) -> None:
    events = recording(200)
    log = write(tmp_path / "mail.jsonl", events)
    built = house(log)
    built.loop.start()
    while not built.source.finished:
        built.loop.turn()
    built.now += 601
    built.loop.due.silence.set()
    built.loop.due.commit.set()
    built.loop.turn()
    assert [(i.verdict, i.problem) for i in built.pipeline.incidents.firing()] == [(Verdict.SILENCE, Problem.SILENCE)]
    assert [message.transition.change for message in built.store.outbox.due(built.now, 10)] == [Change.OPENED]
    again = house(write(tmp_path / "more.jsonl", recording(50, model="mail", seed=9)))
    again.now = built.now
    again.loop.start()
    again.loop.turn()
    again.loop.due.silence.set()
    again.loop.turn()
    assert again.pipeline.incidents.firing() == []


@pytest.mark.parametrize("every", [3, 7])
def test_what_is_told_does_not_depend_on_kills(house: Callable[..., House], tmp_path: Path, every: int) -> None:
    """A killed process is one that is not asked to stop: what it had not committed is read and told again, once."""
    log = write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000))
    (tmp_path / "whole").mkdir()
    whole = House(tmp_path / "whole", log)
    whole.run()
    expected = told(whole)
    whole.close()
    killed = house(log)
    while not killed.source.finished:
        killed = house(log)
        killed.loop.start()
        for _ in range(every):
            if not killed.source.finished:
                killed.loop.turn()
        killed.loop.commit()
        if not killed.source.finished:
            killed.loop.turn()  # lost, unless it had something to tell
    assert told(killed) == expected
    assert expected
    assert "opened" in {change for change, _ in expected}
