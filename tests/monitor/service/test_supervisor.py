"""The supervisor: what may pass is begun anew, what will not ends, and both are told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from monitor.intake.quarantine import QuarantineError
from monitor.intake.source import SourceError
from monitor.service import supervisor as module
from monitor.service.loop import Loop
from monitor.service.supervisor import Supervisor
from monitor.store.store import StoreError


class Loops:
    """Stands in for what is supervised: each loop does what its turn in `plans` says."""

    ready = True

    def __init__(self, *plans: Callable[[], None], start: Callable[[], None] = lambda: None) -> None:
        self.plans = list(plans)
        self.opened = self.closed = 0
        self.start = start

    @contextmanager
    def open(self) -> Iterator[Loop]:
        self.opened += 1
        try:
            yield self  # type: ignore[misc]  # the part of a loop that is used
        finally:
            self.closed += 1

    def run(self, _stop: threading.Event, _beat: Callable[[], None]) -> None:
        self.plans.pop(0)()


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def well() -> None:
    pass


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)


def test_what_may_pass_is_begun_anew_and_counted() -> None:
    full = StoreError("store x: disk full", passing=True)
    loops = Loops(failing(full), failing(SourceError("Kafka: no")), failing(QuarantineError("q")), well)
    counted: list[str] = []
    beats: list[int] = []
    Supervisor(loops.open, count=counted.append).run(threading.Event(), lambda: beats.append(1))
    assert counted == ["store", "source", "quarantine"]
    assert loops.opened == loops.closed == 4
    assert len(beats) == 3


@pytest.mark.parametrize(
    "error", [StoreError("store x: state 'a' is damaged"), SourceError("made anew", passing=False)], ids=str
)
def test_what_will_not_pass_ends(error: Exception) -> None:
    loops = Loops(failing(error))
    with pytest.raises(type(error)):
        Supervisor(loops.open).run(threading.Event(), lambda: None)
    assert loops.closed == 1


def test_the_first_start_has_to_succeed() -> None:
    loops = Loops(start=failing(SourceError("cannot reach Kafka")))
    with pytest.raises(SourceError, match="cannot reach"):
        Supervisor(loops.open).run(threading.Event(), lambda: None)


def test_it_gives_up_when_failures_go_on_for_too_long_and_not_when_they_are_far_apart() -> None:
    now = 0.0

    def after(seconds: float) -> Callable[[], None]:
        def fail() -> None:
            nonlocal now
            now += seconds
            raise StoreError("store x: away", passing=True)

        return fail

    far = Loops(*[after(module.CALM + 1)] * 40, well)
    Supervisor(far.open, timer=lambda: now).run(threading.Event(), lambda: None)
    assert far.opened == 41
    near = Loops(*[after(module.CALM - 1)] * 40)
    with pytest.raises(StoreError, match="away"):
        Supervisor(near.open, timer=lambda: now).run(threading.Event(), lambda: None)
    assert near.opened == module.GIVE_UP // (module.CALM - 1) + 1


def test_why_nothing_is_read_can_be_asked_meanwhile() -> None:
    seen: list[str | None] = []
    stop = threading.Event()
    loops = Loops(lambda: seen.append(watched.unready()), failing(StoreError("store x: away", passing=True)))
    loops.plans = [lambda: (seen.append(watched.unready()), failing(StoreError("away", passing=True))())[0]]
    watched = Supervisor(loops.open)
    assert watched.unready() == "it has not begun to read yet"

    def beat() -> None:
        seen.append(watched.unready())
        stop.set()

    watched.run(stop, beat)
    assert seen == [None, "away"]


def test_a_stop_during_a_pause_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 1000.0)
    stop = threading.Event()
    loops = Loops(failing(StoreError("away", passing=True)))
    Supervisor(loops.open).run(stop, stop.set)
    assert loops.opened == loops.closed == 1
