"""One call of the API as a row of a table, and the one way in to all of them.

The table is the truth: routing, roles, the check of parameters, the OpenAPI document and the tests all read it. Whoever
asks is known first, then their role is checked, then the parameters; only then does anything look into the store.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.http.access import Access, Principal, RefusedError
from monitor.http.access_config import Role
from monitor.http.throttle import Throttle
from monitor.http.tls import certificate
from monitor.rollback.registry import RegistryError
from monitor.store.store import StoreError

PREFIX = "/api/v1"
MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
JSON = "application/json"
KEY_HEADER, KEY = "idempotency-key", r"[!-~]{1,255}"


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For calls that take none."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 spells it."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"


class ProblemError(Exception):
    """What went wrong, for whoever asked: a status and one sentence without secrets."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Sent(msgspec.Struct, frozen=True):
    """A body as it came."""

    kind: str
    """Its media type."""
    raw: bytes


class Call(msgspec.Struct, frozen=True):
    """A call that is allowed, and whose parameters are what they should be."""

    principal: Principal
    path: dict[str, str]
    """What the path names, by the names in the endpoint."""
    query: Any
    """An instance of the endpoint's `query`."""
    body: Any = None
    """An instance of the endpoint's `body`, or a `Sent`; None where it has none."""
    key: str | None = None
    """What whoever asks calls this call, so that they can safely repeat it; see `monitor/http/once.py`."""


class Endpoint(msgspec.Struct, frozen=True):
    """A row of the table."""

    method: Literal["GET", "POST"]
    path: str
    """Below PREFIX; `{name}` is one name, and `{model:path}` one that may have slashes in it."""
    role: Role
    summary: str
    answer: Any
    """The type of the answer."""
    handle: Callable[[Call], object]
    query: type[msgspec.Struct] = NoParameters
    body: type[msgspec.Struct] | None = None
    bodies: Mapping[str, Any] = MappingProxyType({})
    """Instead of it: types by media type, where the body is taken as it came."""
    status: HTTPStatus = HTTPStatus.OK
    """Of the answer."""
    max_body: int = MAX_BODY
    limit: Throttle | None = None
    """What counts its calls, if they are not to count as changes."""

    @property
    def kinds(self) -> Mapping[str, Any]:
        """Types of the body by media type; none where it has no body."""
        return self.bodies or ({} if self.body is None else {JSON: self.body})

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"


def routes(endpoints: Sequence[Endpoint], access: Access) -> list[Route]:
    """The table as Starlette wants it: one route for each path, so that it knows all methods of a path."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method] = endpoint
    return [Route(path, _page(by_method, access), methods=list(by_method)) for path, by_method in paths.items()]


def answer(value: object, status: int = 200) -> Response:
    """A value as JSON that nobody keeps."""
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(msgspec.json.encode(value), status, media_type="application/json", headers=headers)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error as JSON."""
    response = answer(Problem(HTTPStatus(status).phrase, status, detail), status)
    response.headers.update({"content-type": "application/problem+json"} | (headers or {}))
    return response


def address(request: Request) -> str:
    """Where a request comes from, as far as the connection tells."""
    return request.client.host if request.client else ""


def elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site made it ask; programs that are no browsers say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def refused(_request: Request, error: Exception) -> Response:
    """What Starlette itself refuses (no such page, no such method), as a problem."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, dict(error.headers or {}))


def _page(by_method: Mapping[str, Endpoint], access: Access) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        endpoint = by_method["GET" if request.method == "HEAD" else request.method]
        authorization = request.headers.getlist("authorization")
        try:
            who = access.enter(
                authorization,
                address(request),
                endpoint.role,
                changes=endpoint.changes,
                limit=endpoint.limit,
                certificate=certificate(request),
                elsewhere=elsewhere(request),
            )
            sent = await body_of(request, endpoint.kinds, endpoint.max_body) if endpoint.changes else None
        except RefusedError as error:
            return problem(error.status, str(error), error.headers)
        except ProblemError as error:
            return problem(error.status, str(error))
        # In a thread, so that a slow disk does not hold up the probes.
        return await run_in_threadpool(_respond, endpoint, who, request, sent)

    return page


def _respond(endpoint: Endpoint, who: Principal, request: Request, sent: Sent | None) -> Response:
    try:
        key = _key(request) if endpoint.changes else None
        call = Call(who, dict(request.path_params), _query(endpoint, request), _body(endpoint, sent), key)
        return answer(endpoint.handle(call), endpoint.status)
    except (ProblemError, StoreError, RegistryError) as error:
        told = in_words(error)
        return problem(told.status, str(told))


def in_words(error: ProblemError | StoreError | RegistryError) -> ProblemError:
    """What whoever asked is told about an error."""
    match error:
        case ProblemError():
            return error
        case StoreError():
            return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        case RegistryError(passing=True):  # what it said in detail is for the log and for whoever runs it
            return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "the model registry does not answer")
    return ProblemError(HTTPStatus.NOT_FOUND, "the model registry knows no such thing, or refuses to say")


async def body_of(request: Request, kinds: Collection[str] = (), most: int = MAX_BODY) -> Sent:
    """The body of a request.

    Args:
        request: whose body it is.
        kinds: the media types that it may have; any, if there are none.
        most: bytes.

    Raises:
        ProblemError: it has another type, or is too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kinds and kind not in kinds:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body has to be {' or '.join(kinds)}")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {most} bytes")
    return Sent(kind, bytes(raw))


def _query(endpoint: Endpoint, request: Request) -> msgspec.Struct:
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "a parameter is given twice")
    try:
        return msgspec.convert(dict(given), endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error


def _key(request: Request) -> str | None:
    given = request.headers.getlist(KEY_HEADER)
    if len(given) > 1 or not all(re.fullmatch(KEY, key) for key in given):
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"{KEY_HEADER} has to be one word of at most 255 ASCII characters")
    return given[0] if given else None


def _body(endpoint: Endpoint, sent: Sent | None) -> msgspec.Struct | None:
    if endpoint.bodies or endpoint.body is None or sent is None:
        return sent if endpoint.bodies else None
    try:
        return msgspec.json.decode(sent.raw, type=endpoint.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"body: {error}") from error
