"""A real HTTP server on the loopback that answers badly on request."""

import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Server(ThreadingHTTPServer):
    """Gives its answers one after the other, the last one for ever; remembers every request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [reply(200, b"ok")]
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._arrived = threading.Condition()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, request: Request) -> "Answer":
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def wait_for(self, count: int) -> None:
        """Wait until that many requests have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, timeout=30), (
                f"{len(self.requests)} of {count} requests"
            )

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.take(Request(self.path, headers, body))(self)

    def do_GET(self) -> None:  # what a redirect that is followed may turn into
        self.server.take(Request(self.path, {}, b""))(self)

    def log_message(self, *_: Any) -> None:
        pass


Answer = Callable[[_Handler], None]


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A complete answer; `retry_after="3"` becomes the header `retry-after`."""

    def answer(handler: _Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def echo(status: int) -> Answer:
    """An error page that repeats the address it was called by, as many do."""
    return lambda handler: reply(status, f"cannot {handler.path}".encode(), location=handler.path)(handler)


def hang(handler: _Handler) -> None:
    """Never answer."""
    handler.server.closing.wait()
    handler.close_connection = True


def drip(start: bytes, every: float = 0.02) -> Answer:
    """Say `start` and then a byte every so many seconds, often enough for any timeout between two bytes."""

    def answer(handler: _Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.closing.wait(every):
            handler.wfile.write(b"x")
        handler.close_connection = True

    return answer


drip_headers = drip(b"HTTP/1.1 200 OK\r\nx-endless: ")
drip_body = drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")


def flood(handler: _Handler) -> None:
    """Send a body without end, as fast as it is read."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
    while not handler.server.closing.is_set():
        handler.wfile.write(b"x" * 65536)


def reset(handler: _Handler) -> None:
    """Break the connection with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def garbage(handler: _Handler) -> None:
    """Answer in no known protocol."""
    handler.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    handler.close_connection = True
