"""How often something may happen: so many times a minute for each name, and a bounded number of names."""

import threading
from collections import Counter
from collections.abc import Callable

MINUTE = 60.0
MAX_NAMES = 4096
"""Names that are counted on their own in one minute; all further ones share one count."""

_REST = ""


class Throttle:
    """Counts by name, anew every minute. Safe to share between threads."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        """`limit` is how often a minute; `clock` is a monotonic one, in seconds."""
        self._limit = limit
        self._clock = clock
        self._until = clock() + MINUTE
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, name: str) -> float | None:
        """Count it once more: None if that is within the limit, otherwise the seconds until it is again."""
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._counts.clear()
                self._until = now + MINUTE
            known = name if name in self._counts or len(self._counts) < MAX_NAMES else _REST
            self._counts[known] += 1
            return None if self._counts[known] <= self._limit else self._until - now
