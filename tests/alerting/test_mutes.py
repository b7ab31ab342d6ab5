"""Silences and maintenance windows: what they may say, when they hold, and whom they may not hide."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.incident import Attribution, Incident, Severity, Verdict
from alerting.message import clean
from alerting.mutes import LONGEST, Label, MaintenanceWindow, Matcher, matcher, reaches, silence
from tests.kit.incidents import incident

DRIFT = incident(
    severity=Severity.WARNING, verdict=Verdict.COVARIATE_DRIFT, attribution=Attribution(source="src-3", labeler="lab-1")
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("model=net-ids", True),
        ("model=net-*", True),
        ("model=net", False),
        ("model!=net-ids", False),
        ("model!=other", True),
        ("version=1.?.0", True),
        ("verdict=covariate_drift", True),
        ("severity=warning", True),
        ("source=src-*", True),
        ("labeler!=lab-1", False),
    ],
)
def test_a_matcher_is_a_pattern_on_one_label(text: str, holds: bool) -> None:
    assert matcher(text).matches(DRIFT) is holds
    assert str(matcher(text)) == text
    assert reaches([matcher("model=*"), matcher(text)], DRIFT) is holds


@pytest.mark.parametrize("text", ["", "model", "model=", "=x", "colour=red", "model~x", "Model=x", "model =x"])
def test_what_is_no_matcher_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"a matcher is label=pattern") as caught:
        matcher(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=2000).filter(lambda text: "=" not in text))
def test_whatever_is_in_an_error_is_one_short_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"a matcher is") as caught:
        matcher(text)
    assert clean(str(caught.value), 250) == str(caught.value)


@given(
    st.lists(
        st.builds(Matcher, st.sampled_from(Label), st.sampled_from(["*", "**", "net-ids", "?*", "x"]), st.booleans())
    )
)
def test_nothing_hides_attacks_wholesale(matchers: list[Matcher]) -> None:
    critical: Incident = incident(attribution=Attribution(source="net-ids"))
    if reaches(matchers, critical):
        assert any(each.label in {"model", "source", "labeler"} and each.pattern.strip("*?") for each in matchers)
        assert all(each.matches(critical) for each in matchers)


def test_a_silence_says_what_who_until_when_and_why() -> None:
    made = silence(["model=net-ids"], author="ada\n<!channel>", comment="moving\x07 house", now=1e9, seconds=60)
    assert made.reason == (
        f"silence {made.id} on model=net-ids by ada <!channel> until 2001-09-09 01:47:40 UTC: moving house"
    )
    assert [made.active(ts) for ts in (1e9 - 1, 1e9, 1e9 + 59, 1e9 + 60)] == [False, True, True, False]
    assert made.judgement(1e9 + 60) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matchers": []}, "needs a matcher"),
        ({"matchers": ["x"]}, "a matcher is"),
        ({"author": " "}, "an author and a comment"),
        ({"comment": ""}, "an author and a comment"),
        ({"seconds": 0.0}, "lasts more than 0 seconds"),
        ({"seconds": LONGEST + 1}, "at most 30 days"),
        ({"seconds": float("nan")}, "lasts more than 0 seconds"),
    ],
)
def test_a_silence_that_nobody_could_account_for_is_refused(changes: dict[str, object], message: str) -> None:
    wanted = {"matchers": ["model=m"], "author": "ada", "comment": "why", "now": 0.0, "seconds": 60.0} | changes
    with pytest.raises(ValueError, match=message):
        silence(**wanted)  # type: ignore[arg-type]  # one of them is wrong on purpose


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(**settings: object) -> MaintenanceWindow:
    return MaintenanceWindow.model_validate({"name": "w", "match": ["model=net-*"]} | settings)


def test_a_window_every_night() -> None:
    night = window(start="22:30", end="02:00", days=[5])
    held = [
        night.mutes(DRIFT, at(f"2026-03-{moment}")) for moment in ("06T22:29:59", "06T22:30", "07T01:59", "07T02:00")
    ]
    assert held == [False, True, True, False]  # the 6th is a Friday
    assert not night.mutes(DRIFT, at("2026-03-05T23:00"))
    assert not night.mutes(incident(model="other"), at("2026-03-06T23:00"))


def test_a_window_once() -> None:
    once = window(start="2026-03-06T22:30:00", end="2026-03-07T02:00:00+01:00")
    assert [once.mutes(DRIFT, at(f"2026-03-{m}")) for m in ("06T22:29", "06T22:30", "07T00:59", "07T01:00")] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 120, "end": "03:00"}, "in quotes"),
        ({"start": "02:00", "end": "2026-03-07T02:00:00"}, "two moments, or two times"),
        ({"start": "2026-03-07T02:00:00", "end": "2026-03-06T02:00:00"}, "ends before it starts"),
        ({"start": "02:00", "end": "03:00", "match": ["colour=red"]}, "a matcher is"),
        ({"start": "02:00", "end": "03:00", "match": []}, "at least 1 item"),
        ({"start": "02:00", "end": "03:00", "days": [0]}, "greater than or equal to 1"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        window(**settings)
