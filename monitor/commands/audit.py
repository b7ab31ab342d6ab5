"""Commands about the audit log."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer

from alerting.message import clean, instant
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from monitor.service.config import Config
    from monitor.store.audit import Broken, Head

FOUND = 1

app = typer.Typer(help="See what was done, and by whom; verify it.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Example: tocsin audit list --limit 20 --output json --config tocsin.yaml")
def audit_list(
    config: ConfigOption,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 100,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print what was done, the newest first."""
    from monitor.service import app as daemon  # noqa: PLC0415 - the other commands do without half of the imports

    with config_errors(output), daemon.stored(config) as (_, store):
        for entry in store.audit.entries(limit=limit):
            act = entry.act
            words = [str(entry.number), instant(act.at), act.actor, act.verb, act.subject, act.model, act.detail]
            facts = {"number": entry.number, "digest": entry.digest, **msgspec.to_builtins(act)}
            show(facts, "  ".join(clean(word, 200) for word in words if word), output)


@app.command(
    "verify", epilog="Example: tocsin audit verify --head 812:6f1c...  --public-key audit.pub.pem --config tocsin.yaml"
)
def audit_verify(
    config: ConfigOption,
    head: Annotated[list[str] | None, typer.Option(help="A head that was seen before, NUMBER:DIGEST.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="What heads must be signed with, PEM.")] = None,
    bucket: Annotated[bool, typer.Option("--bucket", help="Also the copy in `audit.bucket`.")] = False,
    topic: Annotated[bool, typer.Option("--topic", help="Also the copy in `audit.topic`.")] = False,
    file: Annotated[Path | None, typer.Option(help="Also a copy in a file, a line a record.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Look through the whole log. Exits 1 if it was changed, and names the first entry that is not what it was."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `audit_list`
    from monitor.store import audit  # noqa: PLC0415 - see `audit_list`

    with config_errors(output), daemon.stored(config) as (settings, store):
        try:
            seen = [audit.parse_head(text) for text in head or ()]
            own = settings.audit.signing_key
            key = None if own is None else audit.read_key(own.reveal()).public_key()
            if public_key is not None:
                key = audit.read_public_key(public_key.read_text())
        except (audit.AuditError, OSError, UnicodeDecodeError) as error:
            fail(f"{public_key or 'audit'}: {error}")
        for where, lines in _copies(settings, topic=topic, bucket=bucket, file=file):
            copied = _verified(where, lines, key)
            if isinstance(copied, audit.Broken):
                _broken(copied, where, output)
            text = f"{where}: {copied.number} entries, intact; head {copied}"
            show({"intact": True, "where": where, "entries": copied.number, "head": str(copied)}, text, output)
            seen.append(copied)  # what was copied once has to be in the store for ever
        found = store.audit.verify(key, seen)
        signed = store.audit.heads()
    if isinstance(found, audit.Broken):
        _broken(found, "", output)
    upto = signed[-1].head.number if signed and key is not None else 0
    by_whom = f"signed up to entry {upto}" if upto else "no signature looked at"
    text = f"{found.number} entries, intact, {by_whom}; head {found}"
    show({"intact": True, "entries": found.number, "signed": upto, "head": str(found)}, text, output)


def _copies(
    settings: "Config", *, topic: bool, bucket: bool, file: Path | None
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Where the log was copied to, and the lines there."""
    from monitor.intake.kafka_reading import values  # noqa: PLC0415 - see `audit_list`
    from monitor.store.bucket import Bucket  # noqa: PLC0415 - see `audit_list`

    if file is not None:
        try:
            yield str(file), iter(file.read_bytes().splitlines())
        except OSError as error:
            fail(f"{file}: {error.strerror}")
    if topic:
        if settings.audit.topic is None:
            fail("audit.topic: there is none in the configuration")
        yield f"topic {settings.audit.topic}", values(settings.kafka, settings.audit.topic)
    if bucket:
        if settings.audit.bucket is None:
            fail("audit.bucket: there is none in the configuration")
        with closing(Bucket(settings.audit.bucket, time.time)) as there:
            yield f"bucket {settings.audit.bucket.name}", there.lines()


def _verified(where: str, lines: Iterator[bytes], key: "Ed25519PublicKey | None") -> "Broken | Head":
    from monitor.intake.source import SourceError  # noqa: PLC0415 - see `audit_list`
    from monitor.store.audit_copy import CopyError, verify  # noqa: PLC0415 - see `audit_list`
    from monitor.store.bucket import BucketError  # noqa: PLC0415 - see `audit_list`

    try:
        return verify(lines, key)
    except (CopyError, SourceError, BucketError) as error:
        fail(f"{where}: {error}")


def _broken(found: "Broken", where: str, output: Output) -> NoReturn:
    text = f"{f'{where}: ' if where else ''}entry {found.number}: {found.why}"
    show({"intact": False, "where": where or "store", "number": found.number, "why": found.why}, text, output)
    raise typer.Exit(FOUND)
