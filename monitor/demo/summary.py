"""What happened, read back from the parts themselves and not from what the story meant to do."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.table import Table

from monitor.demo.parts import PartError
from monitor.demo.receiver import Message
from monitor.demo.stage import MODEL, Stage
from monitor.demo.traffic import Outcome

Row = tuple[str, str, str]
"""What, its value, and where that was read."""


class Change(NamedTuple):
    """The promotion of the poisoned version."""

    sound: str
    """The version before."""
    poisoned: str


def incident_of(message: Message) -> dict[str, Any]:
    """Return the incident as the message's receiver got it."""
    incident: dict[str, Any] = message.body["tocsin"]["incident"]
    return incident


def alarm(messages: Sequence[Message]) -> Message | None:
    """Return the first message that calls for somebody at once."""
    return next((each for each in messages if incident_of(each)["severity"] == "critical"), None)


def end(messages: Sequence[Message]) -> Message | None:
    """Return the message that says it is over."""
    return next((each for each in messages if incident_of(each)["status"] == "resolved"), None)


def clock(ts: float) -> str:
    """Write a moment in UTC, as Tocsin's messages do."""
    return f"{datetime.fromtimestamp(ts, UTC):%H:%M:%S}"


def wrong(outcomes: Sequence[Outcome]) -> str:
    """Write the share of wrong answers."""
    return f"{sum(each.wrong for each in outcomes) / max(1, len(outcomes)):.1%} of {len(outcomes)}"


def table(stage: Stage, change: Change, alias_back_at: float) -> Table:
    """Read everything back and lay it out; the last column says where a line comes from.

    Args:
        stage: The running parts.
        change: What was promoted.
        alias_back_at: Epoch seconds at which the alias was seen at the sound version again.

    Raises:
        httpx.HTTPError: A part that should still be there does not answer.
        PartError: Something that the story has waited for is not in the record.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    for row in (*_alarm_rows(stage, change, alias_back_at), *_state_rows(stage)):
        table.add_row(*row)
    return table


def _alarm_rows(stage: Stage, change: Change, alias_back_at: float) -> list[Row]:
    outcomes = list(stage.traffic.outcomes)
    bad = [each for each in outcomes if each.version == change.poisoned]
    first, last = alarm(stage.receiver.messages), end(stage.receiver.messages)
    if not bad or first is None or last is None:
        raise PartError("the record of what happened is not complete")
    incident, told = incident_of(first), incident_of(last)
    began, ended = bad[0].ts, bad[-1].ts
    seen = sum(each.ts <= incident["opened_at"] for each in bad)
    return [
        ("Poisoned version", f"{change.poisoned}, served from {clock(began)} to {clock(ended)} UTC", "model server"),
        ("Incident opened", f"{incident['opened_at'] - began:.1f} s later, {seen} predictions in", "message"),
        ("Message arrived", f"{first.received_at - began:.1f} s later", "receiver"),
        ("Alias seen back", f"{alias_back_at - began:.1f} s later", "MLflow"),
        ("Its last answer", f"{ended - began:.1f} s later", "clinics"),
        ("First verdict", f"{incident['verdict']}: {_pair(incident)}", "message"),
        ("Last verdict", f"{told['verdict']}: {_pair(told)}", "message"),
        ("How sure of it", f"{incident['confidence']:.0%} at first, {told['confidence']:.0%} at last", "message"),
        ("Its reach", f"{_served(told, change.poisoned)} predictions are counted, {len(bad)} were served", "message"),
        ("Estimated onset", f"{incident['onset']['ts'] - began:+.1f} s from its first answer", "message"),
        ("What Tocsin did", str(told["action"]), "message"),
        ("Resolved", f"{last.received_at - first.received_at:.0f} s after the alarm", "receiver"),
        ("Wrong before", wrong([each for each in outcomes if each.ts < began]), "clinics"),
        (f"Wrong by version {change.poisoned}", wrong(bad), "clinics"),
        ("Wrong since", wrong([each for each in outcomes if each.ts > ended]), "clinics"),
    ]


def _served(incident: dict[str, Any], version: str) -> int:
    """How many predictions of a version the incident reaches."""
    return sum(each["predictions"] for each in incident["radius"]["versions"] if each["version"] == version)


def _pair(incident: dict[str, Any]) -> str:
    who = incident["attribution"]
    return f"{who['class_from']} taken for {who['class_to']}"


def _state_rows(stage: Stage) -> list[Row]:
    serving = stage.registry.serving()
    metric = stage.daemon.metric
    rollbacks = metric("tocsin_rollbacks_total", model=MODEL, state="moved")
    events = metric("tocsin_events_total", model=MODEL)
    messages = stage.receiver.messages
    return [
        ("Alias now", f"version {serving.number}, known good {serving.known_good_at}", "MLflow"),
        ("Served now", f"version {stage.served()}", "model server"),
        ("Rollbacks done", f"{rollbacks:.0f}", "/metrics"),
        ("Events read", f"{events:.0f}", "/metrics"),
        ("Messages", f"{len(messages)} signed, {stage.receiver.refused} refused", "receiver"),
    ]
