"""Routes: who is told of what, and that whoever heard of the beginning hears of the end."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.config import AlertingConfig, messages
from alerting.incident import Attribution, Change, Severity, Status, Transition, Verdict
from tests.kit.incidents import incident, opened, resolved

ROUTES = [
    {"match": ["severity=critical"], "receivers": ["pager"], "go_on": True},
    {"match": ["model=net-*", "verdict!=prior_shift"], "receivers": ["net"]},
    {"match": ["source=partner-*"], "receivers": ["partners", "net"]},
    {"environment": "staging", "receivers": ["staging"]},
]
NAMES = ("pager", "net", "partners", "staging", "everybody")


def config(*routes: dict[str, Any], **more: Any) -> AlertingConfig:
    receivers = [{"kind": "webhook", "name": name, "url": "https://example.com/"} for name in NAMES]
    return AlertingConfig.model_validate({"receivers": receivers, "routes": routes, **more})


def told(routed: AlertingConfig, *steps: Transition, heard: tuple[str, ...] = ()) -> list[str]:
    return [message.receiver for message in messages(routed, steps, 7.0, lambda _: heard)]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"severity": Severity.CRITICAL}, ["pager", "net"]),
        ({"severity": Severity.WARNING}, ["net"]),
        ({"severity": Severity.CRITICAL, "model": "mail"}, ["pager"]),
        (
            {"severity": Severity.WARNING, "model": "mail", "attribution": Attribution(source="partner-7")},
            ["net", "partners"],
        ),
        ({"severity": Severity.WARNING, "verdict": Verdict.PRIOR_SHIFT}, list(NAMES)),
        ({"severity": Severity.WARNING, "model": "mail"}, list(NAMES)),
    ],
)
def test_the_first_route_that_takes_an_incident_decides(changes: dict[str, Any], names: list[str]) -> None:
    assert told(config(*ROUTES), opened(**changes)) == names


def test_the_environment_is_matched_as_well() -> None:
    nowhere = {"severity": Severity.WARNING, "model": "mail"}
    assert told(config(*ROUTES, environment="staging"), opened(**nowhere)) == ["staging"]
    assert told(config(*ROUTES, environment="production"), opened(**nowhere)) == list(NAMES)


def test_without_routes_everybody_is_told() -> None:
    assert told(config(), opened()) == list(NAMES)


def test_who_heard_of_the_beginning_hears_of_the_end_whatever_the_verdict_is_by_then() -> None:
    routed = config({"match": ["verdict=silence"], "receivers": ["net"]}, {"receivers": ["pager"]})
    ended = resolved(2, verdict=Verdict.SILENCE)
    assert told(routed, ended) == ["net"]
    assert told(routed, ended, heard=("pager",)) == ["pager", "net"]
    # In one batch the beginning is not in the store yet.
    assert told(routed, opened(), ended) == ["pager", "pager", "net"]


def test_a_receiver_for_worse_things_hears_of_the_end_of_what_it_heard_of() -> None:
    receiver = {"kind": "webhook", "name": "pager", "url": "https://example.com/", "min_severity": "critical"}
    only = AlertingConfig.model_validate({"receivers": [receiver]})
    ended = resolved(3, severity=Severity.INFO)
    assert told(only, ended) == []
    assert told(only, ended, heard=("pager",)) == ["pager"]


patterns = st.sampled_from(["model=net-*", "model!=net-*", "severity=critical", "verdict=*flip", "source=?*"])
routes = st.lists(
    st.fixed_dictionaries(
        {
            "match": st.lists(patterns, max_size=3),
            "receivers": st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
            "go_on": st.booleans(),
        }
    ),
    max_size=5,
)


@given(
    routes,
    st.lists(
        st.tuples(st.sampled_from(Verdict), st.sampled_from(Severity), st.sampled_from(["net-ids", "mail"])), max_size=4
    ),
)
def test_nobody_is_left_without_an_end_and_somebody_hears_of_everything(
    rules: list[dict[str, Any]], life: list[tuple[Verdict, Severity, str]]
) -> None:
    steps = [
        Transition(Change.UPDATED, number, incident(verdict=verdict, severity=severity, model=model))
        for number, (verdict, severity, model) in enumerate(life, 1)
    ]
    last = incident() if not steps else steps[-1].incident
    over = Transition(Change.RESOLVED, 9, msgspec.structs.replace(last, status=Status.RESOLVED))
    made = messages(config(*rules), [*steps, over], 7.0)
    who = {step.number: {m.receiver for m in made if m.transition.number == step.number} for step in [*steps, over]}
    assert all(who.values())
    assert who[9] == set().union(*who.values())


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"receivers": ["nobody"]}, "a route leads to nobody"),
        ({"receivers": []}, "at least 1 item"),
        ({"match": ["modle=x"], "receivers": ["net"]}, "labels are model"),
        ({"match": ["model"], "receivers": ["net"]}, "label=pattern"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(route)
