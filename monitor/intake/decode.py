"""From a record to an event, or to one clear reason why not.

The fast path is msgspec's typed decoder. Only a record that it refuses is looked at a second time, slowly, to say
what is wrong and where: details name the place (`$.features.age`), never what stood there.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from monitor.intake.events import Event, Features, Label, Prediction
from monitor.intake.source import Record

Headers = tuple[tuple[str, bytes], ...]

Parse = Callable[[bytes, Headers], Event]
"""A wire format: one function that returns the event or raises DecodeError. `Decoder` enforces the limits after it."""

MAX_SKEW = 3600.0
"""Seconds an event may be ahead of its record's own timestamp; further ahead it would end every wait for labels."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


class DecodeReason(StrEnum):
    """Why a record is no event; the values are metric labels and quarantine headers."""

    TOMBSTONE = "tombstone"
    """A record without a value. Ordinary in a compacted topic: count it, but it is no bad data."""
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    """More features, classes or embedding dimensions than the limit."""
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    UNKNOWN_KIND = "unknown_kind"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_NAME = "bad_name"
    """An identifier that is empty, too long or not printable; or a text value longer than the limit."""
    BAD_NUMBER = "bad_number"
    """NaN, infinite, or beyond what a double can hold."""
    BAD_TIMESTAMP = "bad_timestamp"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    """It has a signature that is not that of a producer who is known; see `monitor/intake/signatures.py`."""


class DecodeError(Exception):
    """The record is no event; `detail` names the place and never shows a value."""

    def __init__(self, reason: DecodeReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


Reject = Callable[[Record, DecodeError], None]


class Decoded(NamedTuple):
    """Events in the order of their records."""

    events: list[Event]
    times: list[float]
    """Epoch seconds of each."""


_JSON: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_NAMES: Mapping[type[Event], Callable[[Any], str]] = {
    Prediction: lambda event: f"{event.event_id}{event.model}{event.version}{event.source}",
    Label: lambda event: f"{event.event_id}{event.model}{event.labeler}",
    Features: lambda event: f"{event.event_id}{event.model}{event.source}",
}
"""The identifiers of an event in one text, by its type: a text can be printed if all of its parts can."""
_DIGITS = 309
"""An integer of so many digits is beyond the range of a double."""


def native(value: bytes, _headers: Headers = ()) -> Event:
    """Parse the native JSON format, described in README.md, "Events".

    Of a key given twice, the last one counts; keys that the format does not have are ignored.

    Raises:
        DecodeError: it is not valid.
    """
    try:
        return _JSON.decode(value)
    except RecursionError:
        raise DecodeError(DecodeReason.TOO_DEEP, "$") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # `from None`: the original's message may quote the payload.
        raise _explain(value) from None


class Decoder:
    """Decodes records in one wire format and holds every event to the limits that the rest of the daemon relies on.

    Args:
        parse: the wire format.
        max_bytes: longest value of a record that is looked at.
        max_features: most features, classes in `proba`, or dimensions of `embedding` in an event.
        max_text: longest text, in characters, of a feature name, a categorical value or a class; such texts become
            keys of the state.
    """

    def __init__(
        self,
        parse: Parse = native,
        *,
        max_bytes: int = 1_000_000,
        max_features: int = 10_000,
        max_text: int = 4_096,
    ) -> None:
        self._parse = parse
        self._max_bytes = max_bytes
        self._max_features = max_features
        self._max_text = max_text
        self._short = min(max_features, max_text)
        """Bytes in which neither can be exceeded."""

    def decode(self, record: Record) -> Event:
        """Return the record's event.

        Raises:
            DecodeError: the record is a tombstone, is not valid, or exceeds a limit.
        """
        event = self._open(record)
        self._checked([record], [event])
        return event

    def decode_all(self, records: Sequence[Record], reject: Reject) -> Decoded:
        """Return the events of records, in order, and tell `reject` of each record that is none.

        The limits are checked for all at once, and only where something is beyond one for each. No record is parsed, or
        its signature verified, twice: whoever may write bad records must not make the good ones dear.
        """
        opened: list[Event | DecodeError] = []
        for record in records:
            try:
                opened.append(self._open(record))
            except DecodeError as error:
                opened.append(error)
        events = [event for event in opened if not isinstance(event, DecodeError)]
        if len(events) == len(opened):
            with suppress(DecodeError):
                return Decoded(events, self._checked(records, events))
        decoded = Decoded([], [])
        for record, event in zip(records, opened, strict=True):
            try:
                if isinstance(event, DecodeError):
                    raise event
                decoded.times.extend(self._checked([record], [event]))
                decoded.events.append(event)
            except DecodeError as error:
                reject(record, error)
        return decoded

    def _open(self, record: Record) -> Event:
        """Parse a record. Raises DecodeError."""
        value = record.value
        if value is None:
            raise DecodeError(DecodeReason.TOMBSTONE, "the record has no value")
        if len(value) > self._max_bytes:
            raise DecodeError(DecodeReason.TOO_LARGE, f"more than {self._max_bytes} bytes")
        return self._parse(value, record.headers)

    def _checked(self, records: Sequence[Record], events: Sequence[Event]) -> list[float]:
        """Return epoch seconds of events, whose records these are. Raises DecodeError if one exceeds a limit."""
        times = [event.ts if type(event.ts) is float else event.epoch for event in events]
        if min(times, default=EARLIEST) < EARLIEST or max(times, default=EARLIEST) >= LATEST:
            raise DecodeError(DecodeReason.BAD_TIMESTAMP, "$.ts: not in 2000 to 2099; epoch numbers are in seconds")
        told = [record.timestamp for record in records]
        if max(times, default=EARLIEST) > min(told, default=LATEST) + MAX_SKEW and any(
            ts > stamp + MAX_SKEW and stamp for ts, stamp in zip(times, told, strict=True)
        ):
            raise DecodeError(DecodeReason.BAD_TIMESTAMP, "$.ts: more than an hour ahead of the record's own time")
        if not "".join([_NAMES[type(event)](event) for event in events]).isprintable():
            # Names stand in logs, messages and metrics: no control or invisible characters.
            raise DecodeError(DecodeReason.BAD_NAME, "$: an identifier has characters that cannot be printed")
        for record, event in zip(records, events, strict=True):
            if len(record.value or b"") > self._short:
                self._check_sizes(event)
                self._check_texts(event)
        return times

    def _check_sizes(self, event: Event) -> None:
        for field in ("features", "embedding", "proba"):
            value = getattr(event, field, None)
            if value is not None and len(value) > self._max_features:
                raise DecodeError(DecodeReason.TOO_MANY, f"$.{field}: more than {self._max_features}")

    def _check_texts(self, event: Event) -> None:
        for field in ("features", "proba", "prediction", "label"):
            value = getattr(event, field, None)
            texts = (*value, *value.values()) if isinstance(value, dict) else (value,)
            if any(isinstance(text, str) and len(text) > self._max_text for text in texts):
                raise DecodeError(DecodeReason.BAD_NAME, f"$.{field}: a text of more than {self._max_text} characters")


def _explain(value: bytes) -> DecodeError:
    """What is wrong with a value that the fast decoder refused."""
    try:
        payload = json.loads(value.decode(), parse_int=_integer)
        _check_fields(payload, _kind(payload))
        _refuse_numbers(payload)
    except DecodeError as error:
        return error
    except UnicodeDecodeError as error:
        return DecodeError(DecodeReason.NOT_UTF8, f"byte {error.start}")
    except json.JSONDecodeError as error:
        return DecodeError(DecodeReason.NOT_JSON, f"character {error.pos}")
    except RecursionError:
        return DecodeError(DecodeReason.TOO_DEEP, "$")
    return DecodeError(DecodeReason.NOT_JSON, "$: a key given twice, or text that is no Unicode")


_KINDS: dict[str, type[Event]] = {"prediction": Prediction, "label": Label, "features": Features}


def _kind(payload: object) -> type[Event]:
    """The type that an object says it is. Raises DecodeError if it is no object, or says nothing known."""
    if not isinstance(payload, dict):
        raise DecodeError(DecodeReason.WRONG_TYPE, "$: expected an object")
    if "kind" not in payload:
        raise DecodeError(DecodeReason.MISSING_FIELD, "$.kind")
    kind = payload["kind"]
    if not isinstance(kind, str):
        raise DecodeError(DecodeReason.WRONG_TYPE, "$.kind: expected `str`")
    if kind not in _KINDS:
        raise DecodeError(DecodeReason.UNKNOWN_KIND, "$.kind")
    return _KINDS[kind]


def _check_fields(payload: Mapping[str, Any], kind: type[Event]) -> None:
    for field in msgspec.structs.fields(kind):
        place = f"$.{field.name}"
        if field.name not in payload:
            if field.required:
                raise DecodeError(DecodeReason.MISSING_FIELD, place)
            continue
        value = payload[field.name]
        _refuse_numbers({field.name: value})
        try:
            _convert(value, field.type, place)
        except DecodeError as error:
            if field.name == "ts":
                raise DecodeError(DecodeReason.BAD_TIMESTAMP, error.detail) from None
            if isinstance(value, str):
                raise DecodeError(DecodeReason.BAD_NAME, error.detail) from None
            raise


def _convert(value: object, expected: object, place: str) -> None:
    """Raise DecodeError at the innermost place where the value is not as expected."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        # msgspec says what was expected and the type that was found; of our field types it never quotes a value.
        problem, _, inside = str(error).partition(" - at ")
        if isinstance(value, dict) and "[...]" in inside:
            for key, item in value.items() if len(value) > 1 else ():
                _convert({key: item}, expected, place)
            place = f"{place}.{_shown(next(iter(value)))}"
        raise DecodeError(DecodeReason.WRONG_TYPE, f"{place}: {problem}") from None


def _refuse_numbers(payload: Mapping[str, Any]) -> None:
    """Raise DecodeError at the first number that is not finite, or no double can hold."""
    for name, value in payload.items():
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            if not _finite(item):
                raise DecodeError(DecodeReason.BAD_NUMBER, f"$.{_shown(name)}.{_shown(str(key))}")
        if not _finite(value):
            raise DecodeError(DecodeReason.BAD_NUMBER, f"$.{_shown(name)}")


def _finite(value: object) -> bool:
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        return False


def _integer(digits: str) -> float:
    """An integer for the slow path: Python refuses, and takes quadratic time, where there are very many digits."""
    return int(digits) if len(digits) <= _DIGITS else math.inf


def _shown(key: str) -> str:
    """A key as it may stand in a message: short, on one line, plain ASCII."""
    return ascii(key)[1:-1][:64]
