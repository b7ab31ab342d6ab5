"""What people decide about incidents, beside the daemon; it takes their decisions up with its next commit."""

from enum import StrEnum

import msgspec


class Verb(StrEnum):
    """What is to become of an incident."""

    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


class Decision(msgspec.Struct, frozen=True):
    """Somebody has decided something about one incident."""

    id: str
    """Unique; a decision that was taken up is known by it."""
    incident: str
    verb: Verb
    by: str
    decided_at: float
    """Epoch seconds."""
