"""Which version may serve instead, as a pure function."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import Attribution
from monitor.detection.answers import Answers
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import (
    Case,
    choose_target,
    trouble_began,
    unsafe,
    worse,
)
from monitor.rollback.registry import UNREADABLE, ModelVersion
from tests.kit.actions import proposal
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import answers, serve

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
