"""Records that nobody has signed who is known: kept, counted, told, and no way to blind the watch."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alerting.incident import Change, Problem, Severity, Status, Transition, Verdict
from alerting.incidents import Incidents
from monitor.detection.pipeline import Pipeline
from monitor.intake.join import Join
from monitor.intake.quarantine import FileQuarantine, InvalidRatio
from monitor.intake.signatures import SignaturesConfig, SignedDecoder, sign
from monitor.intake.source import Partition, Record
from monitor.service.forgery import QUIET
from monitor.service.gate import Gate
from monitor.telemetry.metrics import Metrics
from tests.kit.memory_source import MemorySource

SECRET = "0123456789abcdef0123456789abcdef"
PARTITION = Partition("events", 2)
GOOD = b'{"kind":"features","event_id":"f","ts":1772500000,"model":"m","features":{"a":1}}'


class Post:
    """A gate, and a pipeline that believes one producer."""

    def __init__(self, folder: Path, incidents: Incidents | None = None) -> None:
        self.now, self.offset = 1_772_500_000.0, 0
        self.registry = CollectorRegistry()
        self.quarantine = FileQuarantine(folder / "q.jsonl")
        metrics = Metrics(self.registry).reading
        self.gate = Gate(self.quarantine, InvalidRatio(0.5, 200, 100), 0.5, metrics, lambda: self.now)
        keys = [{"id": "k", "secret": {"value": SECRET}}]
        config = SignaturesConfig.model_validate({"producers": [{"name": "p", "keys": keys}]})
        board = Incidents() if incidents is None else incidents
        self.pipeline = Pipeline(SignedDecoder(config), Join(60.0, 10), lambda _: None, board, self.gate.reject)

    def read(self, *kinds: str) -> list[Transition]:
        """Records of these kinds: `good`, `unsigned`, `forged` or `nonsense`."""
        self.now += 1.0
        records = []
        for kind in kinds:
            headers: dict[str, bytes] = {}
            value = b"{nonsense" if kind == "nonsense" else GOOD
            if kind != "unsigned":
                headers = sign(SECRET.encode(), "p", "k", "other" if kind == "forged" else "events", value)
            records.append(Record(PARTITION, self.offset, value, self.now, tuple(headers.items())))
            self.offset += 1
        self.pipeline.process(records)
        return self.gate.close_on(records, MemorySource({}), self.pipeline.incidents)

    def count(self, reason: str) -> float:
        return self.registry.get_sample_value("tocsin_events_invalid_total", {"reason": reason}) or 0.0


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    with closing(made.quarantine):
        yield made


def test_they_are_one_incident_that_becomes_worse_with_a_wrong_signature(post: Post) -> None:
    assert post.read("good") == []
    (opened,) = post.read("good", "unsigned", "good")
    incident = opened.incident
    assert (opened.change, incident.verdict, incident.problem) == (Change.OPENED, Verdict.FORGERY, Problem.FORGERY)
    assert (incident.model, incident.severity, incident.event_index) == ("events[2]", Severity.WARNING, 2)
    assert post.read("unsigned") == []
    (worse,) = post.read("forged", "unsigned")
    assert (worse.incident.id, worse.incident.severity) == (incident.id, Severity.CRITICAL)
    told = {evidence.stream: evidence.observed for evidence in worse.incident.evidence}
    assert told == {"records with a wrong signature": 1, "records without a signature": 3}
    assert (post.count("unsigned"), post.count("forged"), post.count("not_json")) == (3, 1, 0)
    assert post.registry.get_sample_value("tocsin_quarantined_total") == 4


def test_it_is_over_when_none_has_come_for_a_while(post: Post) -> None:
    (opened,) = post.read("forged")
    post.now += QUIET / 2
    assert post.read("good", "forged") == []
    post.now += QUIET - 10.0
    assert post.read("good") == []
    post.now += 10.0
    (over,) = post.read("good")
    assert (over.incident.id, over.incident.status) == (opened.incident.id, Status.RESOLVED)
    (again,) = post.read("unsigned")
    told = {evidence.stream: evidence.observed for evidence in again.incident.evidence}
    assert (again.change, told) == (Change.REOPENED, {"records without a signature": 1})  # counted anew


def test_a_restart_in_between_changes_nothing(post: Post, tmp_path: Path) -> None:
    (opened,) = post.read("forged")
    later = Post(tmp_path, Incidents([opened.incident]))
    with closing(later.quarantine):
        later.now = post.now
        assert later.read("good") == []
        later.now += QUIET - 5.0
        assert later.read("good") == []
        later.now += 5.0
        (over,) = later.read("good")
        assert over.incident.id == opened.incident.id


def test_whoever_writes_unsigned_records_cannot_have_the_partition_held(post: Post) -> None:
    for _ in range(5):
        post.read(*["unsigned", "forged"] * 100)
    assert post.gate.held == set()
    told: list[Any] = []
    for _ in range(3):
        told += post.read(*["nonsense"] * 100)  # signed, and nonsense: that is the producer's own fault
    assert post.gate.held == {PARTITION}
    assert [step.incident.problem for step in told] == [Problem.INTAKE]
