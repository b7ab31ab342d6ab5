"""What was posted over HTTP, as records for the topic: native JSON, or CloudEvents that carry it.

Each event is held to what a record of the topic is held to, by the same decoder, and goes on as the bytes that came.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from monitor.intake.decode import DecodeError, Decoder
from monitor.intake.events import Event
from monitor.intake.source import Partition, Record

JSON = "application/json"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
MAX_EVENTS = 1_000
"""Events that may be posted together."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A CloudEvent 1.0 in JSON; of its attributes, those that go on as headers of the record."""

    specversion: Annotated[str, msgspec.Meta(pattern=r"^1\.0$")]
    id: _Text
    source: _Text
    type: _Text
    data: msgspec.Raw
    """An event in the native format, as it is."""
    datacontenttype: Annotated[str, msgspec.Meta(pattern=r"^application/json(;[\s\S]*)?$")] = JSON


class Posted(msgspec.Struct, frozen=True):
    """One record to be appended."""

    key: bytes | None
    """The model, so that all of its events are in one partition; None for a label that names none."""
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    event: Event


class PostedError(Exception):
    """What was posted cannot be taken; nothing of it is. One line that quotes no value.

    Attributes:
        index: which of the events is wrong, from 0; None where it is the whole.
    """

    def __init__(self, detail: str, index: int | None = None) -> None:
        super().__init__(detail if index is None else f"events[{index}]: {detail}")
        self.index = index


def posted(kind: str, body: bytes, topic: str, now: float, decoder: Decoder | None = None) -> list[Posted]:
    """All events of a body, or why not.

    Args:
        kind: its media type, one of the three.
        body: one event, or for JSON and CLOUD_EVENTS an array of them.
        topic: where they will be appended.
        now: epoch seconds.
        decoder: that of the topic.

    Raises:
        PostedError: one event is no event, or the body is none of that.
    """
    decoder = decoder or Decoder()
    records = []
    for index, raw in enumerate(_items(kind, body)):
        value, headers = (raw, ()) if kind == JSON else _unwrapped(raw, index)
        try:
            event = decoder.decode(Record(Partition(topic, 0), index, value, now, headers))
        except DecodeError as error:
            raise PostedError(str(error), index) from None
        records.append(Posted(event.model.encode() if event.model else None, value, headers, event))
    return records


def _items(kind: str, body: bytes) -> Sequence[bytes]:
    """The events, not decoded."""
    if kind == CLOUD_EVENT or (kind == JSON and not body.lstrip(b" \t\r\n").startswith(b"[")):
        return [body]
    try:
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise PostedError("the body is no JSON array") from None
    if not 0 < len(found) <= MAX_EVENTS:
        raise PostedError(f"not 1 to {MAX_EVENTS} events")
    return [bytes(raw) for raw in found]


def _unwrapped(raw: bytes, index: int) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """The data of a CloudEvent, and its attributes as the Kafka binding of CloudEvents 1.0 has them (binary mode)."""
    try:
        event = msgspec.json.decode(raw, type=CloudEvent)
    except msgspec.ValidationError as error:  # it says which attribute, and what was expected
        raise PostedError(f"no CloudEvent: {error}", index) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise PostedError("no JSON", index) from None
    attributes = {"specversion": event.specversion, "id": event.id, "source": event.source, "type": event.type}
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    return bytes(event.data), (*headers, ("content-type", JSON.encode()))
