"""Where suspects are written, as the configuration says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.intake.quarantine import FilePublisher, QuarantineError
from monitor.intake.suspect_log import SuspectsConfig, open_suspects


def no_topic(name: str) -> FilePublisher:
    raise AssertionError(name)


def test_nowhere_by_default() -> None:
    assert open_suspects(SuspectsConfig(), no_topic) is None


def test_a_topic_is_opened_by_its_name(tmp_path: Path) -> None:
    opened: list[str] = []

    def publisher(name: str) -> FilePublisher:
        opened.append(name)
        return FilePublisher(tmp_path / name)

    assert open_suspects(SuspectsConfig(topic="tocsin.suspects"), publisher) is not None
    assert opened == ["tocsin.suspects"]


def test_a_file_has_a_line_for_each_and_is_bounded_and_private(tmp_path: Path) -> None:
    path = tmp_path / "suspects.jsonl"
    found = open_suspects(SuspectsConfig(file=path, file_max_bytes=1_000, file_count=2), no_topic)
    assert found is not None
    for number in range(40):
        found.publish(b'{"event_id":"%060d"}' % number, ())
    found.flush()
    found.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["suspects.jsonl", "suspects.jsonl.1"]
    assert path.read_bytes().splitlines()[-1].endswith(b'39"}')
    assert all(each.stat().st_size <= 1_100 for each in tmp_path.iterdir())


def test_a_file_that_cannot_be_written_says_which(tmp_path: Path) -> None:
    found = open_suspects(SuspectsConfig(file=tmp_path / "absent" / "suspects.jsonl"), no_topic)
    assert found is not None
    with pytest.raises(QuarantineError, match=r"absent/suspects\.jsonl: No such file or directory"):
        found.publish(b"{}", ())


def test_one_place_only() -> None:
    with pytest.raises(ValidationError, match="give `topic` or `file`, not both"):
        SuspectsConfig(topic="a", file=Path("b"))
