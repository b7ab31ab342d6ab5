"""Input of commands that read event logs: files with progress, times, and how bad input ends."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
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


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key to sign with. Ends the command if it is none."""
    from monitor.store.audit import AuditError, read_key  # noqa: PLC0415 - few commands need it, and it takes long

    try:
        return read_key(path.read_text())
    except (AuditError, UnicodeDecodeError, OSError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}")


def owner_key(path: Path) -> Ed25519PublicKey:
    """The public key of whoever must have signed. Ends the command if it is none."""
    from monitor.store.audit import AuditError, read_public_key  # noqa: PLC0415 - see `private_key`

    try:
        return read_public_key(path.read_text())
    except (AuditError, UnicodeDecodeError, OSError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}")
