"""The policy: what asks for a rollback, and whether the evidence is enough. Pure functions."""

from typing import Any

import msgspec
import pytest

from alerting.incident import Attribution, Evidence, Incident, Severity, Status, Verdict
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import (
    Case,
    Judged,
    Outcome,
    consider,
    judge,
)
from tests.kit.actions import proposal
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import answers, lie, serve

NOW = OPENED_AT + 300.0
HOUR = 3600.0
POISONED = {Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.CLEAN_LABEL, Verdict.SLOW_POISONING}


@pytest.mark.parametrize("verdict", Verdict)
def test_only_what_may_be_a_poisoned_model_is_looked_at(verdict: Verdict) -> None:
    assert (consider(incident(verdict=verdict), NOW) is not None) is (verdict in POISONED | {Verdict.LABEL_TAMPERING})


def test_what_is_asked_for_is_what_the_incident_says() -> None:
    told = incident()
    assert consider(told, NOW) == Action(
        incident=told.id,
        model="net-ids",
        from_version="1.2.0",
        onset_low=told.onset.low,
        state=ActionState.REQUESTED,
        requested_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"severity": Severity.WARNING},
        {"severity": Severity.INFO},
        {"status": Status.PENDING},
        {"status": Status.RESOLVED},
    ],
)
def test_nothing_is_asked_for_unless_it_is_critical_and_still_so(changes: dict[str, Any]) -> None:
    assert consider(incident(**changes), NOW) is None


def judged(
    told: Answers, *, about: Incident | None = None, now: float = NOW, action: Action | None = None, **keys: Any
) -> Judged:
    about = about or incident()
    asked = action or consider(about, now)
    assert asked is not None
    config = RollbackConfig.model_validate({"persistence": 0, "confirm": 0} | keys)
    return judge(asked, Case(about, told), config, now)


def test_a_model_that_all_witnesses_accuse_is_acted_on() -> None:
    found = judged(answers())
    assert (found.outcome, found.reasons, found.version) == (Outcome.ACT, (), "1.2.0")
    assert found.families == ("labels", "answers")


def test_labels_alone_are_not_enough() -> None:
    """Whoever writes labels can say of any model that it is wrong; its answers would not have moved."""
    told = answers(flipped=0.0)
    for number in range(200):
        told.take_label("1.2.0", f"src-{number % 5}", f"lab-{number % 4}", "ham", "spam")
    found = judged(told)
    assert found.outcome is Outcome.HOLD
    assert found.families == ("labels",)
    assert "2 families of evidence must agree, and only labels may be counted" in found.reasons
    assert judged(told, min_families=1).outcome is Outcome.ACT


def test_answers_alone_are_not_enough() -> None:
    found = judged(answers(labelled=False))
    assert (found.outcome, found.families) == (Outcome.HOLD, ("answers",))


@pytest.mark.parametrize(
    ("liar", "witness"),
    [({"labelers": ["lab-2"]}, "labeler"), ({"sources": ["src-1"]}, "source"), ({"sources": [None]}, "source")],
)
def test_one_witness_is_not_enough(liar: dict[str, Any], witness: str) -> None:
    found = judged(answers(**liar))
    assert found.outcome is Outcome.HOLD
    assert f"one {witness} gives too much of the evidence by labels" in found.reasons
    allowed = [other for other in ("source", "labeler") if other != witness]
    assert judged(answers(**liar), witnesses=allowed).outcome is Outcome.ACT


@pytest.mark.parametrize("kind", ["sources", "labelers"])
def test_names_that_were_invented_are_one_witness(kind: str) -> None:
    invented = {kind: [f"new-{number}" for number in range(40)]}
    found = judged(answers(**invented))
    assert f"one {kind[:-1]} gives too much of the evidence by labels" in found.reasons


@pytest.mark.parametrize("who", [{"labeler": "lab-2"}, {"source": "src-1"}])
def test_a_liar_is_named_and_the_stream_is_to_be_quarantined(who: dict[str, str]) -> None:
    told = answers(flipped=0.02)
    others = [f"{'src' if 'labeler' in who else 'lab'}-{number}" for number in range(5 if "labeler" in who else 4)]
    for number in range(120):
        other = {"source" if "labeler" in who else "labeler": others[number % len(others)]}
        lie(told, "1.2.0", 1, **(who | other))
    found = judged(told)
    assert found.outcome is Outcome.PASS
    (kind, name), *_ = who.items()
    assert found.reasons[0].startswith(f"quarantine {kind} {name} instead")


def test_tampered_labels_are_no_reason_for_another_model() -> None:
    told = incident(verdict=Verdict.LABEL_TAMPERING, attribution=Attribution(labeler="lab-2"))
    found = judged(answers(), about=told)
    assert found.outcome is Outcome.PASS
    assert found.reasons[0].startswith("quarantine labeler lab-2 instead")


def test_labels_that_are_kept_back_are_no_reason_for_another_model() -> None:
    missing = (Evidence("labels", "labels/missing/spam", 11.0, 0.9, 0.1),)
    told = incident(verdict=Verdict.LABEL_TAMPERING, attribution=Attribution(class_to="spam"), evidence=missing)
    found = judged(answers(), about=told)
    assert found.outcome is Outcome.PASS
    assert found.reasons[0].startswith("labels are kept back")


@pytest.mark.parametrize("confidence", [0.59, 0.0, None])
def test_a_verdict_that_may_well_be_another_is_held_whatever_else_is_known(confidence: float | None) -> None:
    doubtful = incident(confidence=confidence)
    found = judged(answers(), about=doubtful)
    assert (found.outcome, found.reasons) == (Outcome.HOLD, ("it is less than 60% sure that this is label_flip",))
    assert found.families == ("labels", "answers")
    assert judged(answers(), about=doubtful, min_confidence=0).outcome is Outcome.ACT


def test_a_verdict_that_is_sure_enough_is_acted_on() -> None:
    assert judged(answers(), about=incident(confidence=0.6)).outcome is Outcome.ACT
    assert judged(answers(), about=incident(confidence=0.94), min_confidence=0.95).outcome is Outcome.HOLD


def test_a_small_effect_is_held() -> None:
    assert judged(answers(flipped=0.3), min_effect=0.2).outcome is Outcome.ACT
    assert judged(answers(flipped=0.3), min_effect=0.4).outcome is Outcome.HOLD


def test_late_labels_of_the_version_before_do_not_accuse_this_one() -> None:
    told = answers(flipped=0.02)
    for number in range(400):
        told.take_label("1.1.0", f"src-{number % 5}", f"lab-{number % 4}", "ham", "spam")
    found = judged(told)
    assert found.outcome is Outcome.HOLD
    assert "labels do not say that 1.2.0 is worse than the versions before" in found.reasons


def test_a_version_with_few_labels_is_held() -> None:
    assert "fewer than 100 answers of 1.2.0 have labels" in judged(answers(count=90)).reasons


def test_without_versions_before_there_is_nothing_to_compare_with() -> None:
    told = Answers()
    serve(told, "1.2.0", OPENED_AT, flipped=0.5)
    assert judged(told).reasons[0] == "no earlier version has answered anything that could be compared"
    assert judged(Answers()).reasons == ("nothing has been answered yet",)


@pytest.mark.parametrize(
    ("keys", "now", "reason"),
    [
        ({"persistence": 60}, NOW, "it has lasted less than 60 seconds"),
        ({}, NOW + 901.0, "the newest event is more than 900 seconds old"),
        ({}, OPENED_AT - 3601.0, "events are ahead of the clock"),
    ],
)
def test_what_is_known_must_have_lasted_and_be_fresh(keys: dict[str, Any], now: float, reason: str) -> None:
    found = judged(answers(), now=now, **keys)
    assert (found.outcome, found.reasons) == (Outcome.HOLD, (reason,))


@pytest.mark.parametrize(
    ("flipped", "count", "reason"),
    [
        (0.5, 20, "fewer than 20 labels of this class have come since the first look"),
        (0.0, 100, "the labels that came since the first look do not say the same"),
        (0.5, 100, None),
    ],
)
def test_what_comes_after_the_first_look_has_to_say_the_same(flipped: float, count: int, reason: str | None) -> None:
    told = answers()
    first = judged(told, confirm=20)
    assert first.reasons == ("fewer than 20 labels of this class have come since the first look",)
    looked = msgspec.structs.replace(proposal(), looked=first.looked)
    serve(told, "1.2.0", OPENED_AT, flipped=flipped, count=count)
    assert judged(told, action=looked, confirm=20).reasons == (() if reason is None else (reason,))


def test_an_incident_that_is_over_needs_nothing() -> None:
    assert judge(proposal(), Case(None, answers()), RollbackConfig(), NOW) == Judged(Outcome.PASS)
