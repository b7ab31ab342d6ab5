"""A scrape stays small and quick, whatever is watched: 1,000 models x 300 features x 10,000 sources, all alarming."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from alerting.incident import Change, Verdict
from detectors.bets import Caution
from monitor.detection.bank import Bank
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.watch import Watch
from monitor.http.access_config import AccessConfig
from monitor.http.server import Server
from monitor.intake.events import Prediction
from monitor.intake.join import Joined
from monitor.intake.source import Partition
from monitor.service.observer import Observer
from monitor.telemetry.metrics import MAX_SERIES, Metrics
from tests.kit.api_world import known

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODELS, FEATURES, SOURCES, REFERENCE = 1_000, 300, 10_000, 1_000
LARGEST = 5_000_000
"""Bytes of one scrape, uncompressed."""


def watch(model: str) -> Watch:
    return Watch(
        model,
        budget=1_000.0,
        baseline=None,
        until=Until(events=2 * REFERENCE),
        caution=Caution(),
        companions=Companions(()),
    )


def alarming_bank() -> Bank:
    """What 10,000 sources have left behind that send other values, with labels that contradict the model."""
    rng = np.random.default_rng(1)
    watched = watch("m")
    for number in range(REFERENCE + SOURCES):
        late = number >= REFERENCE
        values = rng.normal(size=FEATURES)
        values[:10] += 1.5 * late
        source = f"source-{number if late else number % 20}"
        answer = "abcdefgh"[number % 8]
        truth = "h" if late and number % 2 else answer
        features = {f"feature-{place}": value for place, value in enumerate(values.tolist())}
        ts = 1.7e9 + number
        watched.take(Prediction(str(number), ts, "m", "1", features, answer, source), ts)
        watched.take(Joined("m", "1", source, answer, ts, truth, f"labeler-{number % 20}", ts + 1.0), ts + 1.0)
    for _ in watched.update():
        pass
    assert watched.bank is not None
    return watched.bank


def fill(metrics: Metrics, watches: dict[str, Watch]) -> None:
    """Give every other metric that has models as many series as 1,000 models in trouble would."""
    for model in watches:
        for kind in ("prediction", "label", "features"):
            metrics.reading.events.at(model, kind).inc(12345)
        metrics.reading.last_event.at(model).set(1.7e9)
        metrics.joining.joined.at(model).inc(12345)
        metrics.detection.invalid_values.at(model).inc(12345)
        for change in Change:
            metrics.reacting.transitions.at(model, Verdict.LABEL_FLIP, change).inc()
        metrics.reacting.opened.at(model, Verdict.LABEL_FLIP).inc()
        metrics.reacting.open.at(model, Verdict.LABEL_FLIP, "critical").set(1)
        metrics.reacting.opened_at.at("0123456789ab", model, "1", Verdict.LABEL_FLIP, "critical").set(1.7e9)
        metrics.reacting.confidence.at("0123456789ab", model).set(0.81)
        for place in range(3):
            metrics.reacting.objection.at("0123456789ab", model, f"something that speaks against it, {place}").set(1)
            metrics.reacting.reach.at("0123456789ab", model, "predictions", str(place)).set(12345)
        metrics.reacting.rollbacks.at(model, "done").inc()
        metrics.reacting.actions.at(model, "done").set(1)
        metrics.reacting.last_rollback.at(model).set(1.7e9)


def test_a_thousand_models_with_everything_alarming(capsys: pytest.CaptureFixture[str]) -> None:
    registry, bank = CollectorRegistry(), alarming_bank()
    watches = {name: watch(name) for name in (f"team-{number % 40}/model-{number:04d}" for number in range(MODELS))}
    for watched in watches.values():
        watched.bank = bank
    metrics = Metrics(registry)
    fill(metrics, watches)
    observer, commits, longest = Observer(metrics), 0, 0.0
    pipelines: list[Any] = [SimpleNamespace(watches=watches, join=())]
    source: Any = SimpleNamespace(lag=lambda: {Partition("events", number): 5 for number in range(100)})
    changed = list(watches.values())
    while len(metrics.detection.threshold.known()) < MODELS:
        began = time.process_time()
        observer.committed(changed, pipelines, source, 0.1)
        longest = max(longest, time.process_time() - began)
        commits, changed = commits + 1, []
    scrapes, text = [], ""
    access = known(AccessConfig())
    server = Server("127.0.0.1", 0, registry=registry, endpoints=(), access=access, health={}, readiness={})
    server.start()
    for _ in range(3):
        began = time.process_time()  # this process serves and asks; what else runs on the machine does not count
        text = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=60).text
        scrapes.append(time.process_time() - began)
    server.stop()
    names = Counter(line.partition("{")[0] for line in text.splitlines() if not line.startswith("#"))
    with capsys.disabled():
        print(  # noqa: T201 - the measurement that DESIGN.md quotes
            f"\n{len(text):,} bytes, {names.total():,} series; CPU of a scrape at most {max(scrapes):.2f} s;"
            f" shown in {commits} commits, of at most {longest:.2f} s of CPU"
        )
    assert len(text) < LARGEST
    assert max(names.values()) <= MAX_SERIES + 1
    assert names["tocsin_evidence"] > MODELS
