"""The life of an incident, on a timeline: at this second this is reported, at that second this is told."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import Attribution, Change, Judgement, Onset, Problem, Severity, Status, Verdict
from alerting.incidents import Incidents
from alerting.life import LifeConfig, worse


def judged(verdict: Verdict = Verdict.DATA_FAULT, severity: Severity = Severity.WARNING, **who: str) -> Judgement:
    return Judgement(verdict, severity, Onset(0.0, 0.0, 0.0), Attribution(**who), ())


class Timeline:
    """One problem of one model; every report and every look at the clock goes through here."""

    def __init__(self, **life: object) -> None:
        self.board = Incidents(life=LifeConfig.model_validate(life))
        self.told: list[tuple[float, Change]] = []

    def at(self, ts: float, judgement: Judgement | None = None) -> "Timeline":
        """Time passes up to `ts`; then the problem stands like this."""
        step = self.board.elapse("m", Problem.DETECTION, ts)
        report = self.board.report("m", "1", Problem.DETECTION, judgement, index=int(ts), ts=ts)
        for made in (step, report):
            if made is not None:
                self.told.append((made.incident.updated_at, made.change))
        return self

    def passes(self, ts: float) -> "Timeline":
        step = self.board.elapse("m", Problem.DETECTION, ts)
        if step is not None:
            self.told.append((step.incident.updated_at, step.change))
        return self


def test_at_once_if_nothing_else_is_configured() -> None:
    assert Timeline().at(10, judged()).at(20).told == [(10, Change.OPENED), (20, Change.RESOLVED)]


def test_a_judgement_that_does_not_last_is_never_told() -> None:
    timeline = Timeline(confirm={"warning": 30}).at(10, judged()).at(35).passes(500)
    assert timeline.told == []
    assert timeline.board.firing() == []
    assert timeline.board.find("m", Problem.DETECTION) is None


def test_a_judgement_that_lasts_is_told_as_of_when_it_was_due() -> None:
    timeline = Timeline(confirm={"warning": 30}).at(10, judged()).passes(39.9)
    assert timeline.told == []
    assert timeline.board.firing() == []
    timeline.passes(55)
    assert timeline.told == [(40, Change.OPENED)]
    (incident,) = timeline.board.firing()
    assert (incident.opened_at, incident.event_index, incident.status) == (40, 10, Status.FIRING)


def test_what_becomes_critical_is_not_confirmed_for_as_long() -> None:
    timeline = Timeline(confirm={"warning": 300}).at(10, judged())
    assert timeline.at(20, judged(severity=Severity.CRITICAL)).passes(21).told == [(10, Change.OPENED)]


def test_evidence_has_to_stay_away() -> None:
    timeline = Timeline(hold=60).at(10, judged()).at(100).at(130, judged()).at(200).at(210).passes(259)
    assert timeline.told == [(10, Change.OPENED)]
    assert timeline.passes(1000).told == [(10, Change.OPENED), (260, Change.RESOLVED)]


def test_what_comes_back_soon_is_the_same_incident() -> None:
    timeline = Timeline(reopen_within=100).at(10, judged()).at(20).at(120, judged())
    assert timeline.told == [(10, Change.OPENED), (20, Change.RESOLVED), (120, Change.REOPENED)]
    (incident,) = timeline.board.firing()
    assert (incident.reopened, incident.resolved_at, incident.opened_at, incident.event_index) == (1, None, 10, 10)


def test_what_comes_back_late_is_another_one() -> None:
    timeline = Timeline(reopen_within=100).at(10, judged()).at(20).at(121, judged())
    assert [change for _, change in timeline.told] == [Change.OPENED, Change.RESOLVED, Change.OPENED]


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        (judged(), judged(), True),
        (judged(), judged(Verdict.PERFORMANCE), False),
        (judged(source="s"), judged(Verdict.BACKDOOR, source="s"), True),
        (judged(source="s"), judged(Verdict.BACKDOOR, source="t"), False),
        (judged(labeler="l"), judged(Verdict.LABEL_TAMPERING, labeler="l"), True),
        (judged(class_from="a"), judged(Verdict.LABEL_FLIP, class_from="a"), True),
    ],
)
def test_only_what_is_akin_comes_back(was: Judgement, now: Judgement, same: bool) -> None:
    told = Timeline().at(10, was).at(20).at(30, now).told
    assert told[-1][1] is (Change.REOPENED if same else Change.OPENED)


def test_a_shared_feature_is_akin() -> None:
    was = Judgement(Verdict.DATA_FAULT, Severity.WARNING, Onset(0, 0, 0), Attribution(features=("a", "b")), ())
    now = Judgement(Verdict.COVARIATE_DRIFT, Severity.WARNING, Onset(0, 0, 0), Attribution(features=("b", "c")), ())
    assert Timeline().at(10, was).at(20).at(30, now).told[-1][1] is Change.REOPENED


def test_flapping_ends() -> None:
    """Ten bursts of ten seconds: without damping twenty messages, with it five."""
    timeline = Timeline(reopen_within=300, flapping_after=2, flapping_hold=120)
    for burst in range(10):
        timeline.at(100 + 40 * burst, judged()).at(110 + 40 * burst)
    timeline.passes(10_000)
    changes = [change for _, change in timeline.told]
    assert changes == ["opened", "resolved", "reopened", "resolved", "reopened", "resolved"]
    assert timeline.told[-1][0] == 110 + 40 * 9 + 120


def test_whoever_looks_after_it_is_called_back_when_it_becomes_worse() -> None:
    timeline = Timeline().at(10, judged())
    (incident,) = timeline.board.firing()
    step = timeline.board.acknowledge(incident.id, "ada")
    assert step is not None
    assert timeline.board.acknowledge(incident.id, "bob") is None
    timeline.at(20, judged(source="s"))
    assert timeline.board.firing()[0].status is Status.ACKNOWLEDGED
    timeline.at(30, judged(Verdict.BACKDOOR, Severity.CRITICAL, source="s"))
    assert (timeline.board.firing()[0].status, timeline.board.firing()[0].acknowledged_by) == (Status.FIRING, None)


def test_what_was_closed_by_hand_comes_back_if_something_new_alarms() -> None:
    timeline = Timeline().at(10, judged())
    step = timeline.board.close(timeline.board.firing()[0].id, "ada", 15.0)
    assert step is not None
    assert (step.change, step.incident.resolved_by, step.incident.resolved_at) == (Change.RESOLVED, "ada", 15.0)
    assert timeline.at(20).told == [(10, Change.OPENED)]
    assert timeline.at(30, judged()).told[-1] == (30, Change.REOPENED)


def test_the_clock_passes_for_what_has_no_events() -> None:
    board = Incidents(life=LifeConfig(confirm={Severity.WARNING: 30.0}, hold=10.0))
    for problem in (Problem.DETECTION, Problem.SILENCE, Problem.INTAKE):
        assert board.report("m", "1", problem, judged(), index=1, ts=100.0) is None
    told = [*board.tick(129.0), *board.tick(140.0)]
    assert [(step.incident.problem, step.incident.opened_at) for step in told] == [
        (Problem.INTAKE, 130.0),
        (Problem.SILENCE, 130.0),
    ]
    assert board.report("m", "1", Problem.SILENCE, None, index=1, ts=150.0) is None
    assert [step.incident.resolved_at for step in board.tick(161.0)] == [160.0]


reports = st.lists(
    st.tuples(
        st.floats(0.1, 60.0),
        st.none()
        | st.builds(judged, st.sampled_from([Verdict.DATA_FAULT, Verdict.BACKDOOR]), st.sampled_from(Severity)),
    ),
    max_size=25,
)
lives = st.fixed_dictionaries(
    {
        "confirm": st.dictionaries(st.sampled_from(["critical", "warning"]), st.sampled_from([0.0, 20.0, 50.0])),
        "hold": st.sampled_from([0.0, 30.0]),
        "reopen_within": st.sampled_from([0.0, 40.0, 400.0]),
        "flapping_after": st.sampled_from([1, 2]),
        "flapping_hold": st.sampled_from([0.0, 70.0]),
    }
)


@given(reports, lives, st.lists(st.floats(0.0, 1500.0), max_size=20))
def test_how_often_somebody_looks_does_not_matter(
    found: list[tuple[float, Judgement | None]], life: dict[str, object], looks: Iterable[float]
) -> None:
    """The clock may be looked at rarely or often, and the board may be stored and loaded between: it tells the same."""
    rare, often = Timeline(**life), Timeline(**life)
    ts, left = 0.0, sorted(looks)
    for gap, judgement in found:
        ts += gap
        while left and left[0] <= ts:
            often.passes(left.pop(0))
            often.board = reloaded(often.board, life)
        rare.at(ts, judgement)
        often.at(ts, judgement)
    assert often.passes(5000).told == rare.passes(5000).told
    assert often.board.firing() == rare.board.firing()


def reloaded(board: Incidents, life: dict[str, object]) -> Incidents:
    again = Incidents(board.firing(), LifeConfig.model_validate(life))
    again.restore(board.dump().values())
    return again


@pytest.mark.parametrize("worst", Severity)
def test_the_worse_of_two_severities(worst: Severity) -> None:
    ranks = list(Severity)
    for other in ranks[ranks.index(worst) :]:
        assert worse(worst, other) is worse(other, worst) is worst
