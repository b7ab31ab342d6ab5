"""POST /api/v1/events: for stacks that cannot reach Kafka. What comes is checked, and appended to the topic; no more.

From there it is read as any other record, so there is one path to the detectors, and nothing new that can be lost.
"""

import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Protocol

import msgspec
from pydantic import Field, StringConstraints

from alerting.section import Section
from monitor.http.access import Principal
from monitor.http.access_config import Role
from monitor.http.endpoint import Call, Endpoint, ProblemError, Sent
from monitor.http.once import Replies, once
from monitor.http.throttle import Throttle
from monitor.intake.events import Event
from monitor.intake.kafka_appender import AppendError
from monitor.intake.posted import CLOUD_EVENT, CLOUD_EVENTS, JSON, CloudEvent, Posted, PostedError, posted

MAX_BYTES = 4 * 2**20
"""Bytes of a batch."""
MAX_AT_ONCE = 8
"""Batches on their way to Kafka. More would take the threads that answer everybody else when Kafka is slow."""


class IntakeConfig(Section):
    """Events over HTTP."""

    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    """Where they are appended: one of `kafka.topics`."""
    timeout: float = Field(default=10.0, ge=1, le=60)
    """Seconds that Kafka may take for a batch."""
    max_batches: int = Field(default=600, ge=1)
    """Batches that one token may send in a minute, or try to send."""


class Appender(Protocol):
    """Where events go; the topic."""

    def append(self, records: Sequence[Posted]) -> None:
        """Return when all of them last. Raises AppendError if not all are known to."""


class Taken(msgspec.Struct, frozen=True):
    """How many events are in the topic now."""

    accepted: int


class Intake(msgspec.Struct, frozen=True):
    """What the call works with."""

    config: IntakeConfig
    appender: Appender
    keyed: bool
    """Whether every record needs its model as the key, because several replicas share the topic."""
    counted: Callable[[str, int], None]
    """Told what became of how many events: `appended` or `failed`; or of a batch: `refused`."""
    clock: Callable[[], float]
    """Epoch seconds."""
    steady: Callable[[], float]
    """A monotonic clock, in seconds."""
    replies: Replies


def taking(intake: Intake) -> Endpoint:
    """The row of the table."""
    return Endpoint(
        "POST",
        "/events",
        Role.PRODUCER,
        "Append events to the topic: an event or an array of them, or CloudEvents with one each as their data.",
        Taken,
        once("/events", _Taking(intake).take, intake.replies, intake.clock),
        bodies={JSON: Event | list[Event], CLOUD_EVENT: CloudEvent, CLOUD_EVENTS: list[CloudEvent]},
        status=HTTPStatus.ACCEPTED,
        max_body=MAX_BYTES,
        limit=Throttle(intake.config.max_batches, intake.steady),
    )


class _Taking:
    def __init__(self, intake: Intake) -> None:
        self._in = intake
        self._room = threading.BoundedSemaphore(MAX_AT_ONCE)

    def take(self, call: Call) -> Taken:
        sent: Sent = call.body
        try:
            records = posted(sent.kind, sent.raw, self._in.config.topic, self._in.clock())
            for index, record in enumerate(records):
                self._check_model(call.principal, record.event.model, index)
        except PostedError as error:
            self._in.counted("refused", 1)
            raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not self._room.acquire(blocking=False):
            raise self._failed(len(records), "too many batches are on their way to Kafka")
        try:
            self._in.appender.append(records)
        except AppendError as error:
            raise self._failed(len(records), str(error)) from error
        finally:
            self._room.release()
        self._in.counted("appended", len(records))
        return Taken(len(records))

    def _failed(self, count: int, why: str) -> ProblemError:
        self._in.counted("failed", count)
        again = "send all of it again: of two events with one event_id the first counts"
        return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}; {again}")

    def _check_model(self, who: Principal, model: str | None, index: int) -> None:
        if model is None and (self._in.keyed or who.models is not None):
            raise PostedError("$.model: a label has to name its model here", index)
        if model is not None and not who.sees(model):
            raise PostedError("$.model: this token is not for that model", index)
