"""The desk on a timeline: what happens to incidents, and what people are told, when, and how often."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from alerting.desk import Desk, DeskConfig
from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Judgement,
    Onset,
    Problem,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.incidents import Incidents
from alerting.life import LifeConfig
from alerting.mutes import MaintenanceWindow, Silence, silence

NOON = 1_772_452_800.0
"""2026-03-02 12:00:00 UTC, a Monday."""


def judged(
    verdict: Verdict = Verdict.LABEL_FLIP, severity: Severity | None = None, began: float = NOON, **who: Any
) -> Judgement:
    attack = verdict in {Verdict.LABEL_FLIP, Verdict.BACKDOOR, Verdict.LABEL_TAMPERING}
    worst = severity or (Severity.CRITICAL if attack else Severity.WARNING)
    return Judgement(verdict, worst, Onset(began, began, began), Attribution(**who), ())


class Office:
    """A board and its desk; time is seconds since noon."""

    def __init__(
        self, *, windows: Sequence[MaintenanceWindow] = (), life: LifeConfig | None = None, **desk: Any
    ) -> None:
        self.life, self.config, self.windows = life, DeskConfig.model_validate(desk), windows
        self.board = Incidents(life=life)
        self.desk = Desk(self.board, self.config, windows)
        self.silences: list[Silence] = []
        self.told: list[tuple[float, Transition]] = []
        self._waiting: list[Transition] = []

    def report(self, at: float, model: str, judgement: Judgement | None, problem: Problem = Problem.DETECTION) -> None:
        """Something is judged; nothing is told before `tell`."""
        step = self.board.report(model, "1", problem, judgement, index=int(at), ts=NOON + at)
        if step is not None:
            self._waiting.append(step)

    def tell(self, at: float) -> list[tuple[str, str]]:
        """What is told now, as pairs of change and model."""
        waiting, self._waiting = self._waiting, []
        told = self.desk.tell(waiting, self.silences, NOON + at).messages
        self.told += [(at, step) for step in told]
        return [(step.change.value, step.incident.model) for step in told]

    def happens(self, at: float, model: str, judgement: Judgement | None, **kinds: Problem) -> list[tuple[str, str]]:
        self.report(at, model, judgement, **kinds)
        return self.tell(at)

    def restart(self) -> None:
        memory, threads = self.board.dump(), self.desk.dump()
        self.board = Incidents(self.board.firing(), self.life)
        self.board.restore(memory.values())
        self.desk = Desk(self.board, self.config, self.windows)
        self.desk.restore(threads.values())
        assert self.desk.dump() == threads

    def last(self) -> Transition:
        return self.told[-1][1]


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


def muting(*matchers: str, at: float = 0, seconds: float = 100) -> Silence:
    return silence(matchers, author="ada", comment="moving house", now=NOON + at, seconds=seconds)


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
