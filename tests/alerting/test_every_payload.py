"""Ten thousand incidents that an attacker might wish for, through every payload there is."""

import pytest
from hypothesis import HealthCheck, example, given, settings

from alerting.incident import Attribution, Evidence, Radius, Served, Transition, Verdict
from tests.kit.incidents import opened, transitions
from tests.kit.payloads import (
    WORST,
    check_alertmanager,
    check_apprise,
    check_email,
    check_pagerduty,
    check_slack,
    check_webhook,
)

CHECKS = [check_alertmanager, check_apprise, check_pagerduty, check_slack, check_webhook]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_incidents() -> None:
    # All checks see the same incidents: to make them takes longer than to look at them.
    @settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(transitions())
    @example(WORST)
    def holds(transition: Transition) -> None:
        for check in CHECKS:
            check(transition)

    holds()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_incidents_by_mail() -> None:
    @settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(transitions())
    @example(WORST)
    def holds(transition: Transition) -> None:
        check_email(transition)

    holds()


@pytest.mark.parametrize("text", ["x", "\u202e", "<!channel>", "é", "😀", "&", '"', "\x00", "{0}"])
def test_a_megabyte_of_text_in_every_place(text: str) -> None:
    long = text * (1_000_000 // len(text))
    who = Attribution(long, long, (long,) * 3, long, long, long)
    evidence = (Evidence(long, long, 1.0, 0.5, 0.1),) * 3
    for check in (*CHECKS, check_email):
        said = {"action": long, "against": (long,) * 4, "because": long, "was": Verdict.PERFORMANCE}
        said["radius"] = Radius((long,), (long,), (long,), versions=(Served(long, 1),))
        check(opened(id=long, model=long, version=long, attribution=who, evidence=evidence, **said))
