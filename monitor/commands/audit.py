"""Commands about the audit log."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from alerting.message import clean, instant
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show

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
        found = store.audit.verify(key, seen)
        signed = store.audit.heads()
    if isinstance(found, audit.Broken):
        text = f"entry {found.number}: {found.why}"
        show({"intact": False, "number": found.number, "why": found.why}, text, output)
        raise typer.Exit(FOUND)
    upto = signed[-1].head.number if signed and key is not None else 0
    text = f"{found.number} entries, intact, signed up to entry {upto}; head {found}"
    show({"intact": True, "entries": found.number, "signed": upto, "head": str(found)}, text, output)
