"""The desk on a timeline: what happens to incidents, and what people are told, when, and how often."""

import random

from alerting.incident import (
    Change,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.life import LifeConfig
from tests.kit.office import NOON, Office, judged, muting


def test_one_problem_is_told_from_its_beginning_to_its_end() -> None:
    office = Office()
    assert office.happens(0, "mail", judged()) == [("opened", "mail")]
    assert office.tell(1) == []
    assert office.happens(100, "mail", judged(version="2")) == [("updated", "mail")]
    assert office.happens(200, "mail", None) == [("resolved", "mail")]
    assert [step.id for _, step in office.told] == [f"{office.last().incident.id}-{n}" for n in (1, 2, 3)]


def test_what_opened_and_ended_within_one_turn_is_told_all_the_same() -> None:
    office = Office()
    office.report(0, "mail", judged())
    assert office.happens(5, "mail", None) == [("opened", "mail"), ("resolved", "mail")]


def test_changes_that_follow_each_other_soon_are_told_together() -> None:
    office = Office(update_every=60)
    office.happens(0, "mail", judged())
    for second in range(1, 60):
        assert office.happens(second, "mail", judged(class_from=str(second))) == []
    assert office.tell(60) == [("updated", "mail")]
    assert office.last().incident.attribution.class_from == "59"
    assert office.tell(200) == []


def test_what_changes_in_the_turn_in_which_it_begins_is_told_once_as_it_stands() -> None:
    office = Office()
    office.report(0, "mail", judged(Verdict.COVARIATE_DRIFT, source="s"))
    office.report(1, "mail", judged(Verdict.BACKDOOR, source="s", class_to="ham"))
    assert office.tell(2) == [("opened", "mail")]
    assert (office.last().incident.verdict, office.last().incident.severity) == (Verdict.BACKDOOR, Severity.CRITICAL)
    assert office.tell(100) == []


def test_what_becomes_worse_is_told_at_once() -> None:
    office = Office(update_every=60)
    office.happens(0, "mail", judged(Verdict.COVARIATE_DRIFT, source="s"))
    assert office.happens(1, "mail", judged(Verdict.BACKDOOR, source="s")) == [("updated", "mail")]
    assert office.last().incident.severity is Severity.CRITICAL


def test_what_tocsin_does_is_told_at_once() -> None:
    office = Office(update_every=60)
    office.happens(0, "mail", judged())
    step = office.board.act(office.board.firing()[0].id, "rolled back")
    assert step is not None
    assert [told.change for told in office.desk.tell([step], (), NOON + 1).messages] == [Change.ACTED]


def test_it_is_told_again_until_somebody_acknowledges_it() -> None:
    office = Office(remind_every={"critical": 3600})
    office.happens(0, "mail", judged())
    assert office.tell(3599) == []
    assert office.tell(3600) == [("reminded", "mail")]
    assert office.tell(3700) == []
    assert office.tell(7200) == [("reminded", "mail")]
    step = office.board.acknowledge(office.board.firing()[0].id, "ada")
    assert step is not None
    assert [told.change for told in office.desk.tell([step], (), NOON + 7300).messages] == [Change.ACKNOWLEDGED]
    assert office.tell(90_000) == []
    assert office.told[-1][1].number == 3


def test_what_comes_back_is_told_under_the_id_that_people_know() -> None:
    office = Office()
    office.happens(0, "mail", judged())
    office.happens(10, "mail", None)
    office.restart()
    assert office.happens(20, "mail", judged()) == [("reopened", "mail")]
    assert [step.number for _, step in office.told] == [1, 2, 3]


def test_an_id_stands_for_all_that_is_told_under_it() -> None:
    office = Office()
    for model in "abc":
        office.report(0, model, judged(Verdict.LABEL_TAMPERING, labeler="lab-2"))
    office.tell(0)
    ids = {incident.model: incident.id for incident in office.board.firing()}
    assert office.desk.members(ids["a"]) == [ids["a"], ids["b"], ids["c"]]
    assert office.desk.members(ids["b"]) == [ids["b"]]
    assert office.desk.members("nobody") == ["nobody"]


def test_nothing_is_kept_of_what_is_over() -> None:
    office = Office(life=LifeConfig(reopen_within=0.0), pages_within=10.0)
    for number in range(50):
        office.happens(number, "m", judged(Verdict.BACKDOOR, source=f"invented-{number}"))
        office.happens(number, "m", judged(Verdict.BACKDOOR, source=f"invented-{number}-too"))
        office.happens(number, "m", None)
    office.tell(1000)
    assert office.desk.dump() == {}
    assert len(office.desk._by_cause) == 0


def test_a_restart_changes_nothing() -> None:
    def run(restarts: bool) -> list[tuple[float, Transition]]:
        office = Office(pages=3, life=LifeConfig(reopen_within=120.0))
        office.silences = [muting("model=m3", seconds=500)]
        chance = random.Random(7)
        for second in range(900):
            model = f"m{chance.randrange(8)}"
            if chance.random() < 0.1:
                verdict = chance.choice([Verdict.LABEL_TAMPERING, Verdict.DATA_FAULT, Verdict.PERFORMANCE])
                office.report(second, model, judged(verdict, labeler=chance.choice([None, "lab-1", "lab-2"])))
            elif chance.random() < 0.5:
                office.report(second, model, None)
            if second % 5 == 0:
                office.tell(second)
                if restarts and second % 35 == 0:
                    office.restart()
        return office.told

    told = run(restarts=False)
    assert run(restarts=True) == told
    assert {step.change for _, step in told} >= {Change.OPENED, Change.UPDATED, Change.RESOLVED}
    assert len({step.id for _, step in told}) == len(told)
    for _, step in told:
        assert step.incident.status is not Status.PENDING
