"""What the daemon shows and takes over HTTP, composed: the API, the console, pages, probes, hooks."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from uuid import uuid4

import msgspec
from prometheus_client import CollectorRegistry

from monitor.detection.drill import Drilled
from monitor.detection.watch import Watch
from monitor.http.access import Access
from monitor.http.api import Sources, table
from monitor.http.api_changes import Changes
from monitor.http.console import console
from monitor.http.endpoint import Endpoint
from monitor.http.intake import Intake, taking
from monitor.http.issuer import Issuer
from monitor.http.pages import pages
from monitor.http.rooms import Rooms
from monitor.http.server import Probe, Server
from monitor.http.sessions import Sessions
from monitor.intake.kafka_appender import KafkaAppender
from monitor.rollback.registry import ModelRegistry
from monitor.service.config import Config
from monitor.service.guard import listening, marker, trusted
from monitor.store.store import Store


class Looked(msgspec.Struct, frozen=True):
    """What of the running daemon can be seen from outside."""

    store: Store
    models: ModelRegistry | None
    """None where no registry is configured."""
    watches: Callable[[], Collection[Watch]]
    drills: Callable[[], Collection[Drilled]]
    metrics: CollectorRegistry
    health: Mapping[str, Probe]
    readiness: Mapping[str, Probe]


@contextmanager
def front(
    config: Config,
    at: Looked,
    refused: Callable[[HTTPStatus], None],
    posted: Callable[[str, int], None],
    issuers: Sequence[Issuer] = (),
) -> Iterator[Server]:
    """The server, not started; what it holds open beside that is closed at the end of the block.

    Args:
        config: the whole of it.
        at: what can be seen.
        refused: called for everybody who is refused.
        posted: called with what became of how many events that came over HTTP.
        issuers: those of the access.
    """
    store, settings = at.store, config.server
    access = Access(settings.access, clock=time.monotonic, refused=refused, issuers=issuers)
    voucher = None if at.models is None else marker(config, at.models, store)
    changes = Changes(
        store, store.desk, store.approvals, config.rollback, store.replies, lambda: uuid4().hex, time.time, voucher
    )
    registry = None if at.models is None else trusted(config, at.models, store)
    asked = Sources(store, store.actions, store.audit, at.watches, store.marks, at.drills, registry)
    with _intake(config, store, posted) as intake:
        endpoints = table(asked, changes, *intake, is_open=access.is_open)
        yield _server(config, at, access, endpoints, refused)


@contextmanager
def _intake(config: Config, store: Store, posted: Callable[[str, int], None]) -> Iterator[list[Endpoint]]:
    """The call that takes events, where it is configured."""
    settings, keyed = config.server.intake, config.kafka.replicas == "several"
    if settings is None:
        yield []
        return
    with closing(KafkaAppender(config.kafka, settings.topic, settings.timeout)) as appender:
        yield [taking(Intake(settings, appender, keyed, posted, time.time, time.monotonic, store.replies))]


def _server(
    config: Config,
    at: Looked,
    access: Access,
    endpoints: Sequence[Endpoint],
    refused: Callable[[HTTPStatus], None],
) -> Server:
    store, settings = at.store, config.server
    sessions = Sessions(time.monotonic)
    return Server(
        settings.host,
        settings.port,
        registry=at.metrics,
        endpoints=endpoints,
        access=access,
        health=at.health,
        readiness=at.readiness,
        pages=[
            *pages(store, access, sessions),
            *console(endpoints, access, sessions, Rooms(store, time.time)),
            *([] if at.models is None else listening(config, at.models, store, refused)),
        ],
        tls=settings.tls,
    )
