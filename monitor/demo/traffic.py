"""The demo's users: clinics that ask for predictions, and laboratories that find out the truth a little later."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import httpx
import numpy as np

from monitor.demo.broker import EventWriter
from monitor.demo.dataset import BENIGN, MALIGNANT, Data
from monitor.demo.parts import PartError
from monitor.intake.events import Label

SOURCES = tuple(f"clinic-{number}" for number in range(1, 7))
LABELERS = tuple(f"lab-{number}" for number in range(1, 5))
LABEL_NOISE = 0.01
"""The part of the laboratories' findings that is simply wrong, as in every laboratory."""
BATCH = 10
"""Instances a request."""
RECENT = 400
"""How many of the latest predictions the recent error rate is about."""


class Outcome(NamedTuple):
    """One answered prediction, and whether it was right."""

    ts: float
    """Epoch seconds at which the answer arrived."""
    version: str
    wrong: bool


class Truth(NamedTuple):
    """A finding that a laboratory will publish."""

    due: float
    """Seconds of the monotonic clock."""
    event_id: str
    label: str


class Traffic:
    """Asks the model server for predictions in a thread of its own, and publishes the truth about them.

    Rows are drawn with replacement from the half of the data set that no model was trained on.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        connect: Callable[[], EventWriter],
        data: Data,
        *,
        rate: float = 200.0,
        label_delay: float = 0.5,
        seed: int = 1,
    ) -> None:
        """Prepare, but do not begin.

        Args:
            client: Keeps the connection to the model server.
            url: The model server's base address.
            connect: Makes the writer of labels, in the thread of the traffic; may raise PartError.
            data: The rows in service, and the truth about them.
            rate: Predictions a second.
            label_delay: Seconds from a prediction to its label.
            seed: Makes the same draws again.
        """
        self._client = client
        self._url = url
        self._connect = connect
        self._data = data
        self._pause = BATCH / rate
        self._label_delay = label_delay
        self._random = np.random.default_rng(seed)
        self._waiting: deque[Truth] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._failure: Exception | None = None
        # Only ever appended to, so that others may look at any time.
        self._outcomes: list[Outcome] = []
        self.labels = 0
        """Labels published so far."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking; safe to call twice, and if it never began."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise PartError if the model server stopped answering or labels cannot be published."""
        if self._failure is not None:
            raise PartError(f"the traffic stopped: {self._failure}") from self._failure

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """Every answered prediction so far, in order."""
        return self._outcomes

    def error_rate(self, version: str) -> float | None:
        """Share of wrong answers among the latest predictions; None before there are enough by this version."""
        recent = self._outcomes[-RECENT:]
        if len(recent) < RECENT or any(each.version != version for each in recent):
            return None
        return sum(each.wrong for each in recent) / len(recent)

    def _run(self) -> None:
        try:
            with contextlib.closing(self._connect()) as writer:
                self._flow(writer)
        except (httpx.HTTPError, PartError) as error:
            self._failure = error

    def _flow(self, writer: EventWriter) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            # No catching up after a slow answer: a burst would not be the traffic that was asked for.
            due = max(due + self._pause, time.monotonic() - self._pause)
            self.ask()
            for label in self.find_out(time.monotonic()):
                writer.write(label)
                self.labels += 1
            if writer.lost:
                raise PartError(f"{writer.lost} labels were not accepted by the broker")

    def ask(self) -> None:
        """Send one request from a random clinic, and note what came back.

        Raises:
            httpx.HTTPError: The model server is away, or refuses.
        """
        drawn = self._random.integers(len(self._data.service), size=BATCH)
        instances = [dict(zip(self._data.names, map(float, self._data.service[row]), strict=True)) for row in drawn]
        source = str(self._random.choice(SOURCES))
        answer = self._client.post(f"{self._url}/predict", json={"source": source, "instances": instances})
        body = answer.raise_for_status().json()
        now = time.time()
        due = time.monotonic() + self._label_delay
        for row, told in zip(drawn, body["predictions"], strict=True):
            truth = str(self._data.service_labels[row])
            self._outcomes.append(Outcome(now, body["version"], told["prediction"] != truth))
            self._waiting.append(Truth(due, told["event_id"], truth))

    def find_out(self, now: float) -> Iterator[Label]:
        """Give out the findings that are due, a few of them wrong.

        Args:
            now: Seconds of the monotonic clock.
        """
        while self._waiting and self._waiting[0].due <= now:
            truth = self._waiting.popleft()
            noisy = self._random.random() < LABEL_NOISE
            label = {MALIGNANT: BENIGN, BENIGN: MALIGNANT}[truth.label] if noisy else truth.label
            labeler = str(self._random.choice(LABELERS))
            yield Label(event_id=truth.event_id, ts=time.time(), label=label, labeler=labeler)
