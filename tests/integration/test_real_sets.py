"""Sets that others recorded, with no attack added: what is found in them, and how often that is nothing."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from alerting.incident import Change, Transition, Verdict
from alerting.incidents import Incidents
from detectors.bets import Caution
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.watch import Watch
from monitor.intake.decode import Decoder
from monitor.intake.events import Label, Prediction
from monitor.intake.join import Join
from monitor.service.replay import learn
from tests.kit.real_sets import REAL, START, Event, answered, crowd, records, rows, served
from tests.kit.served import make_pipeline, refuse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="the recorded sets are not on this machine"),
]

BUDGET = 100_000.0
HALF_HOUR, DAY, YEAR = 1_800.0, 86_400.0, 365.25 * 86_400.0
CHANGE = 17_424
"""The row at which trade with the neighbouring market opens: three features were constant until then."""
ELECTRICITY = ("period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")


def run(events: list[Event], until: float) -> list[Transition]:
    pipeline = make_pipeline(budget=BUDGET, until=Until(ts=until), ttl=1e9)
    return [step for batch in batches(records(events), 2_000) for step in pipeline.process(batch)]


def batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def opened(steps: list[Transition]) -> list[float]:
    return [step.incident.updated_at for step in steps if step.change in (Change.OPENED, Change.REOPENED)]


@pytest.mark.parametrize("reference", [8_760, 12_424, 16_424])
def test_the_change_of_the_electricity_market_is_found_at_once(reference: int) -> None:
    table = rows("elec2")[: CHANGE + 1_000]
    events = list(served(table, ELECTRICITY, "class", trained=2_000, step=HALF_HOUR))
    steps = run(events, START + reference * HALF_HOUR)
    at = START + CHANGE * HALF_HOUR
    before, after = ([ts for ts in opened(steps) if (ts < at) == early] for early in (True, False))
    assert len(before) <= 1
    assert after[0] - at <= 10 * HALF_HOUR
    found = steps[-1].incident
    assert set(found.attribution.features) == {"vicprice", "vicdemand", "transfer"}
    assert found.onset.low <= at <= found.onset.high
    assert found.verdict is Verdict.COVARIATE_DRIFT


@pytest.mark.parametrize("years", [1, 2])
def test_seasons_are_no_news_once_a_year_is_the_baseline(years: int) -> None:
    table = rows("noaa_weather")
    features = [name for name in table[0] if name != "rain"]
    steps = run(list(served(table, features, "rain", trained=365, step=DAY)), START + years * YEAR)
    by_year = Counter(int((ts - START) / YEAR) for ts in opened(steps))
    assert max(by_year.values()) <= 2
    assert sum(by_year.values()) <= 10  # in half a century


def flagged(answers: list[tuple[str, str, str]]) -> set[str]:
    """Workers whose own answers alarm, against what is usual in the crowd; sixty of them as one model."""
    usual = [(None, answer, others) for _, answer, others in answers[:20_000]]
    decoder = Decoder()
    baseline = learn((decoder.decode(record) for record in records(crowd("crowd", usual))), "crowd", float("inf"))
    own: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for number, (worker, _) in enumerate(Counter(worker for worker, *_ in answers).most_common()):
        own[worker] = own[f"#{number // 60}"]
    for answer in answers:
        own[answer[0]].append(answer)
    found: set[str] = set()
    for model in [name for name in own if name.startswith("#")]:
        watch = Watch(
            model,
            budget=BUDGET,
            baseline=baseline,
            until=Until(),
            caution=Caution(),
            companions=Companions(()),
        )
        pipeline = Pipeline(decoder, Join(1e9, 100_000), {model: watch}.get, Incidents(), refuse)
        for batch in batches(records(crowd(model, own[model])), 400):
            pipeline.process(batch)
            found |= {f.source for f in watch.episode if f.source is not None and f.watched == "confusion"}
    return found


def test_workers_who_err_are_flagged_about_as_well_as_by_their_disagreement_and_without_a_threshold() -> None:
    table = rows("crowd_adultcontent2")
    gold: dict[str, list[bool]] = defaultdict(list)
    agrees: dict[str, list[bool]] = defaultdict(list)
    for row in table:
        agrees[row["worker"]].append(row["label"] == row["majority"])
        if row["gold"]:
            gold[row["worker"]].append(row["label"] == row["gold"])
    judged = {worker: sum(right) / len(right) for worker, right in gold.items() if len(right) >= 20}
    bad = {worker for worker, right in judged.items() if right < 0.6}
    ours = flagged(answered(table)) & judged.keys()
    plain = {worker for worker in judged if sum(agrees[worker]) < 0.5 * len(agrees[worker])}
    assert (len(judged), len(bad)) == (52, 11)
    assert len(ours & bad) / len(ours) >= 0.55  # as many by their disagreement: 7 of 12
    assert len(ours & bad) / len(bad) >= 0.6
    assert len(plain & bad) / len(bad) < 0.3  # who contradicts the majority more often than not


def test_events_of_the_kit_are_events() -> None:
    decode = Decoder().decode
    kinds = [type(decode(record)) for record in records(crowd("m", [("w", "G", "P")]))]
    assert kinds == [Prediction, Label]
