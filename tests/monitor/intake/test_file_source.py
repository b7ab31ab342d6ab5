"""Files of recorded events: resumable, bounded in memory, and clear about the place of any damage."""

import gzip
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.intake.file_source import FileSource
from monitor.intake.source import Partition, Record, SourceError


def opened(*paths: Path, positions: Mapping[Partition, int] | None = None, **limits: int) -> FileSource:
    source = FileSource(paths, **limits)
    source.start(lambda _: positions or {})
    return source


def read_into(records: list[Record], source: FileSource) -> None:
    while not source.finished:
        records += source.poll(0.0)


def read_all(source: FileSource) -> list[Record]:
    records: list[Record] = []
    read_into(records, source)
    return records


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Gzip of random lines, with a hole of zeros in the second half."""
    lines = b"".join(b"%030x\n" % random.Random(n).getrandbits(120) for n in range(20_000))
    content = bytearray(gzip.compress(lines))
    content[300_000:300_100] = bytes(100)
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(content)
    return path


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))))
def test_lines_come_back_with_their_numbers(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("lines") / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    expected = [(n, None if line == b"null" else line) for n, line in enumerate(lines) if line]
    for max_records in (1, 3, 500):
        records = read_all(opened(path, max_records=max_records))
        assert [(record.offset, record.value) for record in records] == expected


@given(st.data())
def test_reading_in_two_parts_is_reading_once(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / "a.jsonl", folder / "b.jsonl"]
    for path in paths:
        path.write_bytes(b"".join(b"%d\n" % n for n in range(data.draw(st.integers(0, 20)))))
    once = read_all(opened(*paths))
    first = opened(*paths, max_records=data.draw(st.integers(1, 50))).poll(0.0)
    positions = {record.partition: record.offset + 1 for record in first}
    assert [*first, *read_all(opened(*paths, positions=positions))] == once


def test_line_ends_of_other_systems_and_a_missing_last_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"1\r\n\r\n2\n\n3")
    assert [(record.offset, record.value) for record in read_all(opened(path))] == [(0, b"1"), (2, b"2"), (4, b"3")]


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n", b"\nnext\n"])
def test_a_long_line_is_cut_so_that_it_is_seen_to_be_too_long(tmp_path: Path, name: str, last: bytes) -> None:
    path = tmp_path / name
    content = b"short\n" + b"x" * 300_000 + b"\r" * 700 + last
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    records = read_all(opened(path, max_line_bytes=300_500))
    assert values(records)[:2] == [b"short", b"x" * 300_000 + b"\r" * 501]
    assert values(records)[2:] == ([b"next"] if b"next" in last else [])


def test_a_line_of_just_the_limit_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 100 + b"\n" + b"y" * 101 + b"\n" + b"z" * 100)
    assert values(read_all(opened(path, max_line_bytes=100))) == [b"x" * 100, b"y" * 101, b"z" * 100]


def test_a_poll_of_long_lines_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes((b"x" * 900_000 + b"\n") * 25)
    source = opened(path)
    assert len(source.poll(0.0)) == 19
    assert len(read_all(source)) == 6


def test_damaged_gzip_is_an_error_with_its_place_after_all_that_was_sound(damaged: Path) -> None:
    source = opened(damaged)
    sound: list[Record] = []
    with pytest.raises(SourceError, match=rf"{damaged}: line \d+ cannot be read: ") as caught:
        read_into(sound, source)
    assert len(sound) > 10_000
    assert f"line {len(sound) + 1} " in str(caught.value)
    with pytest.raises(SourceError, match="cannot be read"):
        source.poll(0.0)
    assert not source.finished


def test_gzip_cut_off_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(random.Random(1).randbytes(100_000))[:50_000])
    with pytest.raises(SourceError, match="cannot be read"):
        read_all(opened(path))


def test_a_name_that_promises_gzip_is_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(b'{"kind":"label"}\n')
    with pytest.raises(SourceError, match="line 1 cannot be read: Not a gzipped file"):
        read_all(opened(path))


def test_files_that_cannot_be_read_are_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing\.jsonl: cannot be read"):
        opened(tmp_path / "missing.jsonl")
    with pytest.raises(SourceError, match="is a directory"):
        opened(tmp_path)
    with pytest.raises(SourceError, match="twice"):
        FileSource([tmp_path / "a", tmp_path / "a"])
    with pytest.raises(SourceError, match="no file"):
        FileSource([])


def test_a_file_shorter_than_its_position_is_not_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"1\n2\n")
    partition = Partition(str(path), 0)
    assert read_all(opened(path, positions={partition: 2})) == []
    with pytest.raises(SourceError, match="has 2 lines, but 3 were read before"):
        read_all(opened(path, positions={partition: 3}))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_progress_goes_from_nothing_to_all(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}.jsonl{suffix}" for name in "ab"]
    for path in paths:
        content = b"".join(b"%030x\n" % random.Random(n).getrandbits(120) for n in range(10_000))
        path.write_bytes(gzip.compress(content) if suffix else content)
    source = opened(*paths)
    assert (source.bytes_read, source.bytes_total) == (0, sum(path.stat().st_size for path in paths))
    seen = [0]
    while not source.finished:
        source.poll(0.0)
        seen.append(source.bytes_read)
    assert seen == sorted(seen)
    assert seen[-1] == source.bytes_total
    assert 0.3 < seen[len(seen) // 2] / source.bytes_total < 0.7


def test_lag_is_a_fair_estimate(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"%030d\n" * 10_000)
    source = opened(path)
    source.poll(0.0)
    (lag,) = source.lag().values()
    assert lag == pytest.approx(9_500, rel=0.05)


def test_closing_in_the_middle_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"1\n2\n3\n")
    source = opened(path, max_records=1)
    source.poll(0.0)
    source.close()
    assert source.poll(0.0) == []
