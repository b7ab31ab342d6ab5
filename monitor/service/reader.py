"""From the configuration to a loop that can begin to read: a source, a gate, and shards as the store has them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from alerting.desk import Desk
from alerting.incidents import Incidents
from detectors.automatic import automatic
from detectors.bets import Caution
from detectors.compiled import compiled
from detectors.engine import ARRAYS, Engine
from monitor.detection.baseline import Baseline
from monitor.detection.companions import Companions
from monitor.detection.lessons import Until
from monitor.detection.listing import NONE, Limits
from monitor.detection.pipeline import Pipeline
from monitor.detection.silence import Silence
from monitor.detection.watch import Watch
from monitor.intake.decode import Decoder
from monitor.intake.join import Join
from monitor.intake.kafka_config import KafkaConfig
from monitor.intake.kafka_publisher import KafkaPublisher
from monitor.intake.kafka_source import KafkaSource
from monitor.intake.quarantine import InvalidRatio, open_quarantine
from monitor.intake.signatures import SignedDecoder
from monitor.intake.source import EventSource
from monitor.intake.suspect_log import SuspectsConfig, open_suspects
from monitor.service.config import ANY_MODEL, Config, ModelConfig
from monitor.service.gate import Gate
from monitor.service.loop import Due, Loop, Reactions
from monitor.service.observer import Observer
from monitor.service.shard import Shard, by_number, undivided
from monitor.service.stall import StallWatch
from monitor.store.store import Claim, Store
from monitor.telemetry.metrics import Metrics

MAX_MODELS = 1000
"""Models watched under ANY_MODEL; further ones are counted, not watched."""


def open_source(config: KafkaConfig) -> EventSource:
    """The source that the configuration asks for, not started; files are for `tocsin replay`."""
    if config.client == "confluent":
        from monitor.intake.confluent_source import ConfluentSource  # noqa: PLC0415 - its client is an extra

        return ConfluentSource(config)
    return KafkaSource(config)


class Reader:
    """Makes loops, one after the other: each begins where the store says, with nothing left of the one before."""

    def __init__(
        self,
        config: Config,
        baselines: Mapping[str, Baseline],
        source: Callable[[], EventSource],
        store: Store,
        metrics: Metrics,
        reactions: Reactions,
    ) -> None:
        """`source` makes a new source for each loop; `baselines` are by model."""
        self.due = Due()
        """What is asked of whichever loop there is."""
        self._config = config
        self._baselines = baselines
        self._source = source
        self._store = store
        self._metrics = metrics
        self._reactions = reactions
        self._observer = Observer(metrics)

    @contextmanager
    def open(self) -> Iterator[Loop]:
        """A loop that has not started; whatever it holds open is closed at the end of the block."""
        config = self._config
        with ExitStack() as stack:
            source = self._source()
            stack.callback(source.close)
            quarantine = open_quarantine(config.quarantine, partial(KafkaPublisher, config.kafka))
            stack.callback(quarantine.close)
            suspects = open_suspects(config.suspects, partial(KafkaPublisher, config.kafka))
            if suspects is not None:
                stack.callback(suspects.close)
            limit = config.quarantine.max_invalid_ratio
            ratio = InvalidRatio(limit, config.quarantine.window, config.quarantine.min_records)
            gate = Gate(quarantine, ratio, limit, self._metrics.reading, time.time)
            shared = config.kafka.replicas == "several"
            make = partial(self._shard, gate, watches(config, self._baselines))
            shard_of = by_number if shared else undivided
            parts = (gate, self._store, self._reactions, self._observer)
            # A rebalance waits for `max_poll_interval` at most; more than that is no waiting any more.
            stalls = StallWatch(outside=config.kafka.max_poll_interval + 10.0)
            yield Loop(source, shard_of, make, *parts, due=self.due, stalls=stalls, suspects=suspects)

    def _shard(self, gate: Gate, watch: Callable[[str], Watch | None], name: str, claim: Claim) -> Shard:
        config = self._config
        pipeline = Pipeline(
            SignedDecoder(config.signatures) if config.signatures.producers else Decoder(),
            Join(config.join.label_ttl, config.join.max_pending),
            watch,
            Incidents(claim.incidents, config.alerting.life),
            gate.reject,
        )
        desk = Desk(pipeline.incidents, config.alerting.desk, config.alerting.maintenance)
        return Shard(name, claim, pipeline, desk, Silence(config.detection.silence_after, time.time))


_ENGINES: Mapping[str, Callable[[], Engine]] = {"auto": automatic, "numpy": lambda: ARRAYS, "compiled": compiled}


def watches(config: Config, baselines: Mapping[str, Baseline]) -> Callable[[str], Watch | None]:
    """How a pipeline gets the watch of a model that it sees for the first time."""
    unnamed: set[str] = set()
    engine = _ENGINES[config.detection.engine]()
    limits = _limits(config.suspects)

    def watch(model: str) -> Watch | None:
        settings = config.models.get(model)
        if settings is None:
            settings = config.models.get(ANY_MODEL)
            if settings is None or (model not in unnamed and len(unnamed) >= MAX_MODELS):
                return None
            unnamed.add(model)
        return Watch(
            model,
            budget=config.detection.budget,
            baseline=baselines.get(model),
            until=_until(settings),
            caution=Caution(),
            companions=Companions(config.detection.companions),
            engine=engine,
            limits=limits,
        )

    return watch


def _limits(config: SuspectsConfig) -> Limits:
    """Which single events are to be listed; none where there is no place for them."""
    nowhere = config.file is None and config.topic is None
    return NONE if nowhere else Limits(config.outlier_share, config.outliers_per_hour)


def _until(settings: ModelConfig) -> Until:
    reference = settings.reference
    if reference is None:
        return Until()
    return Until(reference.events, None if reference.until is None else reference.until.timestamp())
