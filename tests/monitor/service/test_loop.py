"""The loop: what it commits, what it reports, and what it does with partitions that give no events."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from alerting.decision import Decision, Verb
from alerting.desk import Desk, DeskConfig
from alerting.incident import Change, Plan, Problem, Transition, Verdict
from alerting.incidents import Incidents
from alerting.mutes import silence
from alerting.outbox import Message
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.pipeline import Pipeline
from monitor.detection.silence import Silence
from monitor.detection.watch import Until, Watch
from monitor.intake.decode import Decoder
from monitor.intake.file_source import FileSource
from monitor.intake.join import Join
from monitor.intake.quarantine import FilePublisher, FileQuarantine, InvalidRatio
from monitor.intake.source import Partition, Positions
from monitor.rollback.action import ActionState
from monitor.rollback.policy import advanced, consider
from monitor.service.gate import Gate
from monitor.service.loop import Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import PATIENCE, Shard, undivided
from monitor.store.store import Claim, Commit, Store
from monitor.store.tables import WHOLE
from monitor.telemetry.metrics import Metrics
from tests.kit.served_model import START, served


class House:
    """A loop with real parts around it; only the clock is the test's."""

    def __init__(self, folder: Path, *logs: Path) -> None:
        self.now = START
        self.woken = 0
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.store = Store(folder / "tocsin.db")
        self.source = FileSource(logs, max_records=100)
        self.quarantine = FileQuarantine(folder / "quarantine.jsonl")
        self.suspects = FilePublisher(folder / "suspects.jsonl")
        self.gate = Gate(self.quarantine, InvalidRatio(0.5, 200, 100), 0.5, metrics.reading, lambda: self.now)
        self.loop = Loop(
            self.source,
            undivided,
            self._shard,
            self.gate,
            self.store,
            Reactions(self._messages, consider, self._wake),
            Observer(metrics, self._clock),
            suspects=self.suspects,
            clock=self._clock,
        )

    def _clock(self) -> float:
        return self.now

    def _shard(self, name: str, claim: Claim) -> Shard:
        pipeline = Pipeline(
            Decoder(),
            Join(604_800.0, 100_000),
            lambda model: Watch(
                model,
                budget=1e4,
                baseline=None,
                until=Until(events=2000),
                caution=Caution(),
                companions=Companions(()),
            ),
            Incidents(claim.incidents),
            self.gate.reject,
        )
        desk, silence = Desk(pipeline.incidents, DeskConfig()), Silence(600.0, self._clock, self._clock)
        return Shard(name, claim, pipeline, desk, silence, clock=self._clock)

    @property
    def shard(self) -> Shard:
        return self.loop.shards[WHOLE]

    @property
    def pipeline(self) -> Pipeline:
        return self.shard.pipeline

    def _messages(self, transitions: Iterable[Transition], now: float) -> list[Message]:
        return [Message("hook", transition, now) for transition in transitions]

    def _wake(self) -> None:
        self.woken += 1

    def run(self) -> list[str]:
        self.loop.start()
        self.loop.run(threading.Event(), lambda: None)
        return self.shard.notes

    def metric(self, name: str, /, **labels: str) -> float:
        return self.registry.get_sample_value(f"tocsin_{name}", labels) or 0.0

    def close(self) -> None:
        self.quarantine.close()
        self.suspects.close()
        self.source.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(*logs: Path) -> House:
        made.append(House(tmp_path, *logs))
        return made[-1]

    yield make
    for built in made:
        built.close()


def write(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_what_a_run_decides_is_committed_together(house: Callable[..., House], tmp_path: Path) -> None:
    log = write(tmp_path / "mail.jsonl", served(3000, flip_from=2000))
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
    events = served(3000, flip_from=2000)
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
    log = write(tmp_path / "mail.jsonl", served(200))
    built = house(log)
    start = built.source.start
    built.source.start = lambda positions: (asked.append(positions), start(positions))[1]  # type: ignore[method-assign]  # listens in
    built.loop.start()
    built.loop.turn()
    partition = Partition(str(log), 0)
    assert built.store.offsets() == {}
    assert asked[0]([partition, Partition("foreign", 0)]) == {partition: built.pipeline.read}


def test_what_the_executor_did_becomes_a_step_of_the_incident(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", served(3000, flip_from=2000)))
    built.run()
    (action,) = built.store.actions.all()
    planned = advanced(
        replace(action, due_at=built.now + 600.0), ActionState.ANNOUNCED, "Will roll it back.", built.now
    )
    built.store.actions.save(planned)
    built.loop.commit()
    (incident,) = built.store.incidents()
    assert (incident.action, incident.plan) == ("Will roll it back.", Plan(incident.id, True, built.now + 600.0))
    built.store.actions.save(advanced(planned, ActionState.MOVED, "Rolled it back.", built.now))
    built.loop.commit()
    built.loop.commit()
    (incident,) = built.store.incidents()
    assert (incident.action, incident.plan, incident.transitions) == ("Rolled it back.", None, 3)
    assert built.woken == 3


def test_a_partition_that_gives_no_events_is_held_and_somebody_is_told(
    house: Callable[..., House], tmp_path: Path
) -> None:
    good = served(200)
    bad = write(tmp_path / "bad.jsonl", [*good[:50], *([b"{nonsense"] * 150), *good[50:]])
    built = house(bad, write(tmp_path / "good.jsonl", served(200, model="other")))
    built.run()
    (incident,) = built.store.incidents()
    assert (incident.problem, incident.verdict, incident.model) == (Problem.INTAKE, Verdict.DATA_FAULT, f"{bad}[0]")
    assert built.metric("partition_held", topic=str(bad), partition="0") == 1
    assert built.metric("events_total", model="other", kind="prediction") == 200
    kept = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert len(kept) == built.metric("quarantined_total") == built.metric("events_invalid_total", reason="not_json")
    assert [record["offset"] for record in kept] == list(range(50, 50 + len(kept)))


def test_a_held_partition_is_over_when_a_later_process_reads_events_from_it(
    house: Callable[..., House], tmp_path: Path
) -> None:
    log = write(tmp_path / "bad.jsonl", [*served(100), *([b"{nonsense"] * 200)])
    house(log).run()
    mended = [line.replace(b"{nonsense", b"null") for line in log.read_bytes().splitlines()]
    write(log, [*mended, *served(100, seed=2, model="other")])
    again = house(log)
    assert [incident.problem for incident in again.store.incidents(open_only=True)] == [Problem.INTAKE]
    again.run()
    assert again.pipeline.incidents.firing() == []
    assert [incident.status for incident in again.store.incidents()] == ["resolved"]


def test_an_incident_ends_with_the_detectors_that_stood_behind_it(house: Callable[..., House], tmp_path: Path) -> None:
    log = write(tmp_path / "mail.jsonl", served(3000, flip_from=2000))
    house(log).run()
    changed = house(log)
    states = changed.store.states()
    epoch = changed.store.epochs()[WHOLE]
    changed.store.commit(
        Commit(epoch=epoch, forget=[name for name in states if name.startswith(("watch/", "baseline/"))])
    )
    changed.run()
    assert [incident.status for incident in changed.store.incidents()] == ["resolved"]


def test_a_few_bad_records_and_tombstones_hold_nothing(house: Callable[..., House], tmp_path: Path) -> None:
    lines = [line for event in served(200) for line in (event, b"null")]
    built = house(write(tmp_path / "mail.jsonl", [*lines, b"[]"]))
    built.run()
    assert built.store.incidents() == []
    assert built.metric("quarantined_total") == 1
    assert built.metric("events_invalid_total", reason="tombstone") == len(lines) // 2


def test_a_model_that_goes_silent_is_reported_and_resolved_when_it_speaks(
    house: Callable[..., House], tmp_path: Path
) -> None:
    events = served(200)
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
    again = house(write(tmp_path / "more.jsonl", served(50, model="mail", seed=9)))
    again.now = built.now
    again.loop.start()
    again.loop.turn()
    again.loop.due.silence.set()
    again.loop.turn()
    assert again.pipeline.incidents.firing() == []


def test_a_rollback_is_asked_for_once(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", served(3000, flip_from=2000)))
    built.run()
    (incident,) = built.store.incidents()
    assert consider(incident, built.now) is not None
    built.shard.steps.append(Transition(Change.UPDATED, 2, incident))
    built.loop.commit()
    assert len(built.store.actions.all()) == 1


def told(built: House) -> list[tuple[str, str]]:
    """What is in the outbox, and delivered with this."""
    found = []
    while due := built.store.outbox.due(built.now, 1):
        found.append((due[0].transition.change.value, due[0].transition.incident.verdict.value))
        built.store.outbox.delivered(due[0], built.now)
    return found


def test_what_people_decide_is_done_with_the_next_commit(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", served(3000, flip_from=2000)))
    built.run()
    (incident,) = built.store.incidents()
    assert ("opened", "label_flip") in told(built)
    built.store.desk.decide(Decision("d1", incident.id, Verb.ACKNOWLEDGE, "ada", built.now))
    built.store.desk.decide(Decision("d2", "no-such-incident", Verb.RESOLVE, "ada", built.now))
    built.loop.commit()
    assert [left.id for left in built.store.desk.decisions()] == ["d2"]  # another shard may know that incident
    assert [(each.status, each.acknowledged_by) for each in built.store.incidents()] == [("acknowledged", "ada")]
    built.store.desk.decide(Decision("d3", incident.id, Verb.RESOLVE, "bob", built.now))
    built.loop.commit()
    assert [(each.status, each.resolved_by) for each in built.store.incidents()] == [("resolved", "bob")]
    assert told(built) == [("acknowledged", "label_flip"), ("resolved", "label_flip")]
    built.now += 3601
    built.loop.commit()
    assert built.store.desk.decisions() == []


def test_a_silence_holds_over_a_restart(house: Callable[..., House], tmp_path: Path) -> None:
    log = write(tmp_path / "mail.jsonl", served(3000, flip_from=2000))
    built = house(log)
    made = silence(["model=mail"], author="ada", comment="drill", now=built.now, seconds=600.0)
    built.store.desk.save(made)
    built.run()
    assert told(built) == [("opened", "muted")]
    assert {each.verdict for each in built.store.incidents()} == {Verdict.LABEL_FLIP, Verdict.MUTED}
    again = house(log)
    again.loop.start()
    again.now = built.now + 599
    again.loop.commit()
    assert told(again) == []
    again.now = built.now + 600
    again.loop.commit()
    assert sorted(told(again)) == [("opened", "label_flip"), ("resolved", "muted")]
    assert len(again.store.actions.all()) == 1  # who is not told is protected all the same


def take_time(built: House, seconds: float) -> None:
    """Let working through what waits take so long, by the clock of the test."""
    report = built.pipeline.report

    def late() -> list[Transition]:
        built.now += seconds if built.pipeline.waiting else 0.0
        return report()

    built.pipeline.report = late  # type: ignore[method-assign]  # only the time is made up


@pytest.fixture
def busy(house: Callable[..., House], tmp_path: Path) -> House:
    """Fifty models that take turns; working through what waits takes a tenth of a second, whatever waits."""
    lines = [
        b'{"kind":"features","event_id":"f%d","ts":%d,"model":"m%d","features":{}}' % (number, START, number % 50)
        for number in range(1050)
    ]
    built = house(write(tmp_path / "many.jsonl", lines))
    built.loop.start()
    take_time(built, 0.1)
    built.loop.turn()  # the first events wait for nothing
    assert not built.pipeline.waiting
    return built


def test_a_busy_stream_of_many_models_is_worked_through_together(busy: House) -> None:
    for _ in range(3):
        busy.loop.turn()
        busy.now += 0.03
    assert busy.pipeline.waiting
    busy.now += 0.02
    busy.shard.keep_pace()  # as every turn does
    assert not busy.pipeline.waiting
    assert busy.shard.pipeline.read == 400


def test_what_waits_is_worked_through_before_a_commit_which_is_no_work_itself(busy: House) -> None:
    busy.loop.turn()
    assert busy.pipeline.waiting
    busy.loop.commit()
    assert not busy.pipeline.waiting
    busy.loop.commit()
    busy.loop.turn()
    assert busy.pipeline.waiting


def test_a_replica_that_is_very_slow_has_patience_for_a_second(busy: House) -> None:
    busy.loop.turn()
    take_time(busy, 9.0)
    busy.loop.commit()
    busy.loop.turn()
    busy.now += 0.9 * PATIENCE
    busy.loop.turn()
    assert busy.pipeline.waiting
    busy.now += 0.2 * PATIENCE
    busy.shard.keep_pace()
    assert not busy.pipeline.waiting


def test_when_a_poll_is_not_full_nothing_waits(busy: House) -> None:
    while not busy.source.finished:
        busy.loop.turn()
    assert not busy.pipeline.waiting
    assert busy.shard.pipeline.read == 1050


@pytest.mark.parametrize("every", [3, 7])
def test_what_is_told_does_not_depend_on_kills(house: Callable[..., House], tmp_path: Path, every: int) -> None:
    """A killed process is one that is not asked to stop: what it had not committed is read and told again, once."""
    log = write(tmp_path / "mail.jsonl", served(3000, flip_from=2000))
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
