"""The command line. Exit codes: 0 all is well, 1 something was found or failed, 2 the input is wrong."""

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from monitor.commands import audit as audit_commands
from monitor.commands import desk as desk_commands
from monitor.commands import messages as message_commands
from monitor.commands import rollback as rollback_commands
from monitor.commands import store as store_commands
from monitor.commands.drill import drill
from monitor.commands.inputs import input_errors, owner_key, parse_time, private_key, reading
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show, warn
from monitor.detection.baseline import Baseline, describe, load, save
from monitor.detection.lessons import Until
from monitor.intake.file_source import FileSource
from monitor.service.replay import ReplayConfig, learn, read_events, replay, text_line

FOUND = 1

app = typer.Typer(
    name="tocsin",
    help="Guards served machine-learning models against data poisoning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
baseline_app = typer.Typer(help="Build, show, sign and verify baselines.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(baseline_app, name="baseline")
app.add_typer(rollback_commands.rollback_app, name="rollback")
app.add_typer(desk_commands.incidents_app, name="incidents")
app.add_typer(desk_commands.silence_app, name="silence")
app.add_typer(message_commands.messages_app, name="messages", help="Dead messages: list, resend or discard them.")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(store_commands.app, name="store")


BaselineFile = Annotated[Path, typer.Argument(help="A file made by `tocsin baseline build`.")]
Logs = Annotated[list[Path], typer.Argument(help="Event logs, .jsonl or .jsonl.gz, in the order to read them.")]
ReferenceUntil = Annotated[
    str | None, typer.Option(help="The reference ends at this time (ISO 8601; UTC if it has no offset).")
]
ReferenceEvents = Annotated[int, typer.Option(min=100, help="... or after this many predictions and labels.")]


@app.command(epilog="Example: tocsin run --config tocsin.yaml")
def run(config: ConfigOption) -> None:
    """Run the daemon until it is stopped (SIGTERM, Ctrl-C)."""
    from monitor.service import app as daemon  # noqa: PLC0415 - the other commands do without half of the imports

    with config_errors(Output.TEXT):
        raise typer.Exit(daemon.run(config))


@app.command(epilog="Example: tocsin check --config tocsin.yaml")
def check(config: ConfigOption, output: OutputOption = Output.TEXT) -> None:
    """Validate the configuration and the files it names. Every error is listed with its place."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `run`

    with config_errors(output):
        daemon.prepare(config)
    show({"valid": True, "config": str(config)}, f"{config}: valid", output)


@app.command(
    "replay",
    epilog="Example: tocsin replay events.jsonl.gz --reference-until 2026-03-04T00:00:00Z --budget 100000",
)
def replay_command(
    logs: Logs,
    baseline: Annotated[Path | None, typer.Option(help="A baseline file to test against.")] = None,
    reference_until: ReferenceUntil = None,
    reference_events: ReferenceEvents = 2000,
    budget: Annotated[float, typer.Option(min=100, help="One false incident in so many events.")] = 100_000,
    label_ttl: Annotated[float, typer.Option(min=1, help="Seconds that predictions wait for labels.")] = 604_800,
    output: OutputOption = Output.TEXT,
) -> None:
    """Backtest: what would have been found, and when. Exits 1 if there was an incident."""
    with input_errors(), reading(FileSource(logs), output) as (source, advance):
        config = ReplayConfig(
            budget=budget,
            baseline=None if baseline is None else load(baseline),
            until=_until(reference_until, reference_events),
            label_ttl=label_ttl,
            max_waiting=1_000_000,
        )
        incidents, line = 0, dict[str, Any]()
        for line in replay(source, config, warn, advance):
            incidents += line["event"] == "opened"
            show(line, text_line(line), output)
        if line["predictions"] == 0:
            fail("there are no predictions in these logs")
    raise typer.Exit(FOUND if incidents else 0)


# Commands are listed in the order in which they are added.
app.command("drill", epilog="Example: tocsin drill events.jsonl.gz --reference-until 2026-03-04T00:00:00Z")(drill)
app.command("notify-test", epilog="Example: tocsin notify-test ml-oncall --config tocsin.yaml")(
    message_commands.notify_test
)


@baseline_app.command("build", epilog="Example: tocsin baseline build events.jsonl.gz --out net-ids.baseline.json")
def baseline_build(
    logs: Logs,
    out: Annotated[Path, typer.Option(help="Where to write the baseline.")],
    model: Annotated[str | None, typer.Option(help="Which model, if the logs have several.")] = None,
    until: ReferenceUntil = None,
    key: Annotated[Path | None, typer.Option(help="Sign it with this Ed25519 private key, PEM.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Learn a baseline from verified events and freeze it."""
    signing = None if key is None else private_key(key)
    with input_errors(), reading(FileSource(logs), output) as (source, advance):
        learnt = learn(read_events(source, warn, advance), model, parse_time(until) if until else float("inf"))
        save(learnt, out, signing)
    _show(learnt, output)


@baseline_app.command("show", epilog="Example: tocsin baseline show net-ids.baseline.json --output json")
def baseline_show(file: BaselineFile, output: OutputOption = Output.TEXT) -> None:
    """Print what a baseline was learnt from."""
    with input_errors():
        _show(load(file), output)


@baseline_app.command("sign", epilog="Example: tocsin baseline sign net-ids.baseline.json --key key.pem")
def baseline_sign(
    file: BaselineFile,
    key: Annotated[Path, typer.Option(help="An Ed25519 private key, PEM.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Vouch for a baseline, once you have looked at it. A signature that it had is replaced."""
    signing = private_key(key)
    with input_errors():
        found = load(file)
        save(found, file, signing)
    show({"signed": True, "digest": found.digest}, f"{file}: signed, {found.digest}", output)


@baseline_app.command("verify", epilog="Example: tocsin baseline verify net-ids.baseline.json --digest sha256:...")
def baseline_verify(
    file: BaselineFile,
    digest: Annotated[str | None, typer.Option(help="The digest that it must have.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="Whose signature it must have: an Ed25519 key, PEM.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check that a baseline is what it was when it was frozen. Exits 1 if it is another one."""
    owner = None if public_key is None else owner_key(public_key)
    with input_errors():
        found = load(file, owner).digest
    if digest is not None and digest != found:
        typer.echo(f"{file}: has digest {found}, not {digest}", err=True)
        raise typer.Exit(FOUND)
    show({"valid": True, "digest": found}, f"{file}: intact, {found}", output)


@app.command(epilog="Example: tocsin demo --keep")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running to look around.")] = False,
    propose: Annotated[
        bool, typer.Option("--propose", help="Let Tocsin ask: you approve the rollback in its console.")
    ] = False,
    workdir: Annotated[
        Path | None, typer.Option(help="Where to put files and logs; a temporary folder if absent.")
    ] = None,
) -> None:
    """Play the whole loop on this machine. A model is served, poisoned, found out and rolled back."""
    from monitor.demo import story  # noqa: PLC0415 - needs the extra `demo`

    raise typer.Exit(story.run(keep=keep, propose=propose, workdir=workdir))


@app.command(epilog="Example: tocsin version --output json")
def version(output: OutputOption = Output.TEXT) -> None:
    """Print the version."""
    found = distribution_version("tocsin")
    show({"version": found, "python": sys.version.split()[0]}, f"tocsin {found}", output)


def _until(text: str | None, events: int) -> Until:
    return Until(events=events) if text is None else Until(ts=parse_time(text))


def _show(baseline: Baseline, output: Output) -> None:
    facts = describe(baseline)
    if output is Output.JSON:
        typer.echo(msgspec.json.encode(facts).decode())
        return
    for name, fact in facts.items():
        typer.echo(f"{name:>12}  {', '.join(map(str, fact)) if isinstance(fact, list) else fact}")


def main() -> None:
    """The entry point of the command `tocsin`."""
    app()


if __name__ == "__main__":
    main()
