"""Commands about messages: try a receiver, and see, resend or discard what a receiver has refused."""

import asyncio
import time
from typing import Annotated

import msgspec
import typer

from alerting.incident import Severity
from alerting.message import clean, instant
from alerting.outbox import DeadLetter
from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, fail, show, warn

FAILED = 1

messages_app = typer.Typer(help="Messages that a receiver has refused.", no_args_is_help=True, rich_markup_mode=None)

Which = Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", help="Their ids, as `dead` prints them.")]
ByOption = Annotated[str, typer.Option(help="Who says so, for the record.")]
ReceiverOption = Annotated[str | None, typer.Option(help="All of this receiver.")]


def notify_test(
    receiver: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    config: ConfigOption,
    severity: Annotated[Severity, typer.Option(help="What it pretends to be; pagers ring by it.")] = Severity.INFO,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send a test to one receiver, and the end of it. Exits 1 if it was not accepted."""
    # The other commands do without these imports.
    from alerting.config import build  # noqa: PLC0415
    from alerting.receiver import SendError  # noqa: PLC0415
    from alerting.trial import run, trial  # noqa: PLC0415
    from monitor.service import app as daemon  # noqa: PLC0415

    with config_errors(output):
        settings, _ = daemon.prepare(config)
        known = {each.name: each for each in settings.alerting.receivers}
        if receiver not in known:
            fail(f"no receiver is called {clean(receiver, 60)}; there are: {', '.join(sorted(known)) or 'none'}")
        only = settings.alerting.model_copy(update={"receivers": (known[receiver],)})
        (made,) = build(only)
        began = time.monotonic()
        try:
            asyncio.run(run(made, trial(severity, time.time()), settings.alerting.timeout))
        except SendError as error:
            why = {"reason": error.reason, "why": str(error)}
            text = f"{receiver}: not accepted ({error.reason}): {error}"
            show({"receiver": receiver, "accepted": False, **why}, text, output)
            raise typer.Exit(FAILED) from None
        seconds = round(time.monotonic() - began, 3)
        text = f"{receiver}: accepted the test and its end, in {seconds} s"
        show({"receiver": receiver, "accepted": True, "seconds": seconds}, text, output)


@messages_app.command("dead", epilog="Example: tocsin messages dead --config tocsin.yaml")
def messages_dead(config: ConfigOption, receiver: ReceiverOption = None, output: OutputOption = Output.TEXT) -> None:
    """Print what receivers have refused for good, and why. The oldest first."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `notify_test`

    with config_errors(output), daemon.stored(config) as (_, store):
        for letter in store.outbox.dead_letters():
            if receiver in (None, letter.message.receiver):
                _show(letter, output)


@messages_app.command("resend", epilog="Example: tocsin messages resend --receiver pager --by ada --config tocsin.yaml")
def messages_resend(
    config: ConfigOption,
    by: ByOption,
    which: Which = None,
    receiver: ReceiverOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Send refused messages again, once the receiver works. The running daemon does it. Exits 1 if some stay.

    A message stays where a later step of its incident has arrived: it would tell what is no longer true.
    """
    from monitor.service import app as daemon  # noqa: PLC0415 - see `notify_test`

    with config_errors(output), daemon.stored(config) as (_, store):
        stayed = False
        for letter in _chosen(store.outbox.dead_letters(), which, receiver):
            if letter.overtaken:
                stayed = True
                warn(f"{letter.message.id}: stays, because a later step of its incident has arrived; discard it")
            elif store.outbox.resend(letter.message.id, by, time.time()):
                show({"message": letter.message.id, "resent": True}, f"{letter.message.id}: goes out again", output)
    if stayed:
        raise typer.Exit(FAILED)


@messages_app.command(
    "discard", epilog="Example: tocsin messages discard 2d753e90b55d-1-pager --by ada --config tocsin.yaml"
)
def messages_discard(
    config: ConfigOption,
    by: ByOption,
    which: Which = None,
    receiver: ReceiverOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Forget refused messages that nobody needs any more."""
    from monitor.service import app as daemon  # noqa: PLC0415 - see `notify_test`

    with config_errors(output), daemon.stored(config) as (_, store):
        for letter in _chosen(store.outbox.dead_letters(), which, receiver):
            if store.outbox.discard(letter.message.id, by, time.time()):
                show({"message": letter.message.id, "discarded": True}, f"{letter.message.id}: discarded", output)


def _chosen(letters: list[DeadLetter], which: list[str] | None, receiver: str | None) -> list[DeadLetter]:
    if not which and receiver is None:
        fail("say which: ids, or --receiver")
    known = {letter.message.id for letter in letters}
    unknown = [identity for identity in which or () if identity not in known]
    if unknown:
        fail(f"{clean(unknown[0], 80)} is not dead; `tocsin messages dead` prints what is")
    return [
        letter
        for letter in letters
        if letter.message.id in (which or known) and receiver in (None, letter.message.receiver)
    ]


def _show(letter: DeadLetter, output: Output) -> None:
    message, incident = letter.message, letter.message.transition.incident
    facts = {
        "message": message.id,
        "receiver": message.receiver,
        "incident": incident.id,
        "change": message.transition.change,
        "died_at": instant(letter.died_at),
        "error": letter.error,
        "overtaken": letter.overtaken,
    }
    what = f"{message.transition.change} {incident.verdict}, {clean(incident.model, 60)}"
    note = "  (a later step has arrived)" if letter.overtaken else ""
    show(msgspec.to_builtins(facts), f"{message.id}  {instant(letter.died_at)}  {what}  {letter.error}{note}", output)
