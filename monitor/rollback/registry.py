"""The model registry as Tocsin needs it: read versions and one alias, move the alias, mark versions."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

UNREADABLE = ("(inputs that nobody can read)",)
"""The inputs of a version whose record of them cannot be read: no event carries them, so it never serves."""


class ModelVersion(msgspec.Struct, frozen=True):
    """One registered version of a model."""

    model: str
    version: str
    """The name the serving side puts into its events."""
    created: float
    """Epoch seconds."""
    ready: bool = True
    digest: str | None = None
    """sha256 of the artefact as recorded at promotion, `sha256:<hex>`; None where nobody recorded one."""
    known_good_at: float | None = None
    """Epoch seconds at which the version was marked known-good; None if it never was, or the mark was withdrawn."""
    revoked: bool = False
    trained_until: float | None = None
    """Epoch seconds of the newest data that it was trained on; None where nobody recorded it."""
    inputs: tuple[str, ...] | None = None
    """Features that it cannot do without; None where nobody recorded them."""
    signature: str | None = None
    """Of the known-good mark, in base64; see `monitor.rollback.signing`."""
    distrusted: str | None = None
    """Why its mark does not count, as a clause; no registry says that, see `monitor.rollback.known_good`."""


class Pin(msgspec.Struct, frozen=True):
    """What whoever trains and promotes should heed after a rollback, or the next training learns the same poison."""

    incident: str
    serving: str
    """The version that the alias was moved back to."""
    suspect_since: datetime
    """Promote nothing that has learnt from data of this time or later, before a person has looked at it."""


class RegistryError(Exception):
    """The registry refused or could not be reached; one clear line without secrets.

    `passing` is True where a later try may succeed (network, 5xx, 429) and False where it cannot (404, 403).
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class AliasMovedError(RegistryError):
    """The alias no longer points where it did when the decision was made: somebody else acted."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passing=False)


class ModelRegistry(Protocol):
    """Every call may raise RegistryError. A model or version that does not exist is a RegistryError."""

    def current(self, model: str) -> ModelVersion:
        """The version that the serving alias points to."""

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, newest first."""

    def move(self, model: str, *, expected: str, to: str) -> None:
        """Move the serving alias from `expected` to `to`.

        Reads the alias first and raises AliasMovedError if it is not at `expected`; reads it again afterwards
        and raises RegistryError if it is not at `to`.
        """

    def artefact_digest(self, model: str, version: str) -> str | None:
        """`sha256:<hex>` of a version's artefact as it is now, read anew; None where the registry cannot read it.

        Of a folder, it is the digest of the list that `sha256sum` would print of its files, sorted by name.
        """

    def fetch(self, model: str, version: str, into: Path) -> Path | None:
        """The folder of a version's artefact as it is now: its own place, or a copy in the empty folder `into`.

        None where it is no folder, or the registry cannot read it. What is in it is not trusted yet.
        """

    def mark(self, model: str, version: str, *, known_good_at: float | None, signature: str | None = None) -> None:
        """Set or withdraw (None) the known-good mark of one version, with its signature."""

    def pin(self, model: str, pin: Pin | None) -> None:
        """Set a model's pin in place of any other, or take it away (None)."""

    def close(self) -> None:
        """Release connections. Safe to call twice."""
