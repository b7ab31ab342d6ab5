"""A known-good mark as Tocsin remembers it: what vouched for a version, and whether it was taken back."""

import msgspec


class Mark(msgspec.Struct, frozen=True):
    """One version's mark. A version that was convicted without ever having one has a mark that is withdrawn."""

    model: str
    version: str
    at: float
    """Epoch seconds at which it was given, or taken back."""
    digest: str | None = None
    """Of the artefact, when the mark was given; another one than this is another model."""
    why: str = ""
    """One plain clause: what it was given for, or taken back for."""
    withdrawn: bool = False
    signature: str | None = None
    """Of Tocsin, over model, version, time and digest; see `monitor.rollback.signing`."""
