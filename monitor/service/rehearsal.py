"""The rehearsal: every kind of attack, played in memory on recorded events, and what would have been said about it.

`tocsin drill` prints it. Nothing leaves the process: no incident is stored, nobody is told.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from alerting.incident import Change, Transition
from alerting.incidents import Incidents
from detectors.bets import Caution
from monitor.detection.attacks import ATTACKS, Attack
from monitor.detection.baseline import Baseline, BaselineError
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.scene import LEAST, Changes, Injected, Nothing, Scene
from monitor.detection.watch import Watch
from monitor.intake.decode import DecodeError, Decoder
from monitor.intake.events import Event, Label, Prediction, epoch
from monitor.intake.join import Join
from monitor.intake.source import Partition, Record
from monitor.service.replay import named, one_of

QUIET = 0.2
"""Share of the events that stays as it is before an attack begins."""
MOST = 1_000_000
"""Predictions that wait for their labels."""
BATCH = 500
_PLACE = Partition("drill", 0)
_TOLD = frozenset({Change.OPENED, Change.UPDATED, Change.REOPENED})

Line = dict[str, Any]


class Rehearsal:
    """Events of one model after its reference, and what happens to them without any attack."""

    def __init__(self, events: Sequence[Event], watch: Callable[[], Watch], seed: int = 1) -> None:
        """Run the events as they are, for comparison.

        Args:
            events: of one model, its labels among them, in their order.
            watch: makes a new watch of the model, with a baseline.
            seed: of the attacks' chance.

        Raises:
            BaselineError: there are too few events to begin with.
        """
        self._events = events
        self._watch = watch
        self._seed = seed
        self._begin = int(QUIET * len(events))
        if sum(isinstance(event, Prediction) for event in events[: self._begin]) < LEAST:
            raise BaselineError(f"{len(events)} events after the reference are too few for a drill")
        self._records = [_record(number, event) for number, event in enumerate(events)]
        self._clock = list(accumulate((epoch(event.ts) for event in events), max))
        """The largest time by each event: the order in which they came."""
        self._times = [epoch(event.ts) for event in events[self._begin :]]
        steps = self.steps({})
        self._usual = {_what(step) for step in steps}
        self.untouched = sum(step.change is Change.OPENED for step in steps)
        """Incidents in the events as they are."""

    def play(self, name: str, attack: Attack) -> Line:
        """Play one attack; say whether it was found, and after how many events."""
        line: Line = {"event": "attack", "attack": name, "wanted": sorted(attack.wanted)}
        try:
            injected = self.inject(attack)
        except Nothing as reason:
            return line | {"effective": False, "why": str(reason), "found": False}
        changed = [n for n, event in injected.changes.items() if _told_otherwise(self._events[n], event)]
        line |= {"changed": len(changed), "injected": msgspec.to_builtins(injected.culprit)}
        if len(changed) < LEAST:
            why = f"it would change {len(changed)} events, and less than {LEAST} are no attack"
            return line | {"effective": False, "why": why, "found": False}
        return line | {"effective": True} | self._judge(injected, attack, sorted(changed))

    def _judge(self, injected: Injected, attack: Attack, changed: Sequence[int]) -> Line:
        began = epoch(self._events[changed[0]].ts)
        steps = [step for step in self.steps(injected.changes) if step.change in _TOLD]
        new = [step for step in steps if _what(step) not in self._usual and step.incident.updated_at >= began]
        if not new:
            return {"found": False}
        at = new[0].incident.updated_at
        last = next(step.incident for step in reversed(steps) if step.incident.id == new[0].incident.id)
        return {
            "found": True,
            "events": bisect_right(self._times, at) - bisect_right(self._times, began) + 1,
            "hit": sum(epoch(self._events[number].ts) <= at for number in changed),
            "hours": round((at - began) / 3600.0, 3),
            "verdict": last.verdict.value,
            "exact": last.verdict in attack.wanted,
            "confidence": last.confidence,
            "attribution": msgspec.to_builtins(last.attribution),
        }

    def inject(self, attack: Attack) -> Injected:
        """What an attack would change of the events, once enough of them are past. Raises Nothing."""
        return attack.inject(Scene(self._events, self._begin, self._seed))

    def steps(self, changes: Changes) -> list[Transition]:
        """What would be told if these events stood in place of the recorded ones."""
        came = {number: (self._clock[number], record) for number, record in enumerate(self._records)}
        for number, event in changes.items():
            at, _ = came.pop(number)
            if event is not None:
                moved = event.ts != self._events[number].ts
                came[number] = epoch(event.ts) if moved else at, _record(number, event)
        records = [came[number][1] for number in sorted(came, key=lambda number: (came[number][0], number))]
        watch = self._watch()
        pipeline = Pipeline(
            Decoder(), Join(float("inf"), MOST, durable=False), {watch.model: watch}.get, Incidents(), _refuse
        )
        return [
            step for first in range(0, len(records), BATCH) for step in pipeline.process(records[first : first + BATCH])
        ]


def rehearse(
    events: Sequence[Event],
    baseline: Baseline,
    budget: float,
    *,
    attacks: Mapping[str, Attack] = ATTACKS,
    seed: int = 1,
    watch: Callable[[], Watch] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Line]:
    """Play every attack; yield a line for each, and the summary last.

    Args:
        events: of the baseline's model, after its reference.
        baseline: what is normal.
        budget: events per false incident.
        attacks: what to play, by name.
        seed: of the attacks' chance.
        watch: what is drilled; a watch as the daemon makes it unless something else is given.
        progress: called after each attack.

    Raises:
        BaselineError: there are too few events, or no attack can be played with them.
    """
    began = time.perf_counter()

    def usual() -> Watch:
        companions = Companions(())
        return Watch(
            baseline.model, budget=budget, baseline=baseline, until=Until(), caution=Caution(), companions=companions
        )

    rehearsal = Rehearsal(events, watch or usual, seed)
    lines = []
    for name, attack in attacks.items():
        lines.append(rehearsal.play(name, attack))
        yield lines[-1]
        progress()
    effective = [line for line in lines if line["effective"]]
    if not effective:
        raise BaselineError(f"{baseline.model}: no attack can be played with these events")
    yield {
        "event": "summary",
        "model": baseline.model,
        "baseline": baseline.digest,
        "events": len(events),
        "attacks": len(lines),
        "effective": len(effective),
        "found": sum(line["found"] for line in effective),
        "missed": [line["attack"] for line in effective if not line["found"]],
        "untouched_incidents": rehearsal.untouched,
        "seconds": round(time.perf_counter() - began, 3),
    }


def of_model(events: Sequence[Event], model: str | None) -> tuple[str, list[Event]]:
    """The events of one model, with the labels of its predictions. Raises BaselineError if it is not clear of which."""
    name = one_of({event.model for event in events if isinstance(event, Prediction)}, model)
    ids = {event.event_id for event in events if isinstance(event, Prediction) and event.model == name}
    mine = (event for event in events if (event.event_id in ids if isinstance(event, Label) else event.model == name))
    return name, list(mine)


def text_line(line: Line) -> str:
    """A line as a person reads it."""
    if line["event"] == "summary":
        text = "{found} of {effective} attacks found, {events} events, {seconds} s".format(**line)
        return f"{text}; MISSED: {', '.join(line['missed'])}" if line["missed"] else text
    head = f"{line['attack']:18}"
    if not line["effective"]:
        return f"{head} not played: {line['why']}"
    if not line["found"]:
        return f"{head} MISSED: {line['changed']} events were changed, and nothing was said"
    delay = "after {events} events, {hit} of {changed} changed ones, {hours:.1f} h".format(**line)
    return f"{head} {delay}  {line['verdict']}  {named(line['attribution'])}"


def _record(number: int, event: Event) -> Record:
    return Record(_PLACE, number, msgspec.json.encode(event), 0.0)


def _refuse(_record: Record, error: DecodeError) -> None:
    raise AssertionError(f"an event that was read before cannot be read again: {error}")


def _what(step: Transition) -> tuple[object, ...]:
    return step.change, step.incident.verdict, step.incident.updated_at


def _told_otherwise(before: Event, after: Event | None) -> bool:
    """Whether more than the version of an event was changed."""
    if isinstance(before, Prediction) and isinstance(after, Prediction):
        return replace(before, version=after.version) != after
    return before != after
