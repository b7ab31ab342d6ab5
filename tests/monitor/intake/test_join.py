"""The join against a slow and plain model of it, with reloads at any point."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.intake.events import Label, Prediction
from monitor.intake.join import Join, Joined, Unmatched

TTL = 50.0
MOST = 4

names = st.sampled_from("abcdefgh")
models = st.sampled_from(["m1", "m2"])
steps = st.sampled_from([0.0, 1.0, 7.0, 20.0, 49.0, 51.0, -3.0, -60.0])


def prediction(event_id: str, ts: float, model: str = "m1", **more: Any) -> Prediction:
    return Prediction(event_id, ts, model, "1.0.0", {}, more.pop("prediction", "x"), **more)


def label(event_id: str, ts: float, **more: Any) -> Label:
    return Label(event_id, ts, more.pop("label", "x"), **more)


@dataclass
class Kept:
    event: Any
    ts: float
    labelled: bool = False


@dataclass
class Model:
    """What the join is meant to do, by searching lists."""

    now: float = float("-inf")
    waiting: list[Kept] = field(default_factory=list)
    early: list[Kept] = field(default_factory=list)
    counts: Counter[Unmatched] = field(default_factory=Counter)

    def predict(self, event: Prediction) -> tuple[bool, tuple[str, str] | None]:
        self.see(event.epoch)
        if any(kept.event.event_id == event.event_id for kept in self.waiting):
            self.counts[Unmatched.DUPLICATE_PREDICTION] += 1
            return False, None
        kept = Kept(event, event.epoch)
        self.waiting.append(kept)
        found = [early for early in self.early if early.event.event_id == event.event_id]
        self.early = [early for early in self.early if early.event.event_id != event.event_id]
        joined = self.match(kept, found[0].event) if found else None
        self.trim()
        return True, joined

    def label(self, event: Label) -> tuple[str, str] | None:
        self.see(event.epoch)
        found = [kept for kept in self.waiting if kept.event.event_id == event.event_id]
        if found:
            return self.match(found[0], event)
        if any(kept.event.event_id == event.event_id for kept in self.early):
            self.counts[Unmatched.DUPLICATE_LABEL] += 1
            return None
        self.counts[Unmatched.EARLY] += 1
        self.early.append(Kept(event, event.epoch))
        self.trim()
        return None

    def match(self, kept: Kept, event: Label) -> tuple[str, str] | None:
        if event.model not in {None, kept.event.model}:
            self.counts[Unmatched.OTHER_MODEL] += 1
            return None
        if kept.labelled:
            self.counts[Unmatched.DUPLICATE_LABEL] += 1
            return None
        kept.labelled = True
        return str(kept.event.prediction), str(event.label)

    def see(self, ts: float) -> None:
        if ts > self.now:
            self.now = ts
            self.trim()

    def trim(self) -> None:
        for kept, expired in ((self.waiting, Unmatched.UNLABELLED_EXPIRED), (self.early, Unmatched.EARLY_EXPIRED)):
            while kept and (kept[0].ts < self.now - TTL or len(kept) > MOST):
                oldest = kept.pop(0)
                if not oldest.labelled:
                    self.counts[expired if oldest.ts < self.now - TTL else Unmatched.EVICTED] += 1


class JoinMachine(RuleBasedStateMachine):
    """Every event goes to the join and to the model; a reload goes to the join only, and must not be noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.join = Join(TTL, MOST)
        self.model = Model()
        self.clock = 1000.0
        self.serial = 0
        self.counts: Counter[Unmatched] = Counter()
        self.segments: list[bytes] = []
        self.predicted = self.labels = self.joins = 0

    def next(self, step: float) -> tuple[float, str]:
        self.clock += step
        self.serial += 1
        return self.clock, str(self.serial)

    def check(self, found: Joined | None, expected: tuple[str, str] | None) -> None:
        assert (found is None) == (expected is None)
        if found is not None:
            self.joins += 1
            assert (found.prediction, found.label) == expected

    @rule(event_id=names, model=models, step=steps)
    def predict(self, event_id: str, model: str, step: float) -> None:
        ts, serial = self.next(step)
        event = prediction(event_id, ts, model, prediction=serial)
        new, joined = self.join.predict(event, event.epoch)
        expected_new, expected = self.model.predict(event)
        assert new == expected_new
        self.predicted += new
        self.check(joined, expected)

    @rule(event_ids=st.lists(names, min_size=1, max_size=4), model=models, step=steps)
    def predict_all(self, event_ids: list[str], model: str, step: float) -> None:
        events = []
        for event_id in event_ids:
            ts, serial = self.next(step)
            events.append(prediction(event_id, ts, model, prediction=serial))
        if not self.join.predict_all(events, [event.epoch for event in events]):
            return
        for event in events:
            assert self.model.predict(event) == (True, None)
        self.predicted += len(events)

    @rule(event_id=names, model=st.none() | models, step=steps)
    def label(self, event_id: str, model: str | None, step: float) -> None:
        ts, serial = self.next(step)
        event = label(event_id, ts, model=model, label=serial)
        self.labels += 1
        self.check(self.join.label(event, event.epoch), self.model.label(event))

    @rule()
    def commit(self) -> None:
        blob = self.join.take_changes()
        if blob is not None:
            self.segments.append(blob)
        assert self.join.take_changes() is None

    @rule()
    def write_anew(self) -> None:
        self.segments = [self.join.take_whole()]
        assert self.join.take_changes() is None

    @rule()
    def reload(self) -> None:
        self.commit()
        self.counts += self.join.unmatched
        self.join = Join(TTL, MOST)
        for blob in self.segments:
            self.join.restore(blob)
        self.join.unmatched.clear()
        assert self.join.take_changes() is None

    @invariant()
    def bounded(self) -> None:
        assert len(self.join) <= MOST
        assert len(self.join._early) <= MOST

    @invariant()
    def the_same(self) -> None:
        assert self.counts + self.join.unmatched == +self.model.counts
        assert [(name, kept.labelled) for name, kept in self.join._waiting.items()] == [
            (kept.event.event_id, kept.labelled) for kept in self.model.waiting
        ]
        assert list(self.join._early) == [kept.event.event_id for kept in self.model.early]

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each prediction ends in one join or one count, or still waits; and so does each label."""
        counts = self.counts + self.join.unmatched
        gone = counts[Unmatched.UNLABELLED_EXPIRED] + counts[Unmatched.EARLY_EXPIRED] + counts[Unmatched.EVICTED]
        wait = sum(not kept.labelled for kept in self.join._waiting.values()) + len(self.join._early)
        refused = counts[Unmatched.OTHER_MODEL] + counts[Unmatched.DUPLICATE_LABEL]
        assert self.predicted + self.labels == 2 * self.joins + gone + wait + refused


JoinMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestJoin = JoinMachine.TestCase


def test_predictions_are_taken_together_unless_one_is_special() -> None:
    def taken(ids: str, times: list[float], *, first: str = "", early: str = "") -> bool:
        join = Join(TTL, MOST)
        for event_id in first:
            join.predict(prediction(event_id, 1000.0), 1000.0)
        for event_id in early:
            join.label(label(event_id, 1000.0), 1000.0)
        return join.predict_all([prediction(*each) for each in zip(ids, times, strict=True)], times)

    assert taken("ab", [1001.0, 1000.0], first="c", early="d")
    assert not taken("aa", [1001.0, 1002.0])
    assert not taken("ab", [1001.0, 1002.0], first="a")
    assert not taken("ab", [1001.0, 1002.0], early="b")
    assert not taken("ab", [1001.0, 1001.0 + TTL + 1.0])  # the first has to go
    assert not taken("ab", [1001.0 + TTL, 1001.0 + TTL], first="c")
    assert not taken("abc", [1001.0] * 3, first="de")  # more than MOST


def test_a_join_says_who_predicted_and_who_labelled_and_when() -> None:
    join = Join(TTL, MOST)
    join.predict(prediction("e1", 1000.0, source="src", prediction="spam"), 1000.0)
    assert join.label(label("e1", 1010.0, label="ham", labeler="lab"), 1010.0) == Joined(
        model="m1",
        version="1.0.0",
        source="src",
        prediction="spam",
        predicted_at=1000.0,
        label="ham",
        labeler="lab",
        labelled_at=1010.0,
        event_id="e1",
    )


def test_a_label_that_comes_first_waits_for_its_prediction() -> None:
    join = Join(TTL, MOST)
    assert join.label(label("e1", 1000.0), 1000.0) is None
    new, joined = join.predict(prediction("e1", 1003.0), 1003.0)
    assert new
    assert joined is not None
    assert (joined.predicted_at, joined.labelled_at) == (1003.0, 1000.0)
    assert join.unmatched == {Unmatched.EARLY: 1}


def test_a_label_is_taken_until_the_very_end_of_the_wait() -> None:
    join = Join(TTL, MOST)
    join.predict(prediction("in", 1000.0), 1000.0)
    assert join.label(label("in", 1000.0 + TTL), 1000.0 + TTL) is not None
    join.predict(prediction("out", 2000.0), 2000.0)
    assert join.label(label("out", 2000.0 + TTL + 0.001), 2000.0 + TTL + 0.001) is None
    assert join.unmatched[Unmatched.UNLABELLED_EXPIRED] == 1


@given(st.lists(st.tuples(st.sampled_from("pl"), names), max_size=40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_join_restored_after_any_prefix_goes_on_alike(events: list[tuple[str, str]], cut: int) -> None:
    def run(join: Join, part: list[tuple[str, str]], start: int) -> list[Joined | None]:
        joins = []
        for ts, (kind, event_id) in enumerate(part, start):
            if kind == "p":
                joins.append(join.predict(prediction(event_id, ts), ts)[1])
            else:
                joins.append(join.label(label(event_id, ts), ts))
        return joins

    whole, first, second = Join(TTL, MOST), Join(TTL, MOST), Join(TTL, MOST)
    run(first, events[:cut], 0)
    blob = first.take_changes()
    if blob is not None:
        second.restore(blob)
    assert run(whole, events, 0)[cut:] == run(second, events[cut:], cut)


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_stored_is_a_small_multiple_of_what_is_kept(labelled: bool) -> None:
    """However long the labels are waited for, and however often the process is started again."""
    join, stored, largest = Join(1e9, 1000), [], 0
    for ts in range(20_000):
        join.predict(prediction(f"e{ts}", ts), ts)
        if labelled:
            join.label(label(f"e{ts}", ts), ts)
        if ts % 50 == 0:
            stored = [join.take_whole()] if join.sparse else [*stored, join.take_changes()]
            largest = max(largest, sum(map(len, stored)))
        if ts % 3000 == 0:
            join = Join(1e9, 1000)
            for blob in stored:
                join.restore(blob)
    assert len(join) == 1000
    assert largest < 4 * len(join.take_whole())


def test_what_nobody_takes_is_not_kept() -> None:
    join = Join(TTL, MOST, durable=False)
    for ts in range(1000):
        join.predict(prediction(f"e{ts}", ts), ts)
    assert not join._steps
