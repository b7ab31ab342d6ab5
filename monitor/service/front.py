"""What the daemon shows and takes over HTTP, composed: the API, the console, pages, probes, hooks."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from uuid import uuid4

import msgspec
from prometheus_client import CollectorRegistry

from monitor.detection.watch import Watch
from monitor.http.access import Access
from monitor.http.api import Sources, table
from monitor.http.api_changes import Changes
from monitor.http.console import console
from monitor.http.issuer import Issuer
from monitor.http.pages import pages
from monitor.http.rooms import Rooms
from monitor.http.server import Probe, Server
from monitor.http.sessions import Sessions
from monitor.rollback.registry import ModelRegistry
from monitor.service.config import Config
from monitor.service.guard import listening
from monitor.store.store import Store


class Looked(msgspec.Struct, frozen=True):
    """What of the running daemon can be seen from outside."""

    store: Store
    models: ModelRegistry | None
    """None where no registry is configured."""
    watches: Callable[[], Collection[Watch]]
    metrics: CollectorRegistry
    health: Mapping[str, Probe]
    readiness: Mapping[str, Probe]


def front(config: Config, at: Looked, refused: Callable[[HTTPStatus], None], issuers: Sequence[Issuer] = ()) -> Server:
    """The server, not started; `refused` is called for everybody who is refused, `issuers` are those of the access."""
    store, settings = at.store, config.server
    access = Access(settings.access, clock=time.monotonic, refused=refused, issuers=issuers)
    changes = Changes(
        store, store.desk, store.approvals, config.rollback, store.replies, lambda: uuid4().hex, time.time
    )
    asked = Sources(store, store.actions, store.audit, at.watches, at.models)
    endpoints = table(asked, changes, is_open=access.is_open)
    sessions = Sessions(time.monotonic, secure=settings.tls is not None)
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
