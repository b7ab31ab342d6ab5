"""The command line, in this process."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from monitor.commands.cli import app


def invoke(*words: object) -> Result:
    """What a command did; an exception that is no exit is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def tocsin(*words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = invoke(*words)
    return result.exit_code, result.stdout, result.stderr


def lines(*words: object) -> list[dict[str, Any]]:
    """What a command that ends well prints for programs."""
    code, out, _ = tocsin(*words, "--output", "json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]
