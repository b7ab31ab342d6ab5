"""A circuit breaker: leaves a receiver alone that fails again and again, and tries it with one message at a time."""


class Breaker:
    """Counts failures in a row; from the `threshold`-th on, each one is followed by a rest of `pause` seconds.

    After the rest one message is tried (the caller never sends two at once): if it is accepted all is well again, if
    not the next rest begins. Times are seconds of any one clock.
    """

    def __init__(self, *, threshold: int, pause: float) -> None:
        self._threshold = threshold
        self._pause = pause
        self._failures = 0
        self._resting_until = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether the receiver may be tried now."""
        return now >= self._resting_until

    def succeeded(self) -> None:
        """The receiver answered as a working one does."""
        self._failures = 0

    def failed(self, now: float, *, retry_after: float | None = None) -> None:
        """The receiver could not be reached, had a fault of its own, or asked to be left alone.

        Args:
            now: When that was seen.
            retry_after: Seconds that it asked for; they hold from the first failure on.
        """
        self._failures += 1
        rest = max(self._pause if self._failures >= self._threshold else 0.0, retry_after or 0.0)
        if rest > 0:
            self._resting_until = now + rest
