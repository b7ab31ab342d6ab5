"""Whatever bytes arrive, the decoder gives an event or one DecodeError that names the place and shows no value."""

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.intake.decode import EARLIEST, LATEST, DecodeError, Decoder, DecodeReason, Headers, native
from monitor.intake.events import Event, Features, Label, Prediction, epoch
from monitor.intake.source import Partition, Record

TOPIC = Partition("events", 0)
CANARY = "4111-1111-canary"

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=256)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]))
classes = texts | numbers | st.booleans()
features = st.dictionaries(texts, st.none() | texts | numbers | st.booleans(), max_size=20)
times = st.floats(EARLIEST, LATEST, exclude_max=True)
maybe_names = st.none() | names
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Prediction,
        event_id=names,
        ts=times,
        model=names,
        version=names,
        features=features,
        prediction=classes,
        source=maybe_names,
        proba=st.none() | st.dictionaries(texts, st.floats(0, 1)),
        embedding=st.none() | st.lists(st.floats(-1, 1)),
    ),
    st.builds(Label, event_id=names, ts=times, label=classes, model=maybe_names, labeler=maybe_names),
    st.builds(Features, event_id=names, ts=times, model=names, features=features, source=maybe_names),
)

prediction: dict[str, Any] = {
    "kind": "prediction",
    "event_id": "e1",
    "ts": "2026-03-02T00:00:55.269Z",
    "model": "net-ids",
    "version": "1.0.0",
    "source": "src-03",
    "features": {"duration": 0, "service": "http"},
    "prediction": "normal",
    "proba": {"normal": 0.97, "attack": 0.03},
    "embedding": [0.1, 0.2],
}
label: dict[str, Any] = {"kind": "label", "event_id": "e1", "ts": 1_772_421_000, "label": "normal", "labeler": "lab-2"}


def decode(value: bytes | str | dict[str, Any] | None, **limits: int) -> Event:
    match value:
        case dict():
            value = json.dumps(value).encode()
        case str():
            value = value.encode()
    return Decoder(**limits).decode(Record(TOPIC, 7, value, 0.0))


def refused(value: bytes | str | dict[str, Any] | None, **limits: int) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(value, **limits)
    return caught.value


def attempt(value: bytes | dict[str, Any]) -> Event | DecodeError:
    try:
        return decode(value)
    except DecodeError as error:
        return error


@given(events)
def test_every_valid_event_survives_the_wire(event: Event) -> None:
    assert decode(msgspec.json.encode(event)) == event


@given(st.binary() | st.binary().map(lambda tail: b'{"kind":"label","event_id":"e","ts":1e9,"label":' + tail))
def test_any_bytes_give_an_event_or_a_decode_error(value: bytes) -> None:
    outcome = attempt(value)
    assert isinstance(outcome, Event) or outcome.detail


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*prediction, *label])


@given(st.sampled_from([prediction, label]), st.dictionaries(keys, odd, max_size=3), st.sets(keys, max_size=2))
def test_damaged_events_are_explained_without_showing_a_value(
    sound: dict[str, Any], damage: dict[str, Any], missing: set[str]
) -> None:
    damaged = {key: value for key, value in (sound | damage).items() if key not in missing}
    outcome = attempt(damaged)
    if isinstance(outcome, DecodeError):
        assert CANARY not in str(outcome)
        assert "\n" not in str(outcome)


@pytest.mark.parametrize(
    ("value", "reason", "place"),
    [
        (None, DecodeReason.TOMBSTONE, "no value"),
        (b"", DecodeReason.NOT_JSON, "character 0"),
        (b"\x00\x00\x00\x00\x07avro", DecodeReason.NOT_JSON, "character 0"),
        (b'{"kind":"label"', DecodeReason.NOT_JSON, "character 15"),
        (b'\xef\xbb\xbf{"kind":"label"}', DecodeReason.NOT_JSON, "character 0"),
        (b'{"kind":"\xff"}', DecodeReason.NOT_UTF8, "byte 9"),
        ('{"kind":"label"}'.encode("utf-16"), DecodeReason.NOT_UTF8, "byte 0"),
        (b"[]", DecodeReason.WRONG_TYPE, "$"),
        (b"null", DecodeReason.WRONG_TYPE, "$"),
        (b"{}", DecodeReason.MISSING_FIELD, "$.kind"),
        (b'{"kind":1}', DecodeReason.WRONG_TYPE, "$.kind"),
        (b'{"kind":"model"}', DecodeReason.UNKNOWN_KIND, "$.kind"),
    ],
)
def test_what_is_no_event_at_all(value: bytes | None, reason: DecodeReason, place: str) -> None:
    error = refused(value)
    assert error.reason is reason
    assert place in error.detail


@pytest.mark.parametrize(
    ("sound", "change", "reason", "detail"),
    [
        (label, {"event_id": ""}, DecodeReason.BAD_NAME, "$.event_id: Expected `str` of length >= 1"),
        (label, {"event_id": "x" * 257}, DecodeReason.BAD_NAME, "$.event_id: Expected `str` of length <= 256"),
        (label, {"event_id": 7}, DecodeReason.WRONG_TYPE, "$.event_id: Expected `str`, got `int`"),
        (label, {"labeler": "a\nb"}, DecodeReason.BAD_NAME, "$: an identifier"),
        (label, {"labeler": "a\x00"}, DecodeReason.BAD_NAME, "$: an identifier"),
        (label, {"event_id": "pay\u202elab"}, DecodeReason.BAD_NAME, "$: an identifier"),
        (label, {"label": None}, DecodeReason.WRONG_TYPE, "$.label: Expected"),
        (label, {"label": {"a": 1, "b": 2}}, DecodeReason.WRONG_TYPE, "$.label: Expected"),
        (prediction, {"model": "a\u200bb"}, DecodeReason.BAD_NAME, "$: an identifier"),
        (prediction, {"features": []}, DecodeReason.WRONG_TYPE, "$.features: Expected `object`, got `array`"),
        (prediction, {"features": {"a": 1, "x": [1]}}, DecodeReason.WRONG_TYPE, "$.features.x: Expected"),
        (prediction, {"features": {"x": {}}}, DecodeReason.WRONG_TYPE, "$.features.x: Expected"),
        (prediction, {"features": {"a\n" * 90: {}}}, DecodeReason.WRONG_TYPE, "$.features.a\\na\\n"),
        (prediction, {"proba": {"a": 0.5, "b": "0.5"}}, DecodeReason.WRONG_TYPE, "$.proba.b: Expected `float`"),
        (prediction, {"embedding": [0.5, None]}, DecodeReason.WRONG_TYPE, "$.embedding: Expected `float`"),
        (prediction, {"features": {"a": 1, "x": float("nan")}}, DecodeReason.BAD_NUMBER, "$.features.x"),
        (prediction, {"features": {"x": float("-inf")}}, DecodeReason.BAD_NUMBER, "$.features.x"),
        (prediction, {"embedding": [0.5, float("inf")]}, DecodeReason.BAD_NUMBER, "$.embedding.1"),
        (prediction, {"other": float("nan")}, DecodeReason.BAD_NUMBER, "$.other"),
        (label, {"label": 10**308 * 100}, DecodeReason.BAD_NUMBER, "$.label"),
        (prediction, {"features": {"a": 5, "x": -(10**400)}}, DecodeReason.BAD_NUMBER, "$.features.x"),
    ],
)
def test_wrong_fields_are_named(
    sound: dict[str, Any], change: dict[str, Any], reason: DecodeReason, detail: str
) -> None:
    error = refused(sound | change)
    assert error.reason is reason
    assert error.detail.startswith(detail)
    assert len(error.detail) < 200


@pytest.mark.parametrize("field", ["event_id", "ts", "model", "version", "features", "prediction"])
def test_a_missing_field_is_named(field: str) -> None:
    error = refused({key: value for key, value in prediction.items() if key != field})
    assert (error.reason, error.detail) == (DecodeReason.MISSING_FIELD, f"$.{field}")


@pytest.mark.parametrize(
    "ts",
    [
        *("", "yesterday", "2026-03-02", "1772421000", "2026-06-30T23:59:60Z", "0001-01-01T00:00:00+14:00"),
        *("1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        *(-1, 0, EARLIEST - 1, LATEST, 1_772_421_000_000, 10**25, None, True, [], {}),
    ],
)
def test_times_outside_our_century_and_no_times_are_refused(ts: object) -> None:
    error = refused(label | {"ts": ts})
    assert error.reason is DecodeReason.BAD_TIMESTAMP
    assert error.detail.startswith("$.ts")


@pytest.mark.parametrize(
    "ts", [EARLIEST, LATEST - 1, 1_772_421_000.5, "2026-03-02T03:10:00+01:00", "2026-03-02T02:10:00"]
)
def test_times_within_it_are_taken(ts: object) -> None:
    event = decode(label | {"ts": ts})
    assert epoch(event.ts) == (ts if isinstance(ts, float | int) else 1_772_417_400)


@pytest.mark.parametrize(
    "token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400", "9" * 400, "9" * 5000, "-" + "9" * 200_000]
)
@pytest.mark.parametrize(
    ("template", "place"),
    [
        ('{"kind":"label","event_id":"e","ts":1e9,"label":%s}', "$.label"),
        ('{"kind":"features","event_id":"e","ts":1e9,"model":"m","features":{"a":1,"x":%s}}', "$.features.x"),
    ],
)
def test_numbers_that_no_double_holds_are_refused(token: str, template: str, place: str) -> None:
    error = refused(template % token)
    assert (error.reason, error.detail) == (DecodeReason.BAD_NUMBER, place)


def test_the_largest_numbers_and_long_digit_texts_are_taken() -> None:
    fine: dict[str, Any] = {"a": int(1.7e308), "b": 1.7e308, "c": 5e-324, "d": -0.0, "e": 2**64, "f": "7" * 400}
    event = decode(prediction | {"features": fine})
    assert isinstance(event, Prediction)
    assert event.features == fine
    assert all(float(value) is not None for name, value in event.features.items() if name != "f")


@pytest.mark.parametrize("depth", [5_000, 150_000])
@pytest.mark.parametrize("where", ["%s", '{"kind":"label","event_id":"e","ts":1e9,"label":1,"other":%s}', '{"a":1,%s'])
def test_deep_nesting_does_not_exhaust_the_stack(depth: int, where: str) -> None:
    assert refused(where % ("[" * depth)).reason in {DecodeReason.TOO_DEEP, DecodeReason.NOT_JSON}
    assert refused(where % ("[" * depth + "]" * depth)).reason in {DecodeReason.TOO_DEEP, DecodeReason.NOT_JSON}
    assert refused(where % ('{"a":' * depth)).reason in {DecodeReason.TOO_DEEP, DecodeReason.NOT_JSON}


def test_too_deep_is_called_so() -> None:
    deep = '{"kind":"label","event_id":"e","ts":1e9,"label":1,"other":' + "[" * 5_000 + "]" * 5_000 + "}"
    assert refused(deep).reason is DecodeReason.TOO_DEEP


def test_a_large_record_is_refused_before_it_is_read() -> None:
    assert decode(b" " * 990_000 + json.dumps(label).encode())
    error = refused(b"[" * 1_000_001)
    assert error.reason is DecodeReason.TOO_LARGE
    assert refused(json.dumps(label).encode(), max_bytes=20).reason is DecodeReason.TOO_LARGE


def test_a_bomb_of_keys_is_refused() -> None:
    bomb = prediction | {"features": {f"f{i}": i for i in range(10_001)}}
    assert refused(bomb).reason is DecodeReason.TOO_MANY
    assert decode(bomb, max_features=10_001)
    assert refused(prediction, max_features=1).detail.startswith("$.features")
    assert refused(prediction | {"features": {}}, max_features=1).detail.startswith("$.embedding")
    assert refused(prediction | {"features": {}, "embedding": None}, max_features=1).detail.startswith("$.proba")


@pytest.mark.parametrize(
    "change",
    [
        {"features": {"a" * 4097: 1}},
        {"features": {"a": "b" * 4097}},
        {"proba": {"c" * 4097: 0.5}},
        {"prediction": "d" * 4097},
    ],
)
def test_a_text_that_would_swell_the_state_is_refused(change: dict[str, Any]) -> None:
    error = refused(prediction | change)
    assert error.reason is DecodeReason.BAD_NAME
    assert error.detail.startswith(f"$.{next(iter(change))}")


def test_of_a_key_given_twice_the_last_counts() -> None:
    event = decode('{"kind":"label","event_id":"first","ts":1e9,"label":1,"event_id":"second"}')
    assert event.event_id == "second"
    twice = decode('{"kind":"features","event_id":"e","ts":1e9,"model":"m","features":{"a":1,"a":2}}')
    assert isinstance(twice, Features)
    assert twice.features == {"a": 2}


def test_a_key_given_twice_with_two_meanings_is_refused() -> None:
    error = refused('{"kind":"label","event_id":[],"event_id":"e","ts":1e9,"label":1}')
    assert (error.reason, "twice" in error.detail) == (DecodeReason.NOT_JSON, True)
    assert (
        refused('{"kind":"label","event_id":"e","ts":1e9,"label":1,"kind":"prediction"}').reason
        is DecodeReason.MISSING_FIELD
    )


@pytest.mark.parametrize("escape", [r"\ud800", r"\udc00", r"a\udfffb", r"\ud800\u0041"])
def test_lone_surrogates_are_refused(escape: str) -> None:
    for place in ('"label":"%s"', '"label":1,"labeler":"%s"', '"label":1,"%s":2'):
        error = refused('{"kind":"label","event_id":"e","ts":1e9,' + place % escape + "}")
        assert error.reason in {DecodeReason.NOT_JSON, DecodeReason.WRONG_TYPE}
        str(error).encode()


def test_a_surrogate_pair_is_one_character() -> None:
    event = decode(r'{"kind":"label","event_id":"e","ts":1e9,"label":"\ud83d\ude00"}')
    assert isinstance(event, Label)
    assert event.label == "😀"


def test_keys_that_the_format_does_not_have_are_ignored() -> None:
    assert decode(label | {"comment": {"deep": [1, 2, {"er": None}]}}) == decode(label)


def test_another_wire_format_is_one_function_under_the_same_limits() -> None:
    def lines(value: bytes, headers: Headers) -> Event:
        model = dict(headers).get("model", b"").decode()
        event_id, ts, *rest = value.decode().split()
        return Features(event_id=event_id, ts=float(ts), model=model, features={str(i): v for i, v in enumerate(rest)})

    decoder = Decoder(lines, max_features=2)
    headers = (("model", b"m"),)
    event = decoder.decode(Record(TOPIC, 0, b"e1 1e9 a b", 0.0, headers))
    assert event == Features(event_id="e1", ts=1e9, model="m", features={"0": "a", "1": "b"})
    for value, reason in [(b"e1 1e9 a b c", DecodeReason.TOO_MANY), (b"e1 1", DecodeReason.BAD_TIMESTAMP)]:
        with pytest.raises(DecodeError) as caught:
            decoder.decode(Record(TOPIC, 0, value, 0.0, headers))
        assert caught.value.reason is reason


@given(
    raw=st.lists(
        st.one_of(
            events.map(msgspec.json.encode),
            st.just(None),
            st.binary(max_size=20),
            events.map(lambda event: msgspec.json.encode(msgspec.structs.replace(event, ts=LATEST))),
            events.map(lambda event: msgspec.json.encode(msgspec.structs.replace(event, event_id="a\u0007"))),
        ),
        max_size=8,
    ),
    stamp=st.sampled_from([0.0, 1.0, EARLIEST, LATEST]),
    limits=st.sampled_from([{}, {"max_text": 3}, {"max_features": 2}, {"max_bytes": 150}]),
)
def test_records_decoded_together_are_what_each_is_alone(
    raw: list[bytes | None], stamp: float, limits: dict[str, int]
) -> None:
    decoder = Decoder(**limits)
    records = [Record(TOPIC, offset, value, stamp) for offset, value in enumerate(raw)]
    told: list[tuple[int, str]] = []
    decoded = decoder.decode_all(records, lambda record, error: told.append((record.offset, str(error))))
    expected, refusals = [], []
    for record in records:
        try:
            expected.append(decoder.decode(record))
        except DecodeError as error:
            refusals.append((record.offset, str(error)))
    assert told == refusals
    assert decoded == (expected, [event.epoch for event in expected])


def test_no_record_is_parsed_twice_because_of_another_one() -> None:
    parsed: list[bytes] = []

    def counting(value: bytes, headers: Headers) -> Event:
        parsed.append(value)
        return native(value, headers)

    good, bad = json.dumps(label).encode(), json.dumps(label | {"ts": 1}).encode()
    records = [Record(TOPIC, offset, value, 0.0) for offset, value in enumerate([good, b"none", good, bad, good])]
    refused_at: list[int] = []
    decoded = Decoder(counting).decode_all(records, lambda record, _error: refused_at.append(record.offset))
    assert (len(decoded.events), refused_at) == (3, [1, 3])
    assert parsed == [record.value for record in records]


def test_reasons_are_fit_for_metric_labels() -> None:
    assert all(set(reason.value) <= set(string.ascii_lowercase + string.digits + "_") for reason in DecodeReason)
