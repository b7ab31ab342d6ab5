"""What was posted over HTTP, as records: the bytes that came, or the index of what is wrong and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.intake.decode import MAX_SKEW, Decoder
from monitor.intake.events import Prediction
from monitor.intake.posted import CLOUD_EVENT, CLOUD_EVENTS, JSON, MAX_EVENTS, PostedError, posted
from monitor.intake.source import Partition, Record

NOW = 1_772_500_000.0
KINDS = (JSON, CLOUD_EVENT, CLOUD_EVENTS)


def label(**changes: Any) -> dict[str, Any]:
    return {"kind": "label", "event_id": "e1", "ts": NOW, "label": "ham", "model": "mail"} | changes


def cloud(data: Any, **changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "7", "source": "/mail/é", "type": "tocsin.label", "data": data} | changes


def test_one_event_or_many_go_on_as_the_bytes_that_came() -> None:
    one = b' {"kind":"label", "event_id":"e1",\n"ts":1772500000,"label":"ham","model":"mail","extra":[1]} '
    (record,) = posted(JSON, one, "t", NOW)
    assert (record.key, record.value, record.headers) == (b"mail", one, ())
    first, second = posted(JSON, b"\n[" + one + b"," + json.dumps(label(model=None)).encode() + b"]", "t", NOW)
    assert (first.value, first.key, second.key) == (one.strip(), b"mail", None)


@pytest.mark.parametrize("kind", [CLOUD_EVENT, CLOUD_EVENTS])
def test_the_attributes_of_a_cloud_event_become_headers_and_its_data_the_value(kind: str) -> None:
    data = label()
    event = cloud(data, time="2026-03-03T00:00:00Z", datacontenttype="application/json; charset=utf-8", own="x")
    body = event if kind == CLOUD_EVENT else [event]
    (record,) = posted(kind, json.dumps(body).encode(), "t", NOW)
    assert json.loads(record.value) == data
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"7",
        "ce_source": "/mail/é".encode(),
        "ce_type": b"tocsin.label",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (label(kind="gossip"), "events[2]: unknown_kind: $.kind"),
        (label(label=None), "events[2]: wrong_type: $.label"),
        (label(event_id="a\u200bb"), "events[2]: bad_name: $"),
        (label(ts=NOW + MAX_SKEW + 1), "events[2]: bad_timestamp: $.ts: more than an hour ahead"),
        ("secret", "events[2]: wrong_type: $: expected an object"),
    ],
)
def test_one_bad_event_is_named_by_its_index_without_its_values(bad: Any, why: str) -> None:
    events = [label(), label(), bad, label(), "nothing"]
    with pytest.raises(PostedError) as told:
        posted(JSON, json.dumps(events).encode(), "t", NOW)
    assert (told.value.index, str(told.value).startswith(why)) == (2, True), str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(PostedError, match=r"^events\[2\]: "):
        posted(CLOUD_EVENTS, json.dumps([cloud(each) for each in events]).encode(), "t", NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"source": None},
        {"type": 7},
        {"datacontenttype": "text/xml"},
        {"specversion": None},
        {"id": "x" * 2000},
    ],
)
def test_what_is_no_cloud_event_is_refused(wrong: dict[str, Any]) -> None:
    event = {name: value for name, value in cloud(label(), **wrong).items() if value is not None}
    with pytest.raises(PostedError, match=r"^events\[0\]: no CloudEvent: ") as told:
        posted(CLOUD_EVENT, json.dumps(event).encode(), "t", NOW)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"", b"[]", b"[", b"{", b"null", b"7", b"\xff", b"[" * 5000, b"[1," * 9 + b"1]"])
def test_what_is_nothing_of_the_kind_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(PostedError):
        posted(kind, body, "t", NOW)


def test_so_many_and_no_more() -> None:
    body = json.dumps([label()] * MAX_EVENTS).encode()
    assert len(posted(JSON, body, "t", NOW)) == MAX_EVENTS
    with pytest.raises(PostedError, match="not 1 to 1000 events"):
        posted(JSON, body[:-1] + b"," + json.dumps(label()).encode() + b"]", "t", NOW)


values = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text('ab\\"é', max_size=5)
predictions = st.builds(
    lambda features, who: {
        "kind": "prediction",
        "event_id": "e",
        "ts": NOW,
        "model": "m",
        "version": "1",
        "features": features,
        "prediction": "a",
        "source": who,
    },
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), values, max_size=4),
    st.none() | st.text("abc", min_size=1, max_size=5),
)


@given(st.lists(predictions, min_size=1, max_size=5), st.sampled_from(KINDS[::2]))
def test_the_topic_is_read_as_what_was_posted(events: list[dict[str, Any]], kind: str) -> None:
    body = events if kind == JSON else [cloud(event) for event in events]
    decoder = Decoder()
    for event, record in zip(events, posted(kind, json.dumps(body).encode(), "t", NOW), strict=True):
        read = decoder.decode(Record(Partition("t", 0), 0, record.value, NOW, record.headers))
        assert read == record.event
        assert isinstance(read, Prediction)
        assert read.features.keys() == event["features"].keys()
