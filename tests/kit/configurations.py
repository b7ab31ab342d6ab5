"""Texts as configuration files: loaded, or refused with what is wrong and where it stands."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from monitor.service.config import Config, ConfigError, load

CANARY = "s3cr3t-canary"
"""No error says this."""

MINIMAL = """\
kafka:
  bootstrap_servers: ["127.0.0.1:9092"]
  topics: [events]
models:
  net-ids:
    reference: {events: 100}
"""

Load = Callable[..., Config]
Refused = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Load a text as a file."""

    def read(text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "tocsin.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ or {})

    return read


@pytest.fixture
def refused(tmp_path: Path, read: Load) -> Refused:
    """The problems of a text, with places relative to the file."""

    def refused(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        with pytest.raises(ConfigError) as error:
            read(text, environ)
        assert error.value.problems
        assert CANARY not in str(error.value)
        assert str(error.value).count("\n") == len(error.value.problems) - 1
        prefix = str(tmp_path / "tocsin.yaml")
        return [(place.removeprefix(prefix).removeprefix(":"), message) for place, message in error.value.problems]

    return refused
