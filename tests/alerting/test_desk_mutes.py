"""The desk: silences and maintenance windows hold back what they name."""

from alerting.incident import (
    Change,
    Verdict,
)
from alerting.mutes import MaintenanceWindow
from tests.kit.office import NOON, Office, judged, muting


def test_a_silence_is_told_and_holds_back_what_it_names_until_it_ends() -> None:
    office = Office()
    office.silences = [muting("model=mail")]
    assert office.tell(0) == [("opened", f"silence {office.silences[0].id}")]
    assert office.last().incident.verdict is Verdict.MUTED
    assert "ada" in (office.last().incident.action or "")
    assert office.happens(10, "mail", judged()) == []
    assert office.happens(20, "other", judged()) == [("opened", "other")]
    assert office.tell(99) == []
    assert office.tell(100) == [("resolved", f"silence {office.silences[0].id}"), ("opened", "mail")]
    assert office.tell(5000) == []


def test_what_ended_under_a_silence_is_never_told() -> None:
    office = Office()
    office.silences = [muting("model=mail")]
    office.happens(10, "mail", judged())
    office.happens(20, "mail", None)
    assert office.tell(100) == [("resolved", f"silence {office.silences[0].id}")]


def test_whoever_was_told_of_the_beginning_is_told_of_the_end() -> None:
    office = Office()
    office.happens(0, "mail", judged())
    office.silences = [muting("model=mail", at=5)]
    office.tell(5)
    assert office.happens(10, "mail", judged(version="3")) == []
    assert office.happens(20, "mail", None) == [("resolved", "mail")]


def test_critical_incidents_are_not_silenced_wholesale() -> None:
    office = Office()
    office.silences = [muting("severity=*"), muting("verdict=label_*"), muting("model=*"), muting("source!=x")]
    office.tell(0)
    assert office.happens(10, "mail", judged()) == [("opened", "mail")]
    assert office.happens(10, "web", judged(Verdict.COVARIATE_DRIFT)) == []


def test_a_silence_cannot_be_closed_away() -> None:
    office = Office()
    office.silences = [muting("model=mail")]
    office.tell(0)
    step = office.board.close(office.board.firing()[0].id, "mallory", NOON + 1)
    assert step is not None
    told = office.desk.tell([step], office.silences, NOON + 1).messages
    assert [each.change for each in told] == [Change.RESOLVED, Change.REOPENED]


def test_a_maintenance_window_holds_back_what_it_names() -> None:
    window = MaintenanceWindow(name="move", match=("model=mail",), start="12:00", end="13:00", days=(1,))
    office = Office(windows=[window])
    assert office.happens(0, "mail", judged()) == []
    assert office.tell(3599) == []
    assert office.tell(3600) == [("opened", "mail")]
