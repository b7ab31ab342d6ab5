"""Input of commands that read event logs: files with progress, times, and how bad input ends."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from monitor.commands.terminal import Output, fail
from monitor.detection.baseline import BaselineError
from monitor.intake.file_source import FileSource
from monitor.intake.source import SourceError


def parse_time(text: str) -> float:
    """Epoch seconds of an ISO 8601 time; without an offset it is UTC. Ends the command if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no ISO 8601 time, for example 2026-03-04T00:00:00Z")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """Bad input is one line on standard error and exit code 2, never a traceback."""
    try:
        yield
    except (BaselineError, SourceError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror}")


@contextlib.contextmanager
def reading(source: FileSource, output: Output) -> Iterator[tuple[FileSource, Callable[[], None]]]:
    """A progress bar on standard error if that is a terminal and the results are not for a program."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal or output is Output.JSON
    with contextlib.closing(source), Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("reading", total=None)
        yield source, lambda: bar.update(task, completed=source.bytes_read, total=source.bytes_total)
