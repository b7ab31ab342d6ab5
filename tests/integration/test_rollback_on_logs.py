"""What the recorded logs would have had Tocsin do: an attacker with one source or one labeler moves no alias."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from alerting.incidents import Incidents
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import Watch
from monitor.intake.decode import Decoder
from monitor.intake.file_source import FileSource
from monitor.intake.join import Join
from monitor.rollback.config import RollbackConfig
from monitor.rollback.policy import Case, Judged, Outcome, consider, judge

LOGS = Path(__file__).parents[3] / "shared" / "data" / "attacks"
REFERENCE_UNTIL = datetime.fromisoformat("2026-03-04T00:00:00Z").timestamp()
ONE_WITNESS = ("insider_label", "source_label", "backdoor", "clean_label")
"""What one labeler or one source did."""
BENIGN = ("clean", "clean_daily", "pipeline_bug", "covariate_drift", "prior_shift")
CONFIG = RollbackConfig()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LOGS.is_dir(), reason="the recorded logs are not on this machine"),
]


def logs(*scenarios: str) -> list[str]:
    names = sorted(path.name.removesuffix(".jsonl.gz") for path in LOGS.glob("*.jsonl.gz"))
    return [name for name in names if name.partition("__")[2] in scenarios]


def judgements(name: str) -> Iterator[Judged]:
    """What is thought of a rollback after every batch, for every incident that is open then."""

    def watch(model: str) -> Watch:
        until, caution = Until(ts=REFERENCE_UNTIL), Caution()
        return Watch(model, budget=1e5, baseline=None, until=until, caution=caution, companions=Companions(()))

    join = Join(604_800.0, 1_000_000, durable=False)
    pipeline = Pipeline(Decoder(), join, watch, Incidents(), lambda *_: pytest.fail("the logs are clean"))
    source = FileSource([LOGS / f"{name}.jsonl.gz"])
    source.start(lambda _: {})
    first: dict[str, tuple[str, int, int] | None] = {}
    while not source.finished:
        pipeline.process(source.poll(0.0))
        for incident in pipeline.incidents.firing():
            watched = pipeline.watches[incident.model]
            action = consider(incident, watched.newest)
            if action is None:
                continue
            looked = first.get(incident.id)
            action = msgspec.structs.replace(action, looked=looked)
            judged = judge(action, Case(incident, watched.answers), CONFIG, watched.newest)
            first[incident.id] = judged.looked
            yield judged


@pytest.mark.parametrize("log", logs(*ONE_WITNESS, *BENIGN))
def test_neither_one_witness_nor_the_weather_moves_an_alias(log: str) -> None:
    assert all(judged.outcome is not Outcome.ACT for judged in judgements(log))


# In the slow poisoning of the digits one class in ten is concerned, and the log ends before it is confirmed.
@pytest.mark.parametrize("log", [log for log in logs("label_flip", "frog_boil") if log != "digits__frog_boil"])
def test_a_poisoned_model_is_acted_on(log: str) -> None:
    acted = [judged for judged in judgements(log) if judged.outcome is Outcome.ACT]
    assert acted
    assert acted[0].families == ("labels", "answers")
