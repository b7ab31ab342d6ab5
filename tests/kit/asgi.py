"""Routes of Starlette, served on a free port of this machine."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.kit.prometheus import free_port


@contextmanager
def serving(routes: Sequence[Route], answered: Callable[[int], object] = lambda _: None) -> Iterator[str]:
    """Serve until the block ends; yields the address. `answered` is told the status of every answer."""
    port = free_port()
    app = _Told(Starlette(routes=list(routes)), answered)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class _Told:
    def __init__(self, app: ASGIApp, answered: Callable[[int], object]) -> None:
        self._app, self._answered = app, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered(int(message["status"]))
            await send(message)

        await self._app(scope, receive, noting)
