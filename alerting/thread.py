"""A thread: everything that is told about one cause, from its first page to its end."""

import msgspec

from alerting.incident import Severity


class Thread(msgspec.Struct):
    """What is told about one cause. Times are epoch seconds."""

    id: str
    """That of the incident that began it; receivers know the thread by it."""
    cause: str
    joined_at: float
    """When the incident that joined last had opened."""
    severity: Severity
    """The worst so far."""
    members: list[str]
    """Incidents that fire now, the earliest first."""
    open: bool = False
    """Whether people know of it, and have not heard of its end."""
    tellings: int = 0
    told_at: float = 0.0
    told_severity: Severity = Severity.INFO
    paged_at: float = 0.0
    """When its last beginning was told."""
    news: bool = False
    """Whether something has changed since it was told."""
    shown: int = 0
    """How many of its incidents were not muted when it was told."""
