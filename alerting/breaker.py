"""When a receiver may be tried: a breaker for one that fails, and a pace for one that limits how often it is called."""

BURST = 5
"""Messages that may go at once after a while without any, whatever the spacing."""


class Breaker:
    """Counts failures in a row; from the `threshold`-th on, each one is followed by a rest of `pause` seconds.

    After the rest one message is tried (the caller never sends two at once): if it is accepted all is well again, if
    not the next rest begins. In the long run attempts are `spacing` seconds apart. Times are seconds of any one clock.
    """

    def __init__(self, *, threshold: int, pause: float, spacing: float = 0.0) -> None:
        self._threshold = threshold
        self._pause = pause
        self._spacing = spacing
        self._failures = 0
        self._resting_until = float("-inf")
        self._paced_until = float("-inf")
        """When the next attempt would begin if all had kept the spacing."""

    def allows(self, now: float) -> bool:
        """Whether the receiver may be tried now."""
        return now >= self._resting_until and now >= self._paced_until - (BURST - 1) * self._spacing

    def began(self, now: float) -> None:
        """An attempt begins."""
        # A clock that was set back must not make the receiver wait for the time that it will repeat.
        self._paced_until = min(max(self._paced_until, now), now + BURST * self._spacing) + self._spacing

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
