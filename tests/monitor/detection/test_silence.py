"""Silence is judged by the arrival of events, on a clock that is passed in."""

from alerting.incident import Judgement, Severity, Verdict
from monitor.detection.silence import Silence


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_model_is_silent_after_the_limit_and_not_before() -> None:
    clock = Clock()
    silence = Silence(60.0, clock, clock)
    silence.hear(["m1"])
    clock.now += 59.9
    assert dict(silence.judge()) == {"m1": None}
    clock.now += 0.1
    found = dict(silence.judge())["m1"]
    assert isinstance(found, Judgement)
    assert (found.verdict, found.severity) == (Verdict.SILENCE, Severity.WARNING)
    assert found.onset.ts == 1000.0
    assert (found.evidence[0].observed, found.evidence[0].bound) == (60.0, 60.0)


def test_a_long_silence_is_critical() -> None:
    clock = Clock()
    silence = Silence(60.0, clock, clock)
    silence.hear(["m1"])
    for seconds, severity in ((359.0, Severity.WARNING), (1.0, Severity.CRITICAL)):
        clock.now += seconds
        found = dict(silence.judge())["m1"]
        assert found is not None
        assert found.severity is severity


def test_a_model_that_is_heard_again_is_well() -> None:
    clock = Clock()
    silence = Silence(60.0, clock, clock)
    silence.hear(["m1", "m2"])
    clock.now += 100.0
    silence.hear(["m2"])
    assert [(model, found is None) for model, found in silence.judge()] == [("m1", False), ("m2", True)]


def test_a_model_that_was_never_heard_of_is_not_judged() -> None:
    assert list(Silence(60.0, Clock()).judge()) == []


def test_setting_the_wall_clock_makes_nobody_silent() -> None:
    wall, timer = Clock(), Clock()
    silence = Silence(60.0, wall, timer)
    silence.hear(["m1"])
    wall.now += 365 * 86400.0
    assert dict(silence.judge()) == {"m1": None}
    wall.now -= 2 * 365 * 86400.0
    timer.now += 60.0
    found = dict(silence.judge())["m1"]
    assert found is not None
    assert found.onset.ts == wall.now - 60.0
