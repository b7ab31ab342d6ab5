"""What the registry tells by itself: POST /hooks/mlflow. It has no token, because every message is signed."""

import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.http.endpoint import MAX_BODY, answer, problem
from monitor.rollback.mlflow_hook import AliasChange, HookError, read, verify
from monitor.store.store import StoreError

Heard = Callable[[AliasChange], None]


def hooks(secret: Callable[[], str], heard: Heard, clock: Callable[[], float] = time.time) -> list[Route]:
    """The route.

    Args:
        secret: That of the webhook in MLflow.
        heard: Told of every change of an alias, in a thread.
        clock: Epoch seconds.
    """

    def take(request: Request, raw: bytes) -> Response:
        try:
            verify(secret(), request.headers, raw, clock())
        except HookError as error:
            return problem(403, str(error))
        except (OSError, UnicodeError):
            return problem(503, "the secret cannot be read")
        try:
            change = read(raw)
            if change is not None:
                heard(change)
        except HookError as error:
            return problem(400, str(error))
        except StoreError as error:
            return problem(503, str(error))
        return answer({"heard": change is not None})

    async def mlflow(request: Request) -> Response:
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_BODY:
                return problem(413, f"the body has more than {MAX_BODY} bytes")
        return await run_in_threadpool(take, request, bytes(raw))

    return [Route("/hooks/mlflow", mlflow, methods=["POST"])]
