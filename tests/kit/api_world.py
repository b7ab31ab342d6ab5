"""A served API over a real store, a real registry and two watched models, and one token for each kind of person."""

import hashlib
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from alerting.incident import Incident, Onset, Radius, Status
from monitor.detection.answers import Answers
from monitor.detection.drill import Drilled
from monitor.detection.pipeline import Pipeline
from monitor.http.access import Access
from monitor.http.access_config import AccessConfig, Role
from monitor.http.api import Sources, table
from monitor.http.api_changes import Changes
from monitor.http.console import console
from monitor.http.endpoint import Endpoint
from monitor.http.intake import Intake, IntakeConfig, taking
from monitor.http.issuer import Issuer
from monitor.http.pages import pages
from monitor.http.rooms import Rooms
from monitor.http.server import Server
from monitor.http.sessions import Sessions
from monitor.intake.kafka_appender import AppendError
from monitor.intake.posted import Posted
from monitor.rollback.action import Action, ActionState
from monitor.rollback.config import RollbackConfig
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.known_good import Marker
from monitor.rollback.trust import TrustedRegistry
from monitor.store.store import Commit, Store
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.served import World, make_pipeline, records

PEOPLE: Mapping[str, tuple[Role, tuple[str, ...] | None]] = {
    "viewer": (Role.VIEWER, None),
    "operator": (Role.OPERATOR, None),
    "approver": (Role.APPROVER, None),
    "admin": (Role.ADMIN, None),
    "mail-viewer": (Role.VIEWER, ("mail",)),
    "mail-admin": (Role.ADMIN, ("mail",)),
    "producer": (Role.PRODUCER, None),
    "mail-producer": (Role.PRODUCER, ("mail",)),
}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Clients of plain HTTP need none, and making the default one takes a while."""
NOW = 1_772_500_000.0
"""What the clock of the API says, always."""
TOKENS = {name: f"{name}-2b7e151628aed2a6abf7158809cf4f3c" for name in PEOPLE}
INCIDENTS = [
    incident(
        id="a1",
        model="mail",
        radius=Radius(classes=("spam", "ham"), since=OPENED_AT - 900.0, until=OPENED_AT - 800.0, last_index=2_850),
    ),
    incident(id="b2", opened_at=OPENED_AT + 60.0),
    incident(id="c3", opened_at=OPENED_AT + 60.0, status=Status.RESOLVED),
    incident(id="d4", model="mail", opened_at=OPENED_AT + 120.0, onset=Onset(OPENED_AT, float("-inf"), OPENED_AT)),
]
ACTIONS = [
    Action("a1", "mail", "2", 1.0, ActionState.PROPOSED, 10.0, 11.0, "1", "A person decides."),
    Action("b2", "net-ids", "1.2.0", 1.0, ActionState.OBSERVED, 20.0, 20.0, "1.1.0", "Would have been done."),
]
DRILLS = [
    Drilled("mail", "inputs", 7, OPENED_AT, "sha256:aa"),
    Drilled("mail", "labels", None, OPENED_AT, "sha256:aa"),
    Drilled("net-ids", "inputs", 12, OPENED_AT, "sha256:bb"),
]
REGISTRY = {
    "models": {
        "mail": {
            "aliases": {"champion": "2"},
            "versions": {
                "1": {"created": "2026-02-01T00:00:00Z", "known_good_at": "2026-02-02T00:00:00Z"},
                "2": {"created": "2026-03-02T00:00:00Z"},
            },
        }
    }
}


class Api:
    """The running API; `endpoints` is its table, `refused` counts refusals by status, `posted` events by outcome."""

    def __init__(
        self,
        url: str,
        endpoints: list[Endpoint],
        store: Store,
        registry_file: Path,
        refused: Counter[int],
        topic: "Topic",
        posted: Counter[str],
    ) -> None:
        self.url, self.endpoints, self.store, self.registry_file = url, endpoints, store, registry_file
        self.refused, self.topic, self.posted = refused, topic, posted

    def as_(self, who: str | None) -> httpx.Client:
        """A client with somebody's token; without one for None."""
        headers = {} if who is None else {"authorization": f"Bearer {TOKENS[who]}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, verify=NO_TLS)


class Topic:
    """Where posted events go, in memory; with `away` set, it takes none."""

    def __init__(self) -> None:
        self.records: list[Posted] = []
        self.away = False

    def append(self, records: Sequence[Posted]) -> None:
        if self.away:
            raise AppendError("Kafka does not take events now (NoBrokersAvailable)")
        self.records += records


@contextmanager
def served_api(
    folder: Path, *, tokens: bool = True, keyed: bool = False, vouchers: int = 1, **limits: int
) -> Iterator[Api]:
    """Serve it on a free port; `limits` are those of access and intake, and without them there are none.

    `keyed` is for events: whether each has to name its model. `vouchers` have to vouch for a version.
    """
    batches = limits.pop("max_batches", 10**9)
    limits = {"max_unknown": 10**9, "max_changes": 10**9} | limits
    pipeline = watching()
    (folder / "registry.json").write_text(json.dumps(REGISTRY))
    registry = FileRegistry(FileRegistryConfig(kind="file", path=folder / "registry.json"))
    with closing(Store(folder / "tocsin.db")) as store, closing(registry):
        store.commit(Commit(incidents=INCIDENTS, actions=ACTIONS))
        refused: Counter[int] = Counter()
        access = known(AccessConfig.model_validate({"tokens": configured() if tokens else (), **limits}), refused)
        trusted = TrustedRegistry(registry, store.marks.of, None, vouchers)
        sources = Sources(
            store,
            store.actions,
            store.audit,
            lambda: list(pipeline.watches.values()),
            store.marks,
            lambda: DRILLS,
            trusted,
        )
        numbers = itertools.count()
        changes = Changes(
            store,
            store.desk,
            store.approvals,
            RollbackConfig(),
            store.replies,
            lambda: f"d{next(numbers)}",
            lambda: NOW,
            marker(store, registry, vouchers=vouchers),
        )
        topic, count = Topic(), partial(_add, posted := Counter[str]())
        settings = IntakeConfig(topic="tocsin.events", max_batches=batches)
        intake = taking(Intake(settings, topic, keyed, count, time.time, time.monotonic, store.replies))
        endpoints = table(sources, changes, intake, is_open=access.is_open)
        parts: dict[str, Any] = {"registry": CollectorRegistry(), "health": {}, "readiness": {}}
        sessions = Sessions(time.monotonic)
        parts["pages"] = [
            *pages(store, access, sessions),
            *console(endpoints, access, sessions, Rooms(store, lambda: NOW)),
        ]
        server = Server("127.0.0.1", 0, endpoints=endpoints, access=access, **parts)
        server.start()
        try:
            url = f"http://127.0.0.1:{server.port}"
            yield Api(url, endpoints, store, folder / "registry.json", refused, topic, posted)
        finally:
            server.stop()


def known(config: AccessConfig, refused: Counter[int] | None = None, issuers: Sequence[Issuer] = ()) -> Access:
    """Who may use an API; `refused` counts refusals by status."""
    counted = Counter[int]() if refused is None else refused

    def count(status: HTTPStatus) -> None:
        counted[status.value] += 1

    return Access(config, clock=time.monotonic, refused=count, issuers=issuers)


def marker(store: Store, registry: FileRegistry, *, vouchers: int) -> Marker:
    """Who takes people's word for a version."""

    def known(_model: str) -> tuple[Answers, Sequence[Incident]]:
        raise AssertionError("only a soak needs to know that")

    return Marker(registry, store.marks, known, list, soak=None, sign=None, vouchers=vouchers, clock=lambda: NOW)


def _add(counts: Counter[str], outcome: str, count: int) -> None:
    counts[outcome] += count


@cache
def watching() -> Pipeline:
    """Two models that are watched, one of them still learning; nobody changes them."""
    pipeline = make_pipeline()
    pipeline.process(records(World(predictions=1_700).events()))
    pipeline.process(records(World(predictions=50, model="net-ids").events()))
    return pipeline


def configured() -> list[dict[str, Any]]:
    """The section `tokens` of the configuration."""
    return [
        {"name": name, "sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), "role": role}
        | ({} if models is None else {"models": models})
        for name, (role, models) in PEOPLE.items()
    ]


def get(api: Api, path: str, who: str = "viewer") -> Any:
    with api.as_(who) as client:
        answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and detail of an answer that is a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["title"]
    return answer.status_code, said.get("detail", "")


def post(api: Api, path: str, who: str, **options: Any) -> httpx.Response:
    with api.as_(who) as client:
        return client.post(path, **options)


def audited(api: Api) -> list[tuple[str, str]]:
    return [(entry.act.actor, entry.act.verb) for entry in api.store.audit.entries(limit=50)]
