"""`tocsin drill`: would attacks be found in these events? Exits 1 if one that had an effect would be missed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from monitor.commands.inputs import input_errors, parse_time, reading
from monitor.commands.terminal import Output, OutputOption, fail, show, warn
from monitor.detection.attacks import ATTACKS
from monitor.detection.baseline import Baseline, load
from monitor.intake.events import Event
from monitor.intake.file_source import FileSource
from monitor.service.rehearsal import of_model, rehearse, text_line
from monitor.service.replay import learn, read_events

MISSED = 1

Logs = Annotated[list[Path] | None, typer.Argument(help="Event logs, .jsonl or .jsonl.gz; made-up events if absent.")]


def drill(
    logs: Logs = None,
    model: Annotated[str | None, typer.Option(help="Which model, if the logs have several.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="A baseline file to test against.")] = None,
    reference_until: Annotated[
        str | None, typer.Option(help="Without a baseline: the reference ends at this time; after half of the events.")
    ] = None,
    budget: Annotated[float, typer.Option(min=100, help="One false incident in so many events.")] = 100_000,
    attack: Annotated[
        list[str] | None, typer.Option(help=f"Only this one, of {', '.join(ATTACKS)}; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what the attacks leave to chance.")] = 1,
    output: OutputOption = Output.TEXT,
) -> None:
    """Play every kind of attack on recorded events, in memory. Exits 1 if one that had an effect is missed."""
    unknown = sorted(set(attack or ()) - ATTACKS.keys())
    if unknown:
        fail(f"{unknown[0]!r} is no attack; there are {', '.join(ATTACKS)}")
    played = {name: each for name, each in ATTACKS.items() if not attack or name in attack}
    with input_errors():
        events, normal = _prepare(logs or [], model, baseline, reference_until, output)
        with _progress(len(played), output) as advance:
            for line in rehearse(events, normal, budget, attacks=played, seed=seed, progress=advance):
                show(line, text_line(line), output)
    if line["untouched_incidents"]:
        warn(f"incidents in the events as they are: {line['untouched_incidents']}; look at `tocsin replay` first")
    if line["missed"]:
        warn(f"MISSED: {', '.join(line['missed'])}")
        raise typer.Exit(MISSED)


def _prepare(
    logs: list[Path], model: str | None, baseline: Path | None, until: str | None, output: Output
) -> tuple[list[Event], Baseline]:
    """The events to drill with, and what is normal."""
    if logs:
        with reading(FileSource(logs), output) as (source, advance):
            found = list(read_events(source, warn, advance))
    else:
        from monitor.demo.practice import events as practice  # noqa: PLC0415 - only where no logs are given

        found = practice()
    given = None if baseline is None else load(baseline)
    name, events = of_model(found, model or (None if given is None else given.model))
    if given is not None and until is None:
        return events, given
    end = parse_time(until) if until is not None else events[len(events) // 2].epoch
    return [event for event in events if event.epoch >= end], given or learn(events, name, end)


@contextlib.contextmanager
def _progress(attacks: int, output: Output) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    hidden = not console.is_terminal or output is Output.JSON
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("attacks", total=attacks)
        yield lambda: bar.advance(task)
