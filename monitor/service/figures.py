"""What the parts beside the loop show in /metrics: deliveries, rollbacks, drills, requests, jobs."""

from collections import Counter
from http import HTTPStatus

from alerting.policy import Attempt
from monitor.detection.drill import Drilled
from monitor.rollback.action import Action
from monitor.store.store import Store
from monitor.telemetry.metrics import Metrics


class Figures:
    """Each method is told of one thing, or counts what is there. Safe to use from several threads."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` are where it is shown."""
        self._metrics = metrics

    def delivered(self, attempt: Attempt) -> None:
        """A message was delivered, or was not."""
        reacting = self._metrics.reacting
        reacting.notifications.at(attempt.receiver, attempt.outcome, attempt.reason or "none").inc()
        reacting.delivery.at(attempt.receiver).observe(attempt.seconds)

    def acted(self, action: Action) -> None:
        """A rollback has come into another state."""
        self._metrics.reacting.rollbacks.at(action.model, action.state).inc()

    def stored(self, store: Store) -> None:
        """Show what the store knows of messages and rollbacks, whichever process wrote it."""
        reacting, actions = self._metrics.reacting, store.actions.all()
        reacting.outbox.set_all({place: float(count) for place, count in store.outbox.counts().items()})
        reacting.oldest_message.set_all({(receiver,): ts for receiver, ts in store.outbox.oldest_pending().items()})
        reacting.actions.set_all(Counter((action.model, action.state.value) for action in actions))
        last: dict[tuple[str, ...], float] = {}
        for action in actions:
            if action.moved_at is not None:
                last[action.model,] = max(action.moved_at, last.get((action.model,), 0.0))
        reacting.last_rollback.set_all(last)

    def drilled(self, drilled: Drilled) -> None:
        """A simulated fault was found, or was not."""
        found = float("inf") if drilled.events is None else float(drilled.events)
        self._metrics.detection.drill.at(drilled.model, drilled.kind).set(found)

    def posted(self, outcome: str, count: int) -> None:
        """Events were posted over HTTP."""
        self._metrics.reading.posted.at(outcome).inc(count)

    def refused(self, status: HTTPStatus) -> None:
        """A request was refused."""
        self._metrics.running.refused.at(str(status.value)).inc()

    def worked(self, job: str, well: bool) -> None:
        """A periodic job has ended, well or not."""
        if well:
            self._metrics.running.job_done.at(job).set_to_current_time()
        else:
            self._metrics.running.job_failed.at(job).inc()

    def restarted(self, why: str) -> None:
        """Reading begins anew."""
        self._metrics.running.restarts.at(why).inc()
