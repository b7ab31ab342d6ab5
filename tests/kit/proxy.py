"""A TCP proxy that makes faults: what a network does to a client and a server that are both well."""

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Passes bytes from `port` to a port behind it, until it is told to do something else.

    `cut` closes all connections and refuses new ones. `freeze` keeps everything open and passes nothing on, in neither
    direction: neither side can tell it from a partner that has much to think about. `mend` ends both.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._mode = "pass"
        self._wake, waker = socket.socketpair()
        self._waker = waker
        self._selector.register(waker, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        self._be("cut")

    def freeze(self) -> None:
        self._be("freeze")

    def mend(self) -> None:
        self._be("pass")

    def close(self) -> None:
        self._be("end")
        self._thread.join()
        for each in (*self._pairs, self._listener, self._wake, self._waker):
            each.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _be(self, mode: str) -> None:
        self._mode = mode
        self._wake.send(b"!")

    def _run(self) -> None:
        while self._mode != "end":
            if self._mode == "cut":
                for each in list(self._pairs):
                    self._drop(each)
            for key, _ in self._selector.select(0.05 if self._mode == "freeze" else None):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._waker:
                    ready.recv(100)
                elif ready is self._listener:
                    self._accept()
                elif self._mode == "pass":
                    self._pass(ready)
            if self._mode == "freeze":
                threading.Event().wait(0.05)  # what waits to be read stays so: do not spin

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        if self._mode == "cut":
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, ready: socket.socket) -> None:
        if ready not in self._pairs:
            return
        try:
            data = ready.recv(_CHUNK)
            if data:
                self._pairs[ready].sendall(data)
                return
        except OSError:
            pass
        self._drop(ready)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for each in (one, other):
            with suppress(KeyError):
                self._selector.unregister(each)
            each.close()
