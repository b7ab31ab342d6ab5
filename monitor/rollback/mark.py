"""A known-good mark as Tocsin remembers it: who vouched for a version and for what, and whether it was taken back."""

import msgspec

from monitor.rollback.registry import ModelVersion

TOCSIN = "tocsin"
"""Who vouches for a version that has gone through the soak."""
REGISTRY = "the registry"
"""Who did what was found in the registry, by whomever; such as to vouch for a version."""


class Mark(msgspec.Struct, frozen=True):
    """One version's mark. A version that was convicted without ever having one has a mark that is withdrawn."""

    model: str
    version: str
    at: float
    """Epoch seconds at which somebody vouched for it last, or at which it was taken back."""
    digest: str | None = None
    """Of the artefact, when the mark was given; another one than this is another model."""
    why: str = ""
    """One plain clause: what it was given for, or taken back for."""
    withdrawn: bool = False
    signature: str | None = None
    """Of Tocsin, over model, version, time and digest; see `monitor.rollback.signing`."""
    vouchers: tuple[str, ...] = ()
    """Who has vouched for it, each once."""
    proposed: bool = False
    """Whether more had to vouch for it than these."""


def because_of(incident: str) -> str:
    """Why a mark was taken back, if an incident with this id is the reason."""
    return f"incident {incident}"


def vouched(version: ModelVersion, mark: Mark | None) -> tuple[str, ...]:
    """Who has vouched for a version: those whom its mark names; of one that nobody has judged here, its registry."""
    if mark is not None:
        return mark.vouchers
    return () if version.known_good_at is None else (REGISTRY,)
