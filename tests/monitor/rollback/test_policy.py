"""The policy: pure functions."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.incident import Attribution, Evidence, Incident, Severity, Status, Verdict
from monitor.detection.answers import Answers
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import Mode, RollbackConfig
from monitor.rollback.policy import (
    Case,
    Judged,
    Outcome,
    choose_target,
    consider,
    judge,
    limits,
    trouble_began,
    unsafe,
    worse,
)
from monitor.rollback.registry import UNREADABLE, ModelVersion
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import lie, serve

NOW = OPENED_AT + 300.0
HOUR = 3600.0
POISONED = {Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.CLEAN_LABEL, Verdict.SLOW_POISONING}


def proposal(**changes: Any) -> Action:
    fields: dict[str, Any] = {
        "incident": "i1",
        "model": "net-ids",
        "from_version": "1.2.0",
        "onset_low": OPENED_AT,
        "state": ActionState.PROPOSED,
        "requested_at": NOW,
        "updated_at": NOW,
        "to_version": "1.1.0",
        "reason": "Proposes ...",
    }
    return Action(**(fields | changes))


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


# Targets

BAD = ModelVersion("net-ids", "1.2.0", created=100.0, known_good_at=10.0)
GOOD = {"model": "net-ids", "version": "1.1.0", "created": 50.0, "known_good_at": 60.0}


def test_a_version_marked_before_the_onset_is_safe() -> None:
    assert unsafe(ModelVersion(**GOOD), BAD, 90.0) is None


@pytest.mark.parametrize(
    "flaw",
    [
        {"ready": False},
        {"revoked": True},
        {"known_good_at": None},
        {"known_good_at": 90.0},
        {"known_good_at": 91.0},
        {"created": 100.0},
        {"created": 101.0},
        {"version": "1.2.0"},
        {"created": 39.0},
        {"trained_until": 90.0},
        {"trained_until": float("inf")},
        {"inputs": ("shoe",)},
    ],
)
def test_one_flaw_makes_a_version_unsafe(flaw: dict[str, Any]) -> None:
    assert unsafe(ModelVersion(**(GOOD | flaw)), BAD, 90.0, 40.0, {"age"}) is not None


@pytest.mark.parametrize(
    ("inputs", "carried", "why"),
    [
        (None, {"age"}, None),
        (("age",), None, None),
        (("age",), {"age", "size"}, None),
        (("age", "shoe", "hat"), {"age", "size"}, "events do not carry what it needs: shoe, hat"),
        (UNREADABLE, {"age"}, "events do not carry what it needs: (inputs that nobody can read)"),
    ],
)
def test_a_version_needs_what_events_carry(
    inputs: tuple[str, ...] | None, carried: set[str] | None, why: str | None
) -> None:
    assert unsafe(ModelVersion(**GOOD, inputs=inputs), BAD, 90.0, carried=carried) == why


times = st.integers(0, 9).map(float)
histories = st.lists(
    st.builds(
        ModelVersion,
        model=st.just("net-ids"),
        version=st.sampled_from(["1", "2", "3", "4", "5", "6"]),
        created=times,
        ready=st.booleans(),
        known_good_at=st.none() | times,
        revoked=st.booleans(),
    ),
    unique_by=lambda version: version.version,
).map(lambda versions: sorted(versions, key=lambda version: -version.created))


@given(versions=histories, bad=st.integers(0, 5), onset=times)
def test_the_target_is_the_newest_safe_version(versions: list[ModelVersion], bad: int, onset: float) -> None:
    serving = versions[bad] if bad < len(versions) else BAD
    target = choose_target(versions, serving, onset)
    safe = [version for version in versions if unsafe(version, serving, onset) is None]
    assert (target is None) == (not safe)
    if target is not None:
        assert target in safe
        assert target.created == max(version.created for version in safe)


# Evidence


def answers(*, flipped: float = 0.5, **keys: Any) -> Answers:
    """Three versions, of which the third serves; `keys` are about that one."""
    told = Answers()
    serve(told, "1.0.0", OPENED_AT - 20 * HOUR)
    serve(told, "1.1.0", OPENED_AT - 10 * HOUR)
    serve(told, "1.2.0", OPENED_AT, flipped=flipped, **keys)
    return told


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


def test_data_that_is_in_trouble_needs_a_person() -> None:
    case = Case(incident(), answers(), troubles=("a partition is held",))
    assert limits(proposal(), case, [], RollbackConfig(), NOW) == ("a partition is held",)


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


def test_the_onset_is_no_later_than_the_first_answer_of_the_version_that_is_blamed() -> None:
    told = answers()
    case = Case(incident(), told)
    assert trouble_began(proposal(onset_low=OPENED_AT + 9.0), case) == incident().onset.low
    told.take("1.1.9", None, "ham", OPENED_AT - 5000.0)
    case = Case(incident(attribution=Attribution(version="1.1.9")), told)
    assert trouble_began(proposal(), case) == OPENED_AT - 5000.0


def test_a_target_that_was_wrong_as_often_is_no_cure() -> None:
    told = Answers()
    serve(told, "1.1.0", 1.0, flipped=0.3)
    serve(told, "1.2.0", 2.0, flipped=0.3)
    assert worse("1.1.0", "1.2.0", told, RollbackConfig()) is not None
    serve(told, "1.2.0", 2.0, flipped=0.5)
    assert worse("1.1.0", "1.2.0", told, RollbackConfig()) is None
    assert worse("1.0.0", "1.2.0", told, RollbackConfig()) is None


# Limits


def done(name: str, model: str, moved_at: float) -> Action:
    return proposal(incident=name, model=model, state=ActionState.MOVED, moved_at=moved_at)


@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        ([], None),
        ([done("a", "net-ids", NOW - 7 * HOUR)], None),
        ([done("a", "net-ids", NOW - 5 * HOUR)], "the last rollback was at"),
        ([done("a", "spam", NOW - 5 * HOUR)], None),
        ([done(name, "net-ids", NOW - 8 * HOUR) for name in "ab"], "the budget of 2 rollbacks of this model is spent"),
        ([done(name, "net-ids", NOW - 25 * HOUR) for name in "ab"], None),
        (
            [done(name, f"m{name}", NOW - 8 * HOUR) for name in "abc"],
            "the budget of 3 rollbacks of all models is spent",
        ),
    ],
)
def test_cooldown_and_budgets(moved: list[Action], reason: str | None) -> None:
    found = limits(proposal(), Case(incident(), answers()), moved, RollbackConfig(), NOW)
    assert len(found) == (reason is not None)
    assert all(told.startswith(str(reason)) for told in found)


def test_many_models_at_once_are_rather_a_fault_of_the_watch() -> None:
    case = Case(incident(), answers(), poisoned=3)
    assert limits(proposal(), case, [], RollbackConfig(), NOW) == ("3 models look poisoned at once",)


def test_a_freeze_window_holds_while_it_lasts() -> None:
    window = {"start": "2026-03-02T03:00:00", "end": "2026-03-02T04:00:00Z", "why": "the launch"}
    config = RollbackConfig.model_validate({"freeze": [window]})
    case = Case(incident(), answers())
    assert limits(proposal(), case, [], config, NOW) == ("the launch, until 2026-03-02 04:00",)
    assert limits(proposal(), case, [], config, NOW + HOUR) == ()


# Configuration


def test_without_a_configuration_nothing_is_ever_moved() -> None:
    assert RollbackConfig().mode_of("net-ids") is Mode.OBSERVE


def test_a_model_may_have_a_mode_of_its_own() -> None:
    config = RollbackConfig.model_validate({"mode": "propose", "models": {"net-ids": "auto"}})
    assert (config.mode_of("net-ids"), config.mode_of("spam")) == (Mode.AUTO, Mode.PROPOSE)


@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "always"},
        {"models": {"net-ids": {"mode": "auto"}}},
        {"cooldown": -1},
        {"max_age": 0},
        {"proposal_expires": 0},
        {"min_families": 0},
        {"min_confidence": 1},
        {"min_confidence": -0.1},
        {"modes": "auto"},
        {"witnesses": ["nobody"]},
        {"max_share": 0},
        {"approvals": 0},
        {"verify": "never"},
        {"freeze": [{"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}]},
    ],
)
def test_a_wrong_configuration_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RollbackConfig.model_validate(keys)
