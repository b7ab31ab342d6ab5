"""What the registry tells by itself: POST /hooks/mlflow. It has no token, because every message is signed.

A copy of a message is answered like the first one and not heard again: whoever sees one on its way could otherwise send
it a thousand times a second while it is believed.
"""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.http.endpoint import ProblemError, answer, body_of, problem
from monitor.rollback.mlflow_hook import MAX_AGE, AliasChange, HookError, read, verify
from monitor.store.store import StoreError

Heard = Callable[[AliasChange], None]


def hooks(
    secret: Callable[[], str],
    heard: Heard,
    refused: Callable[[HTTPStatus], None],
    clock: Callable[[], float] = time.time,
) -> list[Route]:
    """The route.

    Args:
        secret: That of the webhook in MLflow.
        heard: Told of every change of an alias, in a thread.
        refused: Called for every message that is not believed.
        clock: Epoch seconds.
    """
    hear = _Once(heard, clock)

    def take(request: Request, raw: bytes) -> Response:
        try:
            verify(secret(), request.headers, raw, clock())
        except HookError as error:
            refused(HTTPStatus.FORBIDDEN)
            return problem(403, str(error))
        except (OSError, UnicodeError):
            return problem(503, "the secret cannot be read")
        try:
            change = read(raw)
            if change is not None:
                hear(request.headers.getlist("x-mlflow-signature")[-1], change)  # the one that was verified
        except HookError as error:
            return problem(400, str(error))
        except StoreError as error:
            return problem(503, str(error))
        return answer({"heard": change is not None})

    async def mlflow(request: Request) -> Response:
        try:
            sent = await body_of(request)
        except ProblemError as error:
            return problem(error.status, str(error))
        return await run_in_threadpool(take, request, sent.raw)

    return [Route("/hooks/mlflow", mlflow, methods=["POST"])]


class _Once:
    """Hears each signed message once, as long as a copy of it would be believed. Safe to share between threads."""

    def __init__(self, heard: Heard, clock: Callable[[], float]) -> None:
        self._heard = heard
        self._clock = clock
        self._lately: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, signature: str, change: AliasChange) -> None:
        with self._lock:
            now = self._clock()
            self._lately = {known: at for known, at in self._lately.items() if now - at <= 2 * MAX_AGE}
            if signature not in self._lately:
                self._heard(change)
                self._lately[signature] = now
