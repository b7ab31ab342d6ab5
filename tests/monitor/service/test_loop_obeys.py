"""What others leave in the store for the loop: steps of rollbacks, decisions, silences."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from alerting.decision import Decision, Verb
from alerting.incident import Change, Plan, Transition, Verdict
from alerting.mutes import silence
from monitor.rollback.action import ActionState
from monitor.rollback.policy import advanced, consider
from tests.kit.house import House, told, write
from tests.kit.recording import recording


def test_what_the_executor_did_becomes_a_step_of_the_incident(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000)))
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


def test_a_rollback_is_asked_for_once(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000)))
    built.run()
    (incident,) = built.store.incidents()
    assert consider(incident, built.now) is not None
    built.shard.steps.append(Transition(Change.UPDATED, 2, incident))
    built.loop.commit()
    assert len(built.store.actions.all()) == 1


def test_what_people_decide_is_done_with_the_next_commit(house: Callable[..., House], tmp_path: Path) -> None:
    built = house(write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000)))
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
    log = write(tmp_path / "mail.jsonl", recording(3000, flip_from=2000))
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
