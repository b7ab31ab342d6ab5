"""The composition root: from the configuration to a running daemon, and back down."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from alerting import borrowed
from alerting.alertmanager import AlertmanagerConfig
from alerting.config import build as build_receivers
from alerting.config import messages, supplies
from alerting.delivery import Delivery
from alerting.heartbeat import beat
from alerting.incident import Incident
from alerting.policy import Attempt, Policy
from monitor.detection.baseline import Baseline, BaselineError
from monitor.detection.baseline import load as load_baseline
from monitor.detection.companions import Companions
from monitor.detection.drill import Drills
from monitor.http.issuer import Issuer
from monitor.http.server import Heartbeat, Probe, ServerError, wrong
from monitor.intake.quarantine import QuarantineError
from monitor.intake.source import EventSource, SourceError
from monitor.rollback.action import Action
from monitor.rollback.policy import consider
from monitor.rollback.registry import ModelRegistry, RegistryError
from monitor.service.audit_export import copies
from monitor.service.config import ANY_MODEL, Config, ConfigError, Problem, secrets
from monitor.service.config import load as load_config
from monitor.service.figures import Figures
from monitor.service.front import Looked, front
from monitor.service.guard import baseline_key, executor, marker, open_registry, signer, verifier
from monitor.service.jobs import Job, schedule
from monitor.service.loop import Reactions
from monitor.service.reader import Reader, open_source
from monitor.service.supervisor import Supervisor
from monitor.store.audit import read_key
from monitor.store.store import Store, StoreError
from monitor.store.vault import vault
from monitor.telemetry import logs, traces
from monitor.telemetry.metrics import Metrics

STALLED = 60.0
"""Seconds without a turn of the loop after which the process says that it should be restarted."""
DRAIN = 5.0
"""Seconds that a stop gives to messages on their way."""
STALL_CHECK = 10.0
"""Seconds between two looks for partitions that stand still."""
KEEP_DELIVERED = 7 * 86400.0
"""Seconds that delivered messages stay in the store."""

_log = structlog.get_logger("tocsin")


def prepare(path: Path) -> tuple[Config, dict[str, Baseline]]:
    """Read the configuration and everything that it names; `check` and `run` agree because both call this.

    Raises:
        ConfigError: with every problem that could be found.
    """
    config = load_config(path, os.environ)
    problems, baselines, key = [], {}, None
    try:
        key = baseline_key(config.detection)
    except ConfigError as error:
        problems += [Problem(f"{path}: {found.place}", found.message) for found in error.problems]
    for model, settings in config.models.items():
        if settings.baseline is None:
            continue
        try:
            baselines[model] = load_baseline(settings.baseline, key)
        except BaselineError as error:
            problems.append(Problem(f"{path}: models.{model}.baseline", str(error)))
            continue
        if baselines[model].model != model:
            other = f"{settings.baseline} is a baseline of model {baselines[model].model}"
            problems.append(Problem(f"{path}: models.{model}.baseline", other))
    try:
        Companions(config.detection.companions)
    except ValueError as error:
        problems.append(Problem(f"{path}: detection.companions", str(error)))
    for reads_key in (signer, verifier):
        try:
            reads_key(config.known_good)
        except ConfigError as error:
            problems += [Problem(f"{path}: {found.place}", found.message) for found in error.problems]
    if problems:
        raise ConfigError(tuple(problems))
    return config, baselines


@contextmanager
def stored(path: Path) -> Iterator[tuple[Config, Store]]:
    """The configuration at `path` and the store that it names, for commands beside the daemon.

    Raises:
        ConfigError: the configuration, or the store, cannot be used.
    """
    config = load_config(path, os.environ)
    if config.store.url is None and not config.store.path.exists():
        raise ConfigError((Problem(f"{path}: store.path", f"there is no store at {config.store.path} yet"),))
    try:
        with closing(
            Store(config.store.location, vault(config.store.keys, only_sealed=config.store.only_encrypted))
        ) as store:
            yield config, store
    except StoreError as error:
        raise ConfigError((Problem(f"{path}: store", str(error)),)) from error


def run(path: Path) -> int:
    """Run the daemon with the configuration file at `path`; return the exit code. Raises ConfigError."""
    config, baselines = prepare(path)
    logs.configure(config.log.level, config.log.format, [*secrets(config), *traces.secrets()])
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        serve(config, baselines, partial(open_source, config.kafka), stop)
    except (SourceError, StoreError, ServerError, QuarantineError, RegistryError) as error:
        _log.error("stopped", why=str(error))
        return 1
    return 0


def serve(
    config: Config, baselines: dict[str, Baseline], source: Callable[[], EventSource], stop: threading.Event
) -> None:
    """Compose everything, run until `stop` is set or the source ends, and take everything down again.

    Raises SourceError, StoreError, ServerError, QuarantineError or RegistryError if it cannot go on.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    figures = Figures(metrics)
    with ExitStack() as stack:
        stack.enter_context(traces.sending())
        store = Store(config.store.location, vault(config.store.keys, only_sealed=config.store.only_encrypted))
        stack.callback(store.close)
        store.hold({})  # nothing is delivered or rolled back here before a shard is claimed
        delivery = _delivery(config, store, figures)
        told = partial(messages, config.alerting, heard=store.outbox.heard)
        reactions = Reactions(told, _rollback_policy(config), delivery.wake)
        reader = Reader(config, baselines, source, store, metrics, reactions)
        supervisor = Supervisor(reader.open, count=figures.restarted)
        drills = Drills(supervisor.watches, figures.drilled)
        turned = Heartbeat("the loop", STALLED, time.monotonic)
        jobs = [
            Job("commit", config.store.commit_every, reader.due.commit.set),
            Job("silence", min(config.detection.silence_after / 10, 30.0), reader.due.silence.set),
            Job("stall", STALL_CHECK, reader.due.stall.set),
            Job("prune", 3600.0, lambda: store.outbox.prune(time.time() - KEEP_DELIVERED)),
            Job("drill", 10.0, drills.run_once),
            Job("figures", 5.0, lambda: figures.stored(store)),
        ]
        if config.audit.signing_key is not None:
            key = read_key(config.audit.signing_key.reveal())
            jobs.append(Job("audit", 60.0, lambda: _sign(store, key)))
        jobs += copies(config, store, stack)
        jobs += [
            Job(f"silences of {receiver.name}", 30.0, partial(_borrow, receiver, config, store))
            for receiver in config.alerting.receivers
            if isinstance(receiver, AlertmanagerConfig) and receiver.respect_silences
        ]
        models = _open_registry(config)
        if models is not None:
            stack.callback(models.close)
            acting = executor(config, models, store, figures.acted)
            jobs.append(Job("rollback", 1.0, acting.run_once))
            marking, named = marker(config, models, store), sorted(config.models.keys() - {ANY_MODEL})
            jobs.append(Job("marks", 60.0, lambda: marking.run_once(named)))
        issuers = [Issuer(each, supplies(config.alerting).network) for each in config.server.access.oidc]
        jobs += [Job(f"keys of {issuer.config.name}", 5.0, issuer.refresh) for issuer in issuers]
        health: dict[str, Probe] = {
            "loop": turned,
            "delivery": lambda: None if delivery.alive else "the delivery thread has ended",
        }
        if (heartbeat := config.alerting.heartbeat) is not None:
            given = supplies(config.alerting)
            jobs.append(
                Job(
                    "heartbeat",
                    heartbeat.every,
                    lambda: beat(heartbeat, given, config.alerting.timeout, wrong(health).values()),
                )
            )
        looked_at = Looked(
            store, models, supervisor.watches, drills.last, registry, health, {"reading": supervisor.unready}
        )
        server = stack.enter_context(front(config, looked_at, figures.refused, figures.posted, issuers))
        delivery.start()
        stack.callback(delivery.stop, DRAIN)
        server.start()
        stack.callback(server.stop)
        scheduler = schedule(jobs, figures.worked)
        scheduler.start()
        stack.callback(scheduler.shutdown)
        gc.collect()
        gc.freeze()  # hundreds of thousands of objects that stay: a look at all of them takes a tenth of a second
        _log.info("started", port=server.port, models=sorted(config.models), topics=list(config.kafka.topics))
        supervisor.run(stop, turned.beat)
        _log.info("stopping")


def _delivery(config: Config, store: Store, figures: Figures) -> Delivery:
    def observe(attempt: Attempt) -> None:
        figures.delivered(attempt)
        traces.past("delivery", attempt.seconds, receiver=attempt.receiver, outcome=attempt.outcome.value)

    policy = Policy(timeout=config.alerting.timeout)
    return Delivery(store.outbox, build_receivers(config.alerting), policy=policy, observe=observe)


def _rollback_policy(config: Config) -> Callable[[Incident, float], Action | None]:
    if config.registry is None:
        return lambda _incident, _now: None
    return consider


def _borrow(receiver: AlertmanagerConfig, config: Config, store: Store) -> None:
    """Take over the silences of an Alertmanager; where it does not answer, those that are known stay until they end."""
    there, now = borrowed.ask(receiver, supplies(config.alerting)), time.time()
    if there is not None:
        for silence in borrowed.changes(store.desk.silences(now), there, origin=receiver.name, now=now):
            store.desk.save(silence)


def _open_registry(config: Config) -> ModelRegistry | None:
    """Open the registry and ask it something; one that does not answer is better known now than in an emergency."""
    if config.registry is None:
        return None
    registry = open_registry(config.registry)
    for model in sorted(config.models.keys() - {ANY_MODEL}):
        try:
            registry.current(model)
        except RegistryError as error:
            if error.passing:
                registry.close()
                raise
            _log.warning("no rollback possible", model=model, why=str(error))
    return registry


def _sign(store: Store, key: Ed25519PrivateKey) -> None:
    """Sign the end of the audit log, and log it: a log that is kept elsewhere shows if the end is cut off later."""
    if (head := store.audit.sign(key, time.time())) is not None:
        _log.info("audit head", head=str(head))


def _stop_on_signals(stop: threading.Event) -> None:
    """The first SIGTERM or SIGINT lets the turn end and commits; a second one ends the process at once."""

    def ask(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
