"""The board of incidents in random histories: one problem, one incident; steps are counted; nobody is told twice."""

from itertools import pairwise

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alerting.incident import (
    Attribution,
    Change,
    Evidence,
    Incident,
    Judgement,
    Onset,
    Problem,
    Severity,
    Status,
    Transition,
    Verdict,
)
from alerting.incidents import Incidents, incident_id
from alerting.life import LifeConfig, worse

models = st.sampled_from(["m1", "m2"])
problems = st.sampled_from(Problem)


def judgement(
    verdict: Verdict = Verdict.LABEL_FLIP,
    severity: Severity = Severity.CRITICAL,
    log_e: float = 12.0,
    onset: float = 900.0,
    **who: str,
) -> Judgement:
    return Judgement(
        verdict=verdict,
        severity=severity,
        onset=Onset(onset, onset - 10, onset + 10),
        attribution=Attribution(**who),
        evidence=(Evidence("performance", "confusion/a->b", log_e, 0.3, 0.1),),
    )


judgements = st.builds(
    judgement,
    st.sampled_from([Verdict.LABEL_FLIP, Verdict.PERFORMANCE]),
    st.sampled_from(Severity),
    st.sampled_from([12.0, 13.0, 14.0]),
    source=st.sampled_from(["s1", "s2"]),
)


class IncidentsMachine(RuleBasedStateMachine):
    """Every report goes to one board that lives through, and to one that is built anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Incidents()
        self.index = 0
        self.steps: dict[str, list[Transition]] = {}
        self.open: dict[tuple[str, Problem], Incident] = {}

    def told(self, step: Transition | None) -> None:
        if step is None:
            return
        incident = step.incident
        self.steps.setdefault(incident.id, []).append(step)
        place = incident.model, incident.problem
        if step.change is Change.RESOLVED:
            del self.open[place]
        else:
            assert (step.change in {Change.OPENED, Change.REOPENED}) == (place not in self.open)
            self.open[place] = incident

    @rule(model=models, problem=problems, found=judgements)
    def report(self, model: str, problem: Problem, found: Judgement) -> None:
        self.index += 1
        before = self.open.get((model, problem))
        step = self.board.report(model, "1.0.0", problem, found, index=self.index, ts=1000.0 + self.index)
        if before is not None:
            said = before.verdict, before.attribution, before.severity
            news = said != (found.verdict, found.attribution, worse(before.severity, found.severity))
            assert (step is not None) == news
        self.told(step)
        now = self.board.find(model, problem)
        assert now is not None
        assert (now.verdict, now.evidence, now.updated_at) == (found.verdict, found.evidence, 1000.0 + self.index)
        self.open[model, problem] = now

    @rule(model=models, problem=problems)
    def report_nothing(self, model: str, problem: Problem) -> None:
        self.index += 1
        before = self.board.find(model, problem)
        step = self.board.report(model, "1.0.0", problem, None, index=self.index, ts=1000.0 + self.index)
        held_open = before is not None and LifeConfig().patience(before) > 0.0  # it flaps
        assert (step is None) == (before is None or held_open)
        if held_open and (now := self.board.find(model, problem)) is not None:
            self.open[model, problem] = now
        if step is not None and before is not None:
            assert step.incident.id == before.id
            assert step.incident.resolved_at == 1000.0 + self.index
            assert step.incident.evidence == before.evidence
        self.told(step)

    @rule(data=st.data(), action=st.sampled_from(["rolled back", "refused"]))
    def act(self, data: st.DataObject, action: str) -> None:
        known = [*self.steps, "no-such-id"]
        incident = data.draw(st.sampled_from(known))
        now = next((held for held in self.open.values() if held.id == incident), None)
        step = self.board.act(incident, action)
        assert (step is not None) == (now is not None and now.action != action)
        self.told(step)
        assert self.board.act(incident, action) is None

    @rule(data=st.data(), by=st.sampled_from(["ada", "bob"]))
    def acknowledge(self, data: st.DataObject, by: str) -> None:
        incident = data.draw(st.sampled_from([*self.steps, "no-such-id"]))
        now = next((held for held in self.open.values() if held.id == incident), None)
        step = self.board.acknowledge(incident, by)
        assert (step is not None) == (now is not None and now.status is Status.FIRING)
        self.told(step)
        assert step is None or (step.incident.status, step.incident.acknowledged_by) == (Status.ACKNOWLEDGED, by)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.index += 1
        incident = data.draw(st.sampled_from([*self.steps, "no-such-id"]))
        was_open = any(held.id == incident for held in self.open.values())
        step = self.board.close(incident, "ada", 1000.0 + self.index)
        assert (step is not None) == was_open
        self.told(step)
        assert step is None or (step.incident.resolved_by, step.incident.acknowledged_by) == ("ada", None)

    @rule()
    def restart(self) -> None:
        """What the store holds: every incident as it stood last, and what else the board remembers."""
        last = {**{held.id: held for held in self.open.values()}}
        resolved = [steps[-1].incident for id_, steps in self.steps.items() if id_ not in last]
        memory = self.board.dump()
        self.board = Incidents([*resolved, *last.values()])
        self.board.restore(memory.values())
        assert self.board.dump() == memory

    @invariant()
    def one_open_incident_for_each_problem(self) -> None:
        firing = self.board.firing()
        assert {incident.id for incident in firing} == {incident.id for incident in self.open.values()}
        assert len({(incident.model, incident.problem) for incident in firing}) == len(firing)
        assert firing == sorted(firing, key=lambda incident: (incident.opened_at, incident.id))

    @invariant()
    def steps_are_counted_without_gaps(self) -> None:
        for steps in self.steps.values():
            assert [step.number for step in steps] == list(range(1, len(steps) + 1))
            assert [step.incident.transitions for step in steps] == [step.number for step in steps]
            assert [step for step in steps if step.change is Change.OPENED] == steps[:1]
            for before, after in pairwise(steps):
                assert (before.change is Change.RESOLVED) == (after.change is Change.REOPENED)
                assert (before.incident.status is Status.RESOLVED) == (before.change is Change.RESOLVED)
            assert len({step.id for step in steps}) == len(steps)

    @invariant()
    def nothing_becomes_less_severe(self) -> None:
        ranks = list(Severity)
        for steps in self.steps.values():
            seen = [ranks.index(step.incident.severity) for step in steps]
            assert seen == sorted(seen, reverse=True)


IncidentsMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestIncidents = IncidentsMachine.TestCase


def report(board: Incidents, found: Judgement | None, index: int, *, version: str = "1.0.0") -> Transition | None:
    return board.report("m1", version, Problem.DETECTION, found, index=index, ts=1000.0 + index)


def test_an_incident_opens_with_all_that_is_known() -> None:
    step = report(Incidents(), judgement(source="s1", version="1.2.0"), 7)
    assert step is not None
    assert step.change is Change.OPENED
    assert step.incident == Incident(
        id=incident_id("m1", Problem.DETECTION, 7),
        model="m1",
        version="1.2.0",
        verdict=Verdict.LABEL_FLIP,
        severity=Severity.CRITICAL,
        status=Status.FIRING,
        opened_at=1007.0,
        updated_at=1007.0,
        event_index=7,
        onset=Onset(900.0, 890.0, 910.0),
        attribution=Attribution(source="s1", version="1.2.0"),
        evidence=judgement().evidence,
        problem=Problem.DETECTION,
        transitions=1,
    )


def test_without_a_version_to_blame_an_incident_has_the_one_that_was_served() -> None:
    step = report(Incidents(), judgement(source="s1"), 7, version="3.1.0")
    assert step is not None
    assert step.incident.version == "3.1.0"


def test_more_evidence_is_kept_but_not_told() -> None:
    board = Incidents()
    report(board, judgement(log_e=12.0), 1)
    assert report(board, judgement(log_e=20.0), 2) is None
    assert board.firing()[0].evidence[0].log_e == 20.0


def test_an_incident_cannot_have_begun_after_it_was_opened() -> None:
    board = Incidents()
    report(board, judgement(onset=900.0), 1)
    report(board, judgement(onset=5000.0), 2)
    assert board.firing()[0].onset.ts == 900.0
    report(board, judgement(onset=850.0), 3)
    assert board.firing()[0].onset.ts == 850.0


def test_an_id_depends_on_what_it_names_and_on_nothing_else() -> None:
    places = [(m, p, i) for m in ("m1", "m2") for p in Problem for i in (0, 1)]
    assert len({incident_id(*place) for place in places}) == len(places)
    assert incident_id("m1", Problem.DETECTION, 5312) == "099a95925b42"


def test_an_incident_survives_the_wire() -> None:
    step = report(Incidents(), judgement(source="s1"), 7)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=Transition) == step
