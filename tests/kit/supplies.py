"""What receivers are given in tests, where all servers are on the loopback."""

import time
from collections.abc import Callable
from typing import Any

from alerting.message import Words
from alerting.network import Network
from alerting.receiver import Supplies

LOOPBACK = Network(("127.0.0.0/8",))
TOCSIN = "https://tocsin.example/"


def on_loopback(*, clock: Callable[[], float] = time.time, network: Network = LOOPBACK, **words: Any) -> Supplies:
    return Supplies(words=Words(clock=clock, **words), network=network, clock=clock)
