"""Commands about incidents and silences. They work on the store; the running daemon takes up what they leave there."""

import re
import time
from typing import Annotated
from uuid import uuid4

import msgspec
import typer

from alerting.decision import Decision, Verb
from alerting.incident import Incident, Status
from alerting.message import clean, instant
from alerting.mutes import silence
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show

incidents_app = typer.Typer(
    help="See incidents, look after them, close them.", no_args_is_help=True, rich_markup_mode=None
)
silence_app = typer.Typer(help="Hold back messages for a while.", no_args_is_help=True, rich_markup_mode=None)

IncidentArgument = Annotated[str, typer.Argument(help="Its id; a beginning that fits one incident is enough.")]
ByOption = Annotated[str, typer.Option(help="Who says so, for the record.")]

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_RECENT = 1000
"""Incidents among which an id is looked for."""


@incidents_app.command("list", epilog="Example: tocsin incidents list --all --output json --config tocsin.yaml")
def incidents_list(
    config: ConfigOption,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 100,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print open incidents, the newest first."""
    from monitor.service import app as daemon  # noqa: PLC0415 - the other commands do without half of the imports

    with config_errors(output), daemon.stored(config) as (_, store):
        for incident in store.incidents(open_only=not everything, limit=limit):
            who = incident.attribution
            named = [clean(name, 60) for name in (who.source, who.labeler, *who.features) if name]
            columns = [incident.id, incident.status, incident.severity, instant(incident.opened_at)]
            sure = "" if incident.confidence is None else f" {incident.confidence:.0%}"
            columns += [clean(f"{incident.model} {incident.version}", 80), incident.verdict + sure, ", ".join(named)]
            show(msgspec.to_builtins(incident), "  ".join(columns).rstrip(), output)


@incidents_app.command("show", epilog="Example: tocsin incidents show 2d753e90b55d --config tocsin.yaml")
def incidents_show(incident: IncidentArgument, config: ConfigOption, output: OutputOption = Output.TEXT) -> None:
    """Print all that is known of one incident."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `incidents_list`

    with config_errors(output), daemon.stored(config) as (_, store):
        found = _find(store.incidents(limit=_RECENT), incident)
        facts = msgspec.to_builtins(found)
        lines = [f"{name:>16}  {clean(_text(fact), 500)}" for name, fact in facts.items() if fact not in (None, "", [])]
        show(facts, "\n".join(lines), output)


@incidents_app.command("ack", epilog="Example: tocsin incidents ack 2d753e90b55d --by ada --config tocsin.yaml")
def incidents_ack(
    incident: IncidentArgument, by: ByOption, config: ConfigOption, output: OutputOption = Output.TEXT
) -> None:
    """Say that somebody looks after an incident. Reminders end, and it calls again only if it becomes worse."""
    _decide(incident, Verb.ACKNOWLEDGE, by, config, output)


@incidents_app.command("resolve", epilog="Example: tocsin incidents resolve 2d753e90b55d --by ada --config tocsin.yaml")
def incidents_resolve(
    incident: IncidentArgument, by: ByOption, config: ConfigOption, output: OutputOption = Output.TEXT
) -> None:
    """Close an incident by hand; it comes back if something new alarms."""
    _decide(incident, Verb.RESOLVE, by, config, output)


@silence_app.command(
    "add",
    epilog="Example: tocsin silence add model=net-ids 'verdict=*drift' --for 2h --by ada --comment 'new scanner' "
    "--config tocsin.yaml",
)
def silence_add(
    matchers: Annotated[
        list[str],
        typer.Argument(
            help="Conditions, all of which must hold: label=pattern or label!=pattern; * is any text. Labels are "
            "model, version, verdict, severity, source, labeler, incident. Critical incidents are held back only by "
            "conditions of which one names a model, a source, a labeler or an incident."
        ),
    ],
    duration: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 7d; at most 30d.")],
    by: ByOption,
    comment: Annotated[str, typer.Option(help="Why, for the record.")],
    config: ConfigOption,
    output: OutputOption = Output.TEXT,
) -> None:
    """Hold back messages about incidents for a while. That it begins and ends is told."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `incidents_list`

    with config_errors(output), daemon.stored(config) as (_, store):
        try:
            made = silence(matchers, author=by, comment=comment, now=time.time(), seconds=_seconds(duration))
        except ValueError as error:
            fail(str(error))
        store.desk.save(made)
        show({"id": made.id, **msgspec.to_builtins(made)}, made.reason, output)


@silence_app.command("list", epilog="Example: tocsin silence list --all --output json --config tocsin.yaml")
def silence_list(
    config: ConfigOption,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print silences, the one that ends soonest first."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `incidents_list`

    with config_errors(output), daemon.stored(config) as (_, store):
        for found in store.desk.silences(float("-inf") if everything else time.time()):
            ended = f" (ended by {clean(found.expired_by, 60)})" if found.expired_by else ""
            show({"id": found.id, **msgspec.to_builtins(found)}, found.reason + ended, output)


@silence_app.command("expire", epilog="Example: tocsin silence expire 9c1e42aa --by ada --config tocsin.yaml")
def silence_expire(
    which: Annotated[str, typer.Argument(metavar="SILENCE", help="Its id.")],
    by: ByOption,
    config: ConfigOption,
    output: OutputOption = Output.TEXT,
) -> None:
    """End a silence before its time. What it held back and still fires is told."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `incidents_list`

    with config_errors(output), daemon.stored(config) as (_, store):
        now = time.time()
        found = [active for active in store.desk.silences(now) if active.id == which]
        if not found:
            fail(f"no silence {clean(which, 60)} is in force")
        ended = msgspec.structs.replace(found[0], ends_at=now, expired_by=clean(by, 100))
        store.desk.save(ended)
        show({"id": ended.id, **msgspec.to_builtins(ended)}, f"silence {ended.id} has ended", output)


def _decide(incident: str, verb: Verb, by: str, config: ConfigOption, output: Output) -> None:
    from monitor.service import app as daemon  # noqa: PLC0415 - see `incidents_list`

    with config_errors(output), daemon.stored(config) as (_, store):
        found = _find(store.incidents(limit=_RECENT), incident)
        if found.status is Status.RESOLVED:
            fail(f"incident {found.id} is resolved")
        if not by.strip():
            fail("--by is empty: somebody will want to know who it was")
        decision = Decision(uuid4().hex, found.id, verb, clean(by, 100), time.time())
        store.desk.decide(decision)
        text = f"{verb} {found.id} ({clean(found.model, 60)} {found.verdict}): the daemon does it with its next commit"
        show(msgspec.to_builtins(decision), text, output)


def _find(incidents: list[Incident], wanted: str) -> Incident:
    found = [incident for incident in incidents if wanted and incident.id.startswith(wanted)]
    if len(found) != 1:
        fail(f"{'no' if not found else 'more than one'} incident is called {clean(wanted, 60)}")
    return found[0]


def _seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhd])", duration)
    if found is None:
        fail(f"{clean(duration, 60)}: a duration is a number with m, h or d, for example 2h")
    return float(found[1]) * _UNITS[found[2]]


def _text(fact: object) -> str:
    return fact if isinstance(fact, str) else msgspec.json.encode(fact).decode()
