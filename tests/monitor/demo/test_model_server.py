"""The demo's model server and its users: what they say to Kafka is what Tocsin reads."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import uvicorn

from monitor.demo import dataset
from monitor.demo.model_server import Follower, Query, Served, application, predict
from monitor.demo.parts import PartError
from monitor.demo.registry import DigestError, Registry, Version, digest_of
from monitor.demo.traffic import LABELERS, RECENT, SOURCES, Traffic
from monitor.intake.decode import Decoder
from monitor.intake.events import Event, Label, Prediction
from monitor.intake.source import Partition, Record

DATA = dataset.load()
SOUND = dataset.train(DATA.training, DATA.training_labels)


class Written:
    """Keeps events as the bytes that the real writer would send."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.lost = 0
        self.closed = False

    def write(self, event: Prediction | Label) -> None:
        self.values.append(msgspec.json.encode(event))

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[Event]:
        decoder = Decoder()
        return [decoder.decode(Record(Partition("t", 0), 0, value, 0.0)) for value in self.values]


class Shelf(Registry):
    """A registry with one version, changed by the test."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self.content = b""

    def put(self, number: str, content: bytes, digest: str) -> None:
        self.version, self.content = Version(number, "", digest, None), content

    def serving(self) -> Version:
        if self.version is None:
            raise httpx.ConnectError("nobody is there")
        return self.version

    def artefact(self, version: Version) -> bytes:
        if version.digest != digest_of(self.content):
            raise DigestError(f"version {version.number}")
        return self.content


def instance(row: int = 0) -> dict[str, float]:
    return dict(zip(DATA.names, map(float, DATA.service[row]), strict=True))


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def follower() -> Follower:
    return Follower(Shelf())


@pytest.fixture
def client(follower: Follower, written: Written) -> Iterator[httpx.Client]:
    """Of a real server, which follows no alias (that is begun by the lifespan): the tests say what is served."""
    config = uvicorn.Config(application(follower, written, "breast-cancer"), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    # The protocol is named, because asyncio switches off Nagle's delay only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as client:
            yield client
        server.should_exit = True
        thread.join()


def test_an_answer_is_the_models_and_the_event_says_the_same(
    client: httpx.Client, follower: Follower, written: Written
) -> None:
    follower.served = Served("7", SOUND.model)
    body = {"source": "clinic-1", "instances": [instance(row) for row in range(20)]}
    answer = client.post("/predict", json=body).raise_for_status().json()
    assert answer["version"] == "7"
    assert [told["prediction"] for told in answer["predictions"]] == list(SOUND.model.predict(DATA.service[:20]))
    assert client.get("/version").json() == {"model": "breast-cancer", "version": "7", "lost": 0}

    assert len(written.events) == 20
    chances = SOUND.model.predict_proba(DATA.service[:20])
    for row, (event, told) in enumerate(zip(written.events, answer["predictions"], strict=True)):
        assert isinstance(event, Prediction)
        assert (event.event_id, event.prediction) == (told["event_id"], told["prediction"])
        assert (event.model, event.version, event.source) == ("breast-cancer", "7", "clinic-1")
        assert event.features == instance(row)
        assert event.proba == pytest.approx(dict(zip(SOUND.model.classes_, chances[row], strict=True)))


def test_before_the_first_version_there_is_no_answer_and_no_event(client: httpx.Client, written: Written) -> None:
    assert client.get("/version").status_code == 503
    assert client.post("/predict", json={"source": "clinic-1", "instances": [instance()]}).status_code == 503
    assert written.values == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": "clinic-1", "instances": [{}]},
        {"source": "clinic-1", "instances": [instance(), {**instance(), "height": 1.0}]},
        {"source": "clinic-1", "instances": [{**instance(), "mean radius": "large"}]},
        [1, 2],
    ],
    ids=["empty", "no features", "a feature too many", "text for a number", "a list"],
)
def test_a_request_that_is_wrong_is_refused_as_a_whole(
    client: httpx.Client, follower: Follower, written: Written, body: Any
) -> None:
    follower.served = Served("7", SOUND.model)
    assert client.post("/predict", json=body).status_code == 400
    assert written.values == []


def test_the_order_of_features_in_a_request_does_not_matter() -> None:
    turned = dict(reversed(instance(3).items()))
    served = Served("1", SOUND.model)
    first, second = (predict(served, "m", Query("s", [each]), DATA.names)[0].proba for each in (instance(3), turned))
    assert first == second


def test_the_server_follows_the_alias_and_refuses_an_artefact_with_another_digest() -> None:
    shelf = Shelf()
    follower = Follower(shelf)
    sound, poisoned = dataset.dump(SOUND.model), dataset.dump(dataset.train(DATA.training, dataset.poison(DATA)).model)
    shelf.put("1", sound, digest_of(sound))
    follower.step()
    first = follower.served
    assert first is not None
    assert first.number == "1"
    follower.step()
    assert follower.served is first

    shelf.put("2", poisoned, digest_of(sound))
    with pytest.raises(DigestError):
        follower.step()
    assert follower.served is first

    shelf.put("2", poisoned, digest_of(poisoned))
    follower.step()
    assert follower.served is not None
    assert follower.served.number == "2"
    assert (follower.served.model.predict(DATA.service) != first.model.predict(DATA.service)).any()


def test_the_clinics_count_errors_and_the_laboratories_report_the_truth_later(
    client: httpx.Client, follower: Follower, written: Written
) -> None:
    follower.served = Served("1", SOUND.model)
    url = str(client.base_url).rstrip("/")
    traffic = Traffic(client, url, Written, DATA, label_delay=1000.0)
    assert traffic.error_rate("1") is None
    for _ in range(200):
        traffic.ask()
    assert list(traffic.find_out(now=0.0)) == []
    found = list(traffic.find_out(now=float("inf")))

    predictions = {event.event_id: event for event in written.events if isinstance(event, Prediction)}
    assert len(predictions) == len(traffic.outcomes) == len(found) == 2000
    assert {event.source for event in predictions.values()} == set(SOURCES)
    assert {event.labeler for event in found} == set(LABELERS)

    truth = {tuple(row): str(label) for row, label in zip(DATA.service, DATA.service_labels, strict=True)}
    of_row = {
        id_: truth[tuple(float(v) for v in p.features.values() if v is not None)] for id_, p in predictions.items()
    }
    noise = sum(label.label != of_row[label.event_id] for label in found) / 2000
    assert 0.003 < noise < 0.02
    wrong = [predictions[label.event_id].prediction != of_row[label.event_id] for label in found]
    assert [outcome.wrong for outcome in traffic.outcomes] == wrong
    assert traffic.error_rate("1") == pytest.approx(np.mean(wrong[-RECENT:]))
    assert traffic.error_rate("2") is None


def test_labels_are_published_a_little_later_as_tocsin_reads_them(client: httpx.Client, follower: Follower) -> None:
    follower.served = Served("1", SOUND.model)
    labels = Written()
    traffic = Traffic(client, str(client.base_url).rstrip("/"), lambda: labels, DATA, rate=1000.0, label_delay=0.1)
    traffic.start()
    deadline = time.monotonic() + 30
    while traffic.labels < 100 and time.monotonic() < deadline:
        traffic.check()
        time.sleep(0.01)
    traffic.stop()
    assert len(labels.events) == traffic.labels >= 100
    assert all(isinstance(event, Label) for event in labels.events)
    assert labels.closed


def test_a_server_that_is_away_ends_the_traffic_with_a_reason(client: httpx.Client) -> None:
    traffic = Traffic(client, str(client.base_url).rstrip("/"), Written, DATA)
    traffic.check()
    traffic.start()
    traffic._thread.join(30)
    with pytest.raises(PartError, match="503"):
        traffic.check()
    traffic.stop()


def test_labels_that_the_broker_does_not_take_end_the_traffic_with_a_reason(
    client: httpx.Client, follower: Follower
) -> None:
    follower.served = Served("1", SOUND.model)
    refused = Written()
    refused.lost = 3
    traffic = Traffic(client, str(client.base_url).rstrip("/"), lambda: refused, DATA)
    traffic.start()
    traffic._thread.join(30)
    with pytest.raises(PartError, match="3 labels were not accepted"):
        traffic.check()
    assert refused.closed
