"""The desk: incidents with one cause are one message, and a flood of them a digest."""

import random
from collections import Counter

import msgspec
import pytest

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Problem,
    Severity,
    Verdict,
)
from tests.kit.office import NOON, Office, judged


def test_inputs_that_break_are_one_page_whoever_was_seen_first_to_send_them() -> None:
    office = Office()
    for number, source in enumerate(["s1", "s2", None]):
        office.report(number, f"m{number}", judged(Verdict.DATA_FAULT, source=source, features=("amount",)))
        office.tell(number)
    assert [(step.change, step.incident.model) for _, step in office.told] == [(Change.OPENED, "m0")]


def test_labels_that_stay_away_from_several_models_are_one_page_and_inputs_that_break_another() -> None:
    office = Office()
    missing = (Evidence("labels", "labels/missing", 11.0, 0.9, 0.1),)
    for number in range(3):
        told = msgspec.structs.replace(judged(Verdict.DATA_FAULT), attribution=Attribution(), evidence=missing)
        office.happens(number, f"m{number}", told)
    office.happens(3, "m3", judged(Verdict.DATA_FAULT, features=("amount",)))
    told = [(step.change, step.incident.model) for _, step in office.told]
    assert [model for change, model in told if change is Change.OPENED] == ["m0", "m3"]


def test_one_labeler_over_five_models_is_one_page() -> None:
    office = Office()
    models = ["a", "b", "c", "d", "e"]
    told = [office.happens(i * 20, m, judged(Verdict.LABEL_TAMPERING, labeler="lab-2")) for i, m in enumerate(models)]
    assert told == [[("opened", "a")], [], [], [("updated", "a")], []]
    assert office.tell(120) == [("updated", "a")]
    related = tuple(f"{model} label_tampering" for model in "bcde")
    assert office.last().incident.related == related
    first = office.board.find("a", Problem.DETECTION)
    assert first is not None
    assert first.related == related  # its page names them too
    assert len({step.incident.id for _, step in office.told}) == 1
    # The first one ends, and the others go on: so does what people know.
    assert office.happens(200, "a", None) == [("updated", "b")]
    assert office.last().incident.id == office.told[0][1].incident.id
    for model in "bcd":
        office.report(300, model, None)
    assert office.tell(300) == [("updated", "c")]
    assert office.tell(360) == [("updated", "e")]
    assert office.happens(361, "e", None) == [("resolved", "e")]


def test_a_fault_of_the_pipeline_is_one_page_for_all_models() -> None:
    office = Office()
    for number in range(30):
        office.report(number, f"m{number}", judged(Verdict.DATA_FAULT, features=("amount",)))
    assert office.tell(30) == [("opened", "m0")]
    assert office.tell(91) == [("updated", "m0")]
    assert len(office.last().incident.related) == 21
    assert office.last().incident.related[-1] == "and 9 more"


def test_the_same_cause_much_later_is_another_page() -> None:
    office = Office(group_within=600)
    office.happens(0, "a", judged(Verdict.LABEL_TAMPERING, labeler="lab-2"))
    assert office.happens(601, "b", judged(Verdict.LABEL_TAMPERING, labeler="lab-2")) == [("opened", "b")]


def test_who_turns_out_to_have_another_cause_leaves_the_group() -> None:
    office = Office()
    office.report(0, "a", judged(Verdict.COVARIATE_DRIFT))
    office.happens(0, "b", judged(Verdict.COVARIATE_DRIFT))
    assert office.happens(10, "b", judged(Verdict.BACKDOOR, source="s")) == [("opened", "b")]
    assert office.last().incident.related == ()


def test_a_fault_hides_the_drift_that_it_causes_until_it_ends() -> None:
    office = Office()
    office.happens(0, "a", judged(Verdict.DATA_FAULT, source="s", features=("amount",)))
    assert office.happens(10, "b", judged(Verdict.COVARIATE_DRIFT, began=NOON + 5, features=("amount",))) == []
    assert office.happens(20, "c", judged(Verdict.BACKDOOR, features=("amount",))) == [("opened", "c")]
    assert office.happens(30, "d", judged(Verdict.COVARIATE_DRIFT, features=("age",))) == [("opened", "d")]
    # It is told with the other drift then, which may have the same cause.
    assert office.happens(300, "a", None) == [("resolved", "a"), ("updated", "b")]
    assert office.last().incident.related == ("d covariate_drift",)


def test_a_drift_that_began_before_the_fault_is_not_its_shadow() -> None:
    office = Office()
    office.happens(0, "a", judged(Verdict.DATA_FAULT, began=NOON, features=("amount",)))
    drift = judged(Verdict.COVARIATE_DRIFT, began=NOON - 900, features=("amount",))
    assert office.happens(10, "b", drift) == [("opened", "b")]


def test_models_fall_silent_while_a_partition_is_held() -> None:
    office = Office()
    fault = judged(Verdict.DATA_FAULT, Severity.CRITICAL, source="events[0]")
    office.happens(0, "events[0]", fault, problem=Problem.INTAKE)
    assert office.happens(10, "mail", judged(Verdict.SILENCE), problem=Problem.SILENCE) == []
    told = office.happens(20, "events[0]", None, problem=Problem.INTAKE)
    assert told == [("resolved", "events[0]"), ("opened", "mail")]


@pytest.mark.parametrize("causes", [1, 7, 400])
def test_ten_thousand_findings_a_minute_are_a_page_a_group_and_a_digest(causes: int) -> None:
    office = Office(pages=20)
    chance = random.Random(causes)
    for number in range(10_000):
        at = number * 0.006
        who = f"lab-{number % causes}"
        evidence = (Evidence("performance", "confusion/a->b", 12.0, 0.5, 0.1),)
        found = msgspec.structs.replace(
            judged(Verdict.LABEL_TAMPERING, labeler=who, class_from=f"c{chance.randrange(9)}"), evidence=evidence
        )
        office.report(at, f"model-{number % 2000}", found)
        if number % 100 == 99:
            office.tell(at)
    digests = [step for _, step in office.told if step.incident.verdict is Verdict.FLOOD]
    pages = [step for _, step in office.told if step.change is Change.OPENED and step not in digests]
    assert len(pages) == min(causes, 20)
    assert max(Counter(step.incident.id for step in pages).values()) == 1
    assert len(digests) == (causes > 20)
    assert len(office.told) <= 2 * len(pages) + len(digests)
    if digests:
        assert digests[0].incident.severity is Severity.CRITICAL
        assert "label_tampering" in (digests[0].incident.action or "")


def test_a_flood_drains_worst_first_and_ends() -> None:
    office = Office(pages=2, pages_within=600, digest_every=300)
    for number in range(4):
        office.report(number, f"minor-{number}", judged(Verdict.PERFORMANCE))
    office.report(5, "bad", judged())
    assert office.tell(6) == [("opened", "minor-0"), ("opened", "minor-1"), ("opened", "tocsin")]
    assert office.last().incident.evidence[0].observed == 3
    office.happens(100, "late", judged(Verdict.PERFORMANCE))
    assert office.tell(306) == [("updated", "tocsin")]
    assert office.last().incident.evidence[0].observed == 4
    told = [pair for at in range(700, 4000, 100) for pair in office.tell(at)]
    assert told[0] == ("opened", "bad")
    assert {model for change, model in told if change == "opened"} == {"bad", "minor-2", "minor-3", "late"}
    assert told[-1] == ("resolved", "tocsin")
