"""The daemon's own parts, put together without the network: what a turn of its loop costs is what it costs in use."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from alerting.desk import Desk, DeskConfig
from alerting.incidents import Incidents
from detectors.bets import Caution
from detectors.engine import ARRAYS, Engine
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.pipeline import Pipeline
from monitor.detection.silence import Silence
from monitor.detection.watch import Watch
from monitor.intake.decode import Decoder
from monitor.intake.join import Join
from monitor.intake.quarantine import FileQuarantine, InvalidRatio, QuarantineConfig
from monitor.intake.source import EventSource, Partition, Record
from monitor.service.config import DetectionConfig, JoinConfig
from monitor.service.gate import Gate
from monitor.service.loop import Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import Shard, undivided
from monitor.store.store import Claim, Store
from monitor.store.tables import WHOLE
from monitor.telemetry.metrics import Metrics

DETECTION, JOIN, QUARANTINE = DetectionConfig(), JoinConfig(), QuarantineConfig()


class Daemon:
    """A loop on a source, with the defaults of the configuration, and nobody to send messages to."""

    def __init__(
        self,
        source: EventSource,
        baselines: Mapping[str, Baseline],
        folder: Path,
        location: str | Path | None = None,
        engine: Engine = ARRAYS,
    ) -> None:
        """`folder` takes the quarantine, and the store unless that is at `location`."""
        self.store = Store(location or folder / "bench.db")
        metrics = Metrics(CollectorRegistry())
        gate = Gate(
            FileQuarantine(
                folder / QUARANTINE.file.name, max_bytes=QUARANTINE.file_max_bytes, count=QUARANTINE.file_count
            ),
            InvalidRatio(QUARANTINE.max_invalid_ratio, QUARANTINE.window, QUARANTINE.min_records),
            QUARANTINE.max_invalid_ratio,
            metrics.reading,
            time.time,
        )
        self._gate, self._source = gate, source
        self._watches = watches(baselines, engine)
        self.loop = Loop(
            source,
            undivided,
            self._shard,
            gate,
            self.store,
            Reactions(lambda _transitions, _now: [], lambda _incident, _now: None, lambda: None),
            Observer(metrics),
        )
        self.loop._positions([Partition("bench", 0)])  # as a source does that is started with this loop

    def _shard(self, name: str, claim: Claim) -> Shard:
        join = Join(JOIN.label_ttl, JOIN.max_pending)
        pipeline = Pipeline(Decoder(), join, self._watches, Incidents(claim.incidents), self._gate.reject)
        return Shard(
            name, claim, pipeline, Desk(pipeline.incidents, DeskConfig()), Silence(DETECTION.silence_after, time.time)
        )

    def work(self, records: Sequence[Record]) -> None:
        """Work through records as a turn of the loop does, without polling them."""
        self.loop.shards[WHOLE].work(records, self._gate, self._source)

    def catch_up(self) -> None:
        """Finish what waits, and take the changes of the join, as a commit does."""
        self.loop.shards[WHOLE].catch_up()
        self.pipeline.join.take_changes()

    @property
    def pipeline(self) -> Pipeline:
        """The path of everything."""
        return self.loop.shards[WHOLE].pipeline

    @property
    def read(self) -> int:
        """Records so far."""
        return sum(shard.pipeline.read for shard in self.loop.shards.values())


def watches(baselines: Mapping[str, Baseline], engine: Engine = ARRAYS) -> Callable[[str], Watch | None]:
    """How a pipeline gets the watch of a model, all default streams on."""

    def watch(model: str) -> Watch | None:
        learnt = baselines.get(model)
        if learnt is None:
            return None
        return Watch(
            model,
            budget=DETECTION.budget,
            baseline=learnt,
            until=Until(),
            caution=Caution(),
            companions=Companions(DETECTION.companions),
            engine=engine,
        )

    return watch
