"""Replay: recorded events through the very path of the daemon, and what it would have said, line by line.

The lines are a contract that other tools rely on; see DESIGN.md, "Replay output".
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from alerting.incident import Change, Radius, Transition
from alerting.incidents import Incidents
from detectors.automatic import automatic
from detectors.bets import Caution
from monitor.detection.baseline import Baseline, BaselineError
from monitor.detection.companions import Companions
from monitor.detection.learning import build
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import Watch
from monitor.intake.decode import DecodeError, Decoder
from monitor.intake.events import Event, Features, Prediction
from monitor.intake.join import Join, Joined
from monitor.intake.source import EventSource, Record


class ReplayConfig(msgspec.Struct, frozen=True):
    """What a replay needs to know."""

    budget: float
    """Events per false incident."""
    baseline: Baseline | None
    until: Until
    """Where the reference ends, where no baseline is given."""
    label_ttl: float
    max_waiting: int


def replay(
    source: EventSource, config: ReplayConfig, warn: Callable[[str], None], progress: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Run all records of a finite source; yield a line for each transition, and the summary last.

    Args:
        source: started here, and read until it is finished.
        config: as the name says.
        warn: told of every record that is no event, and of every model that could not be tested, in one line.
        progress: called after each batch.
    """
    engine = automatic()

    def watch(model: str) -> Watch | None:
        if config.baseline is not None and config.baseline.model != model:
            return None
        return Watch(
            model,
            budget=config.budget,
            baseline=config.baseline,
            until=config.until,
            caution=Caution(),
            companions=Companions(()),
            engine=engine,
        )

    def reject(record: Record, error: DecodeError) -> None:
        warn(f"{record.partition.topic}:{record.offset + 1}: {error}")

    pipeline = Pipeline(
        Decoder(), Join(config.label_ttl, config.max_waiting, durable=False), watch, Incidents(), reject
    )
    began = time.perf_counter()
    incidents = 0
    source.start(lambda _partitions: {})
    while not source.finished:
        for transition in pipeline.process(source.poll(0.0)):
            incidents += transition.change is Change.OPENED
            yield line(transition)
        progress()
    for model, watched in pipeline.watches.items():
        if watched.bank is None:
            warn(f"{model}: the logs end before the reference does; nothing was tested")
    if config.baseline is not None and not pipeline.watches:
        warn(f"{config.baseline.model}: the baseline's model has no events in these logs; nothing was tested")
    kinds: Counter[str] = Counter()
    for (_, kind), count in pipeline.take_tally().events.items():
        kinds[kind] += count
    yield {
        "event": "summary",
        "models": len(pipeline.watches),
        "events": pipeline.read,
        "predictions": kinds["prediction"],
        "labels": kinds["label"],
        "incidents": incidents,
        "seconds": round(time.perf_counter() - began, 3),
    }


def read_events(source: EventSource, warn: Callable[[str], None], progress: Callable[[], None]) -> Iterator[Event]:
    """Read a finite source; yield its events, and warn of every record that is none, in one line."""
    decoder = Decoder()
    source.start(lambda _partitions: {})
    while not source.finished:
        for record in source.poll(0.0):
            try:
                yield decoder.decode(record)
            except DecodeError as error:
                warn(f"{record.partition.topic}:{record.offset + 1}: {error}")
        progress()


def learn(events: Iterable[Event], model: str | None, until: float) -> Baseline:
    """Learn a baseline of one model from the events before `until` (epoch seconds).

    Raises:
        BaselineError: there is no such model, or there are several and none was named, or too few events.
    """
    join = Join(float("inf"), 10_000_000, durable=False)
    predictions: dict[str, list[Prediction]] = {}
    labels: dict[str, list[Joined]] = {}
    for event in events:
        if event.epoch >= until or isinstance(event, Features):
            continue
        new, joined = (
            join.predict(event, event.epoch)
            if isinstance(event, Prediction)
            else (False, join.label(event, event.epoch))
        )
        if isinstance(event, Prediction) and new:
            predictions.setdefault(event.model, []).append(event)
        if joined is not None:
            labels.setdefault(joined.model, []).append(joined)
    name = one_of(predictions, model)
    return build(name, predictions[name], labels.get(name, []))


def one_of(models: Collection[str], wanted: str | None) -> str:
    """The model that is wanted, or the only one. Raises BaselineError if it is not there, or not clear which."""
    if not models:
        raise BaselineError("there are no predictions")
    name = next(iter(models)) if wanted is None and len(models) == 1 else wanted
    if name is None or name not in models:
        raise BaselineError(f"name one of the models: {', '.join(sorted(models))}")
    return name


def line(transition: Transition) -> dict[str, Any]:
    """One transition as the JSON object of the contract."""
    incident = transition.incident
    when = incident.opened_at if transition.change is Change.OPENED else incident.updated_at
    return {
        # One that comes back is open again: in the contract that is `opened` with the id that it had.
        "event": "opened" if transition.change is Change.REOPENED else transition.change.value,
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "verdict": incident.verdict.value,
        "severity": incident.severity.value,
        "ts": stamp(when),
        "event_index": incident.event_index,
        "onset": {
            "ts": stamp(incident.onset.ts),
            "low": stamp(incident.onset.low),
            "high": stamp(incident.onset.high),
        },
        "attribution": msgspec.to_builtins(incident.attribution),
        "evidence": msgspec.to_builtins(incident.evidence),
        "confidence": incident.confidence,
        "against": list(incident.against),
        "because": incident.because,
        "was": incident.was,
        "radius": None if incident.radius is None else _radius(incident.radius),
    }


def _radius(radius: Radius) -> dict[str, Any]:
    return {**msgspec.to_builtins(radius), "since": stamp(radius.since), "until": stamp(radius.until)}


def stamp(ts: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(ts, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(line: Mapping[str, Any]) -> str:
    """A line of the contract as a person reads it."""
    if line["event"] == "summary":
        return "{events} events, {incidents} incident{s}, {seconds} s".format(**line, s="s" * (line["incidents"] != 1))
    sure = "" if line["confidence"] is None else f" {line['confidence']:.0%}"
    what = f"{line['model']} {line['version']}  {line['verdict']}{sure}  {named(line['attribution'])}"
    return f"{line['ts']}  {line['event']:8}  {what}"


def named(attribution: Mapping[str, Any]) -> str:
    """Who or what an attribution names, as a person reads it."""
    who = {name: found for name, found in attribution.items() if found}
    return "; ".join(f"{name} {found if isinstance(found, str) else ', '.join(found)}" for name, found in who.items())
