"""What a message says, text by text: every receiver puts the same texts into its own form."""

import msgspec


class Notice(msgspec.Struct, frozen=True):
    """The content of one notification. Every text is a single line of bounded length."""

    title: str
    """Change, severity, model and verdict in a few words."""
    headline: str
    """What is wrong with what, in one plain sentence with numbers."""
    since: str
    """When the change began, with the interval."""
    status: str
    """Where the incident is in its life."""
    who: tuple[tuple[str, str], ...]
    """What the evidence points at: pairs of a label and a value, such as ("Labeler", "lab-2")."""
    evidence: tuple[str, ...]
    """Observed against allowed, strongest first."""
    sure: str
    """How sure the verdict is, and how strong the evidence."""
    against: tuple[str, ...]
    """What speaks against the verdict, one clause each, the weightiest first."""
    reach: tuple[str, ...]
    """What it may have spoilt: the most important in one sentence, then the rest, line by line; empty if not known."""
    changed: str
    """What the verdict was before, and what it rests on now; empty if it has not changed."""
    action: str
    """What Tocsin did or proposes."""
    left: str
    """How long people can still veto or approve that; empty if there is nothing to answer."""
    next: str
    """What to do now."""
    environment: str
    """Where it happened; empty if it was not configured."""
    links: tuple[tuple[str, str], ...]
    """Pairs of a label and an absolute address."""

    @property
    def weighed(self) -> tuple[tuple[str, str], ...]:
        """What people should weigh: pairs of a label and a text."""
        reach = self.reach[0] if self.reach else ""
        found = (("Changed", self.changed), ("Against it", "; ".join(self.against)), ("Reach", reach))
        return tuple((label, text) for label, text in found if text)

    @property
    def deeds(self) -> tuple[tuple[str, str], ...]:
        """What was done, how long it can be answered, and what is to be done: pairs of a label and a text."""
        left = (("Time left", self.left),) if self.left else ()
        return (("What Tocsin did", self.action), *left, ("What to do", self.next))
