"""Commands about rollbacks. They work on the store; the running daemon takes up what they leave there."""

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from alerting.message import clean
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show
from monitor.rollback.action import OPEN_STATES, Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.rollback.config import RollbackConfig

rollback_app = typer.Typer(
    help="See rollbacks, decide about them, stop them.", no_args_is_help=True, rich_markup_mode=None
)

IncidentArgument = Annotated[str, typer.Argument(help="The incident whose rollback it is.")]
ByOption = Annotated[str, typer.Option(help="Who says so, for the record.")]
ModelArgument = Annotated[str, typer.Argument(help="A model; * for all of them.")]


@rollback_app.command("status", epilog="Example: tocsin rollback status --config tocsin.yaml")
def rollback_status(config: ConfigOption, output: OutputOption = Output.TEXT) -> None:
    """Print rollbacks that incidents asked for, and what stops any."""
    from monitor.service import app as daemon  # noqa: PLC0415 - the other commands do without half of the imports

    with config_errors(output), daemon.stored(config) as (_, store):
        for stop in store.stops.all():
            show(msgspec.to_builtins(stop), f"{clean(stop.told, 200)}", output)
        for action in store.actions.all():
            _show(action, output)


@rollback_app.command("plan", epilog="Example: tocsin rollback plan net-ids --config tocsin.yaml")
def rollback_plan(
    model: Annotated[str, typer.Argument(help="The model.")], config: ConfigOption, output: OutputOption = Output.TEXT
) -> None:
    """Print what would be done about a model now, and why not. Asks the registry, changes nothing."""
    from monitor.detection.answers import STATE, Answers  # noqa: PLC0415 - see `rollback_status`
    from monitor.rollback.policy import unsafe  # noqa: PLC0415 - see `rollback_status`
    from monitor.rollback.registry import RegistryError  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import guard  # noqa: PLC0415 - see `rollback_status`

    with config_errors(output), daemon.stored(config) as (settings, store), guard.registered(settings) as registry:
        try:
            bad, carried = registry.current(model), Answers(store.state(STATE + model)).carried()
            for version in guard.trusted(settings, registry, store).versions(model):
                flaw = unsafe(version, bad, time.time(), carried=carried)
                serves = version.version == bad.version
                facts = {"model": model, "version": version.version, "serves": serves, "flaw": None if serves else flaw}
                told = "serves now" if serves else flaw or "could serve"
                show(facts, f"{clean(model, 80)} {clean(version.version, 80)}  {told}", output)
            executor = guard.executor(settings, registry, store, lambda _: None)
            for action in store.actions.all():
                if action.model == model and action.state in OPEN_STATES:
                    _show(executor.preview(action), output)
        except RegistryError as error:
            fail(str(error))


@rollback_app.command("approve", epilog="Example: tocsin rollback approve 72296eacf78f --by ada --config tocsin.yaml")
def rollback_approve(incident: IncidentArgument, by: ByOption, config: ConfigOption) -> None:
    """Approve a proposed rollback. The running daemon checks everything anew and carries it out."""
    from monitor.rollback.consent import approve  # noqa: PLC0415 - see `rollback_status`

    _answer(incident, config, lambda action, rules, now: approve(action, by=by, config=rules, now=now))


@rollback_app.command("deny", epilog="Example: tocsin rollback deny 72296eacf78f --by ada --config tocsin.yaml")
def rollback_deny(incident: IncidentArgument, by: ByOption, config: ConfigOption) -> None:
    """Say no to a proposed, announced or held rollback. That is final for its incident."""
    from monitor.rollback.consent import deny  # noqa: PLC0415 - see `rollback_status`

    _answer(incident, config, lambda action, _, now: deny(action, by=by, now=now))


@rollback_app.command(
    "execute", epilog="Example: tocsin rollback execute 72296eacf78f --to 1.1.0 --by ada --config tocsin.yaml"
)
def rollback_execute(
    incident: IncidentArgument,
    by: ByOption,
    config: ConfigOption,
    to: Annotated[str | None, typer.Option(help="The version that is to serve again.")] = None,
) -> None:
    """Demand a rollback in spite of what holds it. The target must be known-good and intact all the same."""
    from monitor.rollback.consent import execute  # noqa: PLC0415 - see `rollback_status`

    _answer(incident, config, lambda action, rules, now: execute(action, to=to, by=by, config=rules, now=now))


@rollback_app.command("stop", epilog="Example: tocsin rollback stop '*' --by ada --why moving --config tocsin.yaml")
def rollback_stop(
    model: ModelArgument,
    by: ByOption,
    config: ConfigOption,
    why: Annotated[str, typer.Option(help="The reason, for those who wonder.")] = "",
) -> None:
    """Let nothing be rolled back until `resume`. Not even what was approved."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`
    from monitor.store.stop_table import Stop  # noqa: PLC0415 - see `rollback_status`

    with config_errors(Output.TEXT), daemon.stored(config) as (_, store):
        stop = Stop(model, by, time.time(), why)
        store.stops.put(stop)
        typer.echo(f"{clean(stop.told, 200)}.")


@rollback_app.command("resume", epilog="Example: tocsin rollback resume '*' --by ada --config tocsin.yaml")
def rollback_resume(model: ModelArgument, by: ByOption, config: ConfigOption) -> None:
    """Take back what `stop` did."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`

    with config_errors(Output.TEXT), daemon.stored(config) as (_, store):
        if not store.stops.lift(model, by, time.time()):
            fail(f"nothing has stopped rollbacks of {clean(model, 80)}")
        typer.echo(f"resumed by {clean(by, 80)}")


@rollback_app.command("unpin", epilog="Example: tocsin rollback unpin net-ids --by ada --config tocsin.yaml")
def rollback_unpin(
    model: Annotated[str, typer.Argument(help="The model.")], by: ByOption, config: ConfigOption
) -> None:
    """Take a model's pin out of the registry. The training data has been looked at, and may be learnt from again."""
    from monitor.rollback.registry import RegistryError  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import guard  # noqa: PLC0415 - see `rollback_status`
    from monitor.store.audit import Act  # noqa: PLC0415 - see `rollback_status`

    with config_errors(Output.TEXT), daemon.stored(config) as (settings, store), guard.registered(settings) as registry:
        try:
            registry.pin(model, None)
        except RegistryError as error:
            fail(str(error))
        store.audit.append(Act(time.time(), by, "model.unpinned", model, model))
        typer.echo(f"{clean(model, 80)} is not pinned any more")


@rollback_app.command(
    "vouch", epilog="Example: tocsin rollback vouch net-ids 1.1.0 --by ada --why 'passed review' --config tocsin.yaml"
)
def rollback_vouch(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[str, typer.Argument(help="Its version, as events call it.")],
    by: ByOption,
    why: Annotated[str, typer.Option(help="What makes sure that it is good.")],
    config: ConfigOption,
) -> None:
    """Give your word that a version is good. Once enough have (`known_good.vouchers`), it is marked known-good."""
    from monitor.rollback.known_good import VouchError  # noqa: PLC0415 - see `rollback_status`
    from monitor.rollback.registry import RegistryError  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`
    from monitor.service import guard  # noqa: PLC0415 - see `rollback_status`

    with config_errors(Output.TEXT), daemon.stored(config) as (settings, store), guard.registered(settings) as registry:
        try:
            mark = guard.marker(settings, registry, store).vouch(model, version, by=by, why=why)
        except (VouchError, RegistryError) as error:
            fail(clean(str(error), 300))
        lacking = settings.known_good.vouchers - len(mark.vouchers)
        told = f"proposed as known-good; {lacking} more must vouch for it" if mark.proposed else "known-good"
        typer.echo(f"{clean(model, 80)} {clean(version, 80)} is {told}")


def _answer(incident: str, config: ConfigOption, say: "Callable[[Action, RollbackConfig, float], Action]") -> None:
    """Put a person's word into the log, unless the daemon has gone on meanwhile."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `rollback_status`

    with config_errors(Output.TEXT), daemon.stored(config) as (settings, store):
        found = [action for action in store.actions.all() if action.incident == incident]
        if not found:
            fail(f"no rollback was asked for by incident {clean(incident, 80)}")
        try:
            said = say(found[0], settings.rollback, time.time())
        except ValueError as error:
            fail(str(error))
        if not store.actions.advance(found[0], said):
            fail("it has changed meanwhile; look at `tocsin rollback status` and try again")
        typer.echo(said.reason)


def _show(action: Action, output: Output) -> None:
    moved = clean(f"{action.from_version} -> {action.to_version or '?'}", 80)
    told = clean(action.reason or "; ".join(action.holds), 500)
    text = f"{action.incident}  {clean(action.model, 80)} {moved}  {action.state}  {told}"
    show(msgspec.to_builtins(action), text, output)
