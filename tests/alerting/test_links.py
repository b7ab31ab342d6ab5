"""Links in messages."""

import math

import pytest
from hypothesis import given
from pydantic import ValidationError

from alerting.incident import Onset, Transition
from alerting.links import MAX_LINK, LinksConfig, links
from tests.kit.incidents import incident, transitions

EVERYTHING = LinksConfig(
    incident="https://tocsin.example/incidents/{incident}",
    dashboard="https://grafana.example/d/tocsin?var-model={model}&var-env={environment}&from={from_ms}&to={to_ms}",
    runbook="https://docs.example/runbook#{verdict}",
)


def test_the_incident_is_filled_in() -> None:
    assert links(EVERYTHING, incident(), "prod eu") == (
        ("Incident", "https://tocsin.example/incidents/0f3c9a1b2d4e"),
        (
            "Dashboard",
            "https://grafana.example/d/tocsin?var-model=net-ids&var-env=prod%20eu&from=1772416200000&to=1772424360000",
        ),
        ("Runbook", "https://docs.example/runbook#label_flip"),
    )


def test_what_no_calendar_holds_is_now() -> None:
    onset = Onset(math.nan, -math.inf, math.inf)
    ((_, address),) = links(
        LinksConfig(dashboard="https://g.example/?from={from_ms}&to={to_ms}"),
        incident(onset=onset, updated_at=math.inf),
        None,
    )
    assert address == "https://g.example/?from=now-6h&to=now"


@given(transitions())
def test_nothing_in_an_event_can_leave_its_place(transition: Transition) -> None:
    for label, address in links(EVERYTHING, transition.incident, "prod"):
        template = getattr(EVERYTHING, label.lower())
        assert len(address) <= MAX_LINK
        assert address.isascii()
        assert not set(address) & set(" <>\"'|\\\n")
        for mark in "/?&=#:":
            assert address.count(mark) == template.count(mark)


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "/x", "https://", "https://x/{modle}", "https://x/ y", "ftp://x"]
)
def test_a_link_that_is_none_is_refused(link: str) -> None:
    with pytest.raises(ValidationError):
        LinksConfig(dashboard=link)
