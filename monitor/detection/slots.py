"""Slots: names from events (sources, labelers, versions) to small numbers, with bounded memory."""

from collections.abc import Sequence
from typing import cast
from zlib import crc32

NAMED = 64
"""Names that get a slot of their own; those of the reference come first."""
SHARED = 16
"""Slots that all further names share, by hash: a flood of invented names cannot grow the state."""
NOBODY = "(none)"


class Slots:
    """Gives each name a stable slot in [0, NAMED + SHARED); slot 0 is for events that carry no name."""

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self.names: list[str] = [NOBODY, *known[: NAMED - 1]]
        self._slots: dict[str | None, int] = {None: 0} | {name: slot for slot, name in enumerate(self.names)}

    def of(self, name: str | None) -> int:
        """Return the slot of `name`, giving it one of its own while there are any left."""
        if name is None:
            return 0
        slot = self._slots.get(name)
        if slot is not None:
            return slot
        if len(self.names) < NAMED:
            self._slots[name] = len(self.names)
            self.names.append(name)
            return len(self.names) - 1
        return NAMED + crc32(name.encode()) % SHARED

    def find(self, name: str) -> int | None:
        """The slot that is called so, as `name` does; None if there is none."""
        return self._slots.get(name)

    def all_of(self, names: Sequence[str | None]) -> list[int]:
        """The slots of many names, one after the other."""
        found = list(map(self._slots.get, names))
        if None not in found:
            return cast("list[int]", found)
        return [self.of(name) if slot is None else slot for slot, name in zip(found, names, strict=True)]

    def name(self, slot: int) -> str:
        """What to call a slot in a message."""
        return self.names[slot] if slot < len(self.names) else f"(one of many, group {slot - NAMED})"
