"""Commands about the store itself."""

import typer

from monitor.commands.terminal import ConfigOption, Output, OutputOption, config_errors, show

app = typer.Typer(help="Look after the store.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command("rekey", epilog="Example: tocsin store rekey --config tocsin.yaml")
def store_rekey(config: ConfigOption, output: OutputOption = Output.TEXT) -> None:
    """Encrypt the store anew with the first of `store.keys`. Stop the daemon before."""
    from monitor.service import app as daemon  # noqa: PLC0415 - the other commands do without half of the imports

    with config_errors(output), daemon.stored(config) as (settings, store):
        count, keys = store.rekey(), settings.store.keys
    how = f"encrypted with the key {keys[0].id}" if keys else "in plain: there is no key in store.keys"
    show({"values": count, "key": keys[0].id if keys else None}, f"{count} values are {how}", output)
