"""The policy: pure functions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.incident import Attribution, Evidence, Severity, Status, Verdict
from monitor.action import Action, ActionState
from monitor.registry import ModelVersion
from monitor.rollback import Mode, RollbackConfig, approve, choose_target, consider, is_safe
from tests.kit.incidents import OPENED_AT, incident

NOW = OPENED_AT + 300.0

ASKS = {Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.CLEAN_LABEL, Verdict.SLOW_POISONING}


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
def test_only_a_poisoned_model_asks_for_an_older_one(verdict: Verdict) -> None:
    assert (consider(incident(verdict=verdict), RollbackConfig(), NOW) is not None) is (verdict in ASKS)


def test_what_is_asked_for_is_what_the_incident_says() -> None:
    told = incident()
    assert consider(told, RollbackConfig(), NOW) == Action(
        incident=told.id,
        model="net-ids",
        from_version="1.2.0",
        onset_low=told.onset.low,
        state=ActionState.REQUESTED,
        requested_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    "changes", [{"severity": Severity.WARNING}, {"severity": Severity.INFO}, {"status": Status.RESOLVED}]
)
def test_nothing_is_asked_for_unless_it_is_critical_and_still_so(changes: dict[str, Any]) -> None:
    assert consider(incident(**changes), RollbackConfig(), NOW) is None


@pytest.mark.parametrize(
    ("verdict", "attributed", "expected"),
    [
        (Verdict.LABEL_FLIP, "1.1.5", "1.1.5"),
        (Verdict.LABEL_FLIP, None, "1.2.0"),
        (Verdict.SLOW_POISONING, "1.1.5", "1.2.0"),  # it began with 1.1.5, but 1.2.0 is what is served
    ],
)
def test_the_version_that_must_go(verdict: Verdict, attributed: str | None, expected: str) -> None:
    told = incident(verdict=verdict, attribution=Attribution(version=attributed))
    action = consider(told, RollbackConfig(), NOW)
    assert action is not None
    assert action.from_version == expected


@pytest.mark.parametrize(
    ("families", "needed", "asks"),
    [(["a"], 1, True), (["a", "a"], 2, False), (["a", "b"], 2, True), (["a", "b"], 3, False), ([], 1, False)],
)
def test_as_many_kinds_of_evidence_as_configured_must_agree(families: list[str], needed: int, asks: bool) -> None:
    evidence = tuple(Evidence(family, f"{family}/{number}", 9.0, 1.0, 0.0) for number, family in enumerate(families))
    asked = consider(incident(evidence=evidence), RollbackConfig(min_families=needed), NOW)
    assert (asked is not None) is asks


# Targets

BAD = ModelVersion("net-ids", "1.2.0", created=100.0, known_good_at=10.0)
GOOD = {"model": "net-ids", "version": "1.1.0", "created": 50.0, "known_good_at": 60.0}


def test_a_version_marked_before_the_onset_is_safe() -> None:
    assert is_safe(ModelVersion(**GOOD), BAD, 90.0)


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
    ],
)
def test_one_flaw_makes_a_version_unsafe(flaw: dict[str, Any]) -> None:
    assert not is_safe(ModelVersion(**(GOOD | flaw)), BAD, 90.0)


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
    safe = [version for version in versions if is_safe(version, serving, onset)]
    assert (target is None) == (not safe)
    if target is not None:
        assert target in safe
        assert target.created == max(version.created for version in safe)


# Approval


def test_an_approved_proposal_is_an_intent_that_names_who_approved() -> None:
    approved = approve(proposal(), by="ann", config=RollbackConfig(), now=NOW + 60.0)
    assert (approved.state, approved.to_version, approved.updated_at) == (ActionState.INTENDED, "1.1.0", NOW + 60.0)
    assert approved.reason == "Approved by ann at 2026-03-02 03:11:00 UTC."


@pytest.mark.parametrize(("late", "state"), [(-0.5, ActionState.INTENDED), (0.0, ActionState.REFUSED)])
def test_a_proposal_expires(late: float, state: ActionState) -> None:
    config = RollbackConfig(proposal_expires=1800.0)
    answered = approve(proposal(), by="ann", config=config, now=NOW + 1800.0 + late)
    assert answered.state is state
    if state is ActionState.REFUSED:
        assert answered.reason == "The proposal expired at 2026-03-02 03:40:00 UTC."


@pytest.mark.parametrize("state", sorted(frozenset(ActionState) - {ActionState.PROPOSED}))
def test_only_a_proposal_can_be_approved(state: ActionState) -> None:
    with pytest.raises(ValueError, match=f"incident i1 is {state}, not proposed"):
        approve(proposal(state=state), by="ann", config=RollbackConfig(), now=NOW)


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
        {"modes": "auto"},
    ],
)
def test_a_wrong_configuration_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RollbackConfig.model_validate(keys)
