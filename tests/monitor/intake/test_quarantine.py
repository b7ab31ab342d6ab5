"""Nothing that could not be decoded is lost, nothing grows without bound, and a flood of it is noticed."""

import base64
import json
import stat
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.intake.decode import DecodeError, DecodeReason
from monitor.intake.quarantine import (
    MOST_BYTES,
    FileQuarantine,
    InvalidRatio,
    QuarantineConfig,
    QuarantineError,
    TopicQuarantine,
    open_quarantine,
)
from monitor.intake.source import Partition, Record

ERROR = DecodeError(DecodeReason.WRONG_TYPE, "$.features.x: Expected `object`, got `array`")
EVENTS = Partition("events", 3)


def record(value: bytes | None, offset: int = 17, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record(EVENTS, offset, value, 1e9, headers)


def lines(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


class Notebook:
    """A publisher that writes down what it is given."""

    def __init__(self) -> None:
        self.published: list[tuple[bytes, list[tuple[str, bytes]]]] = []
        self.flushed = 0
        self.closed = False

    def publish(self, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        self.published.append((value, list(headers)))

    def flush(self) -> None:
        self.flushed = len(self.published)

    def close(self) -> None:
        self.closed = True


def test_a_line_tells_origin_reason_and_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    quarantine = FileQuarantine(path)
    quarantine.keep(record(b'\xff\n{"a":1', headers=(("trace", b"\x00\x01"),)), ERROR)
    quarantine.keep(record(None, offset=18), ERROR)
    quarantine.flush()
    first, second = lines(path)
    assert base64.b64decode(first.pop("value")) == b'\xff\n{"a":1'
    assert first == {
        "reason": "wrong_type",
        "detail": "$.features.x: Expected `object`, got `array`",
        "topic": "events",
        "partition": 3,
        "offset": 17,
        "timestamp": 1e9,
        "headers": [["trace", base64.b64encode(b"\x00\x01").decode()]],
        "bytes": 8,
    }
    assert (second["offset"], second["value"], second["bytes"]) == (18, None, 0)
    quarantine.close()


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    quarantine = FileQuarantine(tmp_path / "q.jsonl")
    quarantine.keep(record(b"x"), ERROR)
    quarantine.close()
    quarantine.close()
    assert stat.S_IMODE((tmp_path / "q.jsonl").stat().st_mode) == 0o600


def test_of_a_huge_record_the_beginning_is_kept(tmp_path: Path) -> None:
    path, notebook = tmp_path / "q.jsonl", Notebook()
    for quarantine in (FileQuarantine(path), TopicQuarantine(notebook)):
        quarantine.keep(record(b"x" * (MOST_BYTES + 5)), ERROR)
        quarantine.close()
    (line,) = lines(path)
    assert (line["bytes"], len(base64.b64decode(line["value"]))) == (MOST_BYTES + 5, MOST_BYTES)
    ((value, headers),) = notebook.published
    assert len(value) == MOST_BYTES
    assert dict(headers)["tocsin-truncated"] == b"1000005"


def test_files_rotate_and_stay_within_their_bounds(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    quarantine = FileQuarantine(path, max_bytes=1_000, count=3)
    for offset in range(100):
        quarantine.keep(record(b"x" * 100, offset), ERROR)
    quarantine.close()
    paths = [tmp_path / name for name in ("q.jsonl.2", "q.jsonl.1", "q.jsonl")]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(each.stat().st_size < 1_500 for each in paths)
    kept = [line["offset"] for line in lines(*paths)]
    assert kept == list(range(100 - len(kept), 100))
    assert len(kept) >= 6


def test_a_single_file_starts_afresh_when_it_is_full(tmp_path: Path) -> None:
    quarantine = FileQuarantine(tmp_path / "q.jsonl", max_bytes=1_000, count=1)
    for offset in range(50):
        quarantine.keep(record(b"x" * 100, offset), ERROR)
    quarantine.close()
    assert [path.name for path in tmp_path.iterdir()] == ["q.jsonl"]
    assert lines(tmp_path / "q.jsonl")[-1]["offset"] == 49


def test_a_line_torn_by_a_crash_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"reason":"not_js')
    for offset in (1, 2):  # each with a new process
        quarantine = FileQuarantine(path)
        quarantine.keep(record(b"x", offset), ERROR)
        quarantine.close()
    torn, *whole = path.read_bytes().splitlines()
    assert torn == b'{"reason":"not_js'
    assert [json.loads(line)["offset"] for line in whole] == [1, 2]


def test_a_disk_that_takes_nothing_is_an_error_without_the_payload(tmp_path: Path) -> None:
    quarantine = FileQuarantine(tmp_path / "missing" / "q.jsonl")
    with pytest.raises(QuarantineError, match="No such file or directory") as caught:
        quarantine.keep(record(b"canary"), ERROR)
    assert "canary" not in str(caught.value)
    full = FileQuarantine(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(QuarantineError, match="No space left"):
            full.keep(record(b"canary"), ERROR)
    full.flush()


def test_a_topic_gets_the_bytes_and_headers_as_they_were() -> None:
    notebook = Notebook()
    quarantine = open_quarantine(QuarantineConfig(topic="events.bad"), {"events.bad": notebook}.__getitem__)
    quarantine.keep(record(b"\xff\x00", headers=(("trace", b"1"), ("trace", b"2"))), ERROR)
    quarantine.flush()
    quarantine.close()
    ((value, headers),) = notebook.published
    assert value == b"\xff\x00"
    assert headers[:2] == [("trace", b"1"), ("trace", b"2")]
    assert dict(headers[2:]) == {
        "tocsin-reason": b"wrong_type",
        "tocsin-detail": ERROR.detail.encode(),
        "tocsin-topic": b"events",
        "tocsin-partition": b"3",
        "tocsin-offset": b"17",
    }
    assert (notebook.flushed, notebook.closed) == (1, True)


def test_without_a_topic_it_is_a_file(tmp_path: Path) -> None:
    def no_publisher(topic: str) -> Notebook:
        raise AssertionError(topic)

    quarantine = open_quarantine(QuarantineConfig(file=tmp_path / "q.jsonl"), no_publisher)
    quarantine.keep(record(b"x"), ERROR)
    quarantine.close()
    assert len(lines(tmp_path / "q.jsonl")) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"topic": "bad", "file": "q.jsonl"},
        {"topic": "no spaces"},
        {"max_invalid_ratio": 0},
        {"max_invalid_ratio": 1.1},
        {"window": 50},
        {"file_count": 0},
        {"retention": 5},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QuarantineConfig.model_validate(settings)


@given(
    st.lists(st.booleans(), max_size=200),
    st.floats(0.01, 1),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_the_ratio_is_that_of_the_newest_records(bads: list[bool], max_ratio: float, window: int, minimum: int) -> None:
    ratio = InvalidRatio(max_ratio, window, minimum)
    newest: deque[bool] = deque(maxlen=window)
    for bad in bads:
        newest.append(bad)
        expected = len(newest) >= minimum and sum(newest) > max_ratio * len(newest)
        assert ratio.observe(EVENTS, bad=bad) is expected


def test_partitions_are_judged_apart() -> None:
    ratio = InvalidRatio(0.5, window=100, minimum=10)
    other = Partition("events", 4)
    for _ in range(50):
        assert not ratio.observe(other, bad=False)
    verdicts = [ratio.observe(EVENTS, bad=True) for _ in range(10)]
    assert verdicts == [False] * 9 + [True]
    assert not ratio.observe(other, bad=True)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=30), st.floats(0.1, 1), st.integers(1, 40))
def test_good_records_may_be_counted_together(runs: list[tuple[bool, int]], max_ratio: float, window: int) -> None:
    one_by_one, together = (InvalidRatio(max_ratio, window, 1) for _ in range(2))
    for bad, count in runs:
        expected = [one_by_one.observe(EVENTS, bad=bad) for _ in range(count)]
        if not bad and together.clean(EVENTS):
            assert not any(expected)
            together.observe_good(EVENTS, count)
        else:
            assert [together.observe(EVENTS, bad=bad) for _ in range(count)] == expected
