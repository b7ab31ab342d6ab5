"""What all commands share: the options, how results are printed, and how bad input ends."""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from monitor.service.config_file import ConfigError

BAD_INPUT = 2


class Output(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="text for people, json: one object a line.")]
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]


def show(facts: dict[str, object], text: str, output: Output) -> None:
    """Print one result."""
    typer.echo(msgspec.json.encode(facts).decode() if output is Output.JSON else text)


def warn(message: str) -> None:
    """Print one line for people on standard error."""
    typer.echo(message, err=True)


def fail(message: str) -> NoReturn:
    """End with one line on standard error and the exit code of bad input."""
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)


@contextlib.contextmanager
def config_errors(output: Output) -> Iterator[None]:
    """Every problem of a configuration is one line, and the exit code is 2."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            text = f"{problem.place}: {problem.message}"
            if output is Output.JSON:
                show({"place": problem.place, "message": problem.message}, text, output)
            else:
                warn(text)
        raise typer.Exit(BAD_INPUT) from None
