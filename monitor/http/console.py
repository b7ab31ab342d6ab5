"""The way into the console, under /console: signing in, forms that no other site can send, errors as pages.

The pages need no script, and their policy allows none. Whoever signs in trades a token of the API for a cookie; without
tokens in the configuration everybody who can connect may look, as everywhere.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlsplit

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.http import deeds
from monitor.http.access import ANYBODY, Access, RefusedError
from monitor.http.ask import Ask
from monitor.http.endpoint import Endpoint, ProblemError, address, body_of, in_words
from monitor.http.rendering import Page, asset, render
from monitor.http.rooms import Rooms
from monitor.http.sessions import Session, Sessions
from monitor.http.tls import certificate
from monitor.rollback.registry import RegistryError
from monitor.store.store import StoreError

HOME, SIGN_IN = "/console", "/console/sign-in"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with that a browser does not say where a form comes from.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_SEE_OTHER = HTTPStatus.SEE_OTHER

_log = structlog.get_logger("tocsin.console")

Show = Callable[[Ask, Request], Page]
Do = Callable[[Ask, Request, Mapping[str, str]], str]


def console(endpoints: Sequence[Endpoint], access: Access, sessions: Sessions, rooms: Rooms) -> list[Route]:
    """The routes; `endpoints` is the table of the API, by which everything is shown and done."""
    doors = _Doors(endpoints, access, sessions)
    on_incident, on_silence = f"{HOME}/incidents/{{incident}}/{{deed}}", f"{HOME}/silences/{{silence}}/expire"
    on_version = f"{HOME}/vouch"
    shown: dict[str, Show] = {
        HOME: rooms.incidents,
        f"{HOME}/incidents/{{incident}}": rooms.incident,
        f"{HOME}/models": rooms.models,
        f"{HOME}/silences": rooms.silences,
        f"{HOME}/audit": rooms.audit,
        on_incident: deeds.confirm,
        on_silence: deeds.confirm_end,
        on_version: deeds.confirm_vouch,
    }
    done: dict[str, Do] = {on_incident: deeds.do, on_silence: deeds.end, on_version: deeds.vouch}
    return [
        Route("/", lambda _: RedirectResponse(HOME, _SEE_OTHER)),
        Route(f"{HOME}/style.css", _file("style.css", "text/css")),
        Route(f"{HOME}/icon.svg", _file("icon.svg", "image/svg+xml")),
        Route(SIGN_IN, doors.sign_in_form, methods=["GET"]),
        Route(SIGN_IN, doors.form(doors.sign_in), methods=["POST"]),
        Route(f"{HOME}/sign-out", doors.form(doors.sign_out), methods=["POST"]),
        *(Route(path, doors.shown(show), methods=["GET"]) for path, show in shown.items()),
        *(Route(path, doors.form(doors.done(do)), methods=["POST"]) for path, do in done.items()),
    ]


class _Doors:
    """Who comes in, and with what."""

    def __init__(self, endpoints: Sequence[Endpoint], access: Access, sessions: Sessions) -> None:
        self._table: dict[tuple[str, str], Endpoint] = {(each.method, each.path): each for each in endpoints}
        self._access = access
        self._sessions = sessions

    def shown(self, show: Show) -> Callable[[Request], Response]:
        """A page for whoever is signed in."""

        def handle(request: Request) -> Response:
            session = self._sessions.of(request)
            if session is None and not self._access.is_open:
                here = quote(f"{request.url.path}?{request.url.query}".rstrip("?"), safe="")
                return RedirectResponse(f"{SIGN_IN}?to={here}", _SEE_OTHER, _HEADERS)
            return self._page(session, lambda ask: self._html(session, show(ask, request)))

        return handle

    def form(self, take: Callable[[Request, dict[str, str]], Response]) -> Callable[[Request], Awaitable[Response]]:
        """What is done with a form, if it comes from a page of this server."""

        async def handle(request: Request) -> Response:
            try:
                _check_origin(request)
                given = _fields((await body_of(request, (FORM,))).raw)
            except ProblemError as error:
                return self._problem(None, error.status, str(error))
            return await run_in_threadpool(take, request, given)

        return handle

    def done(self, do: Do) -> Callable[[Request, dict[str, str]], Response]:
        """A change by whoever is signed in, and then the page that shows what has come of it."""

        def handle(request: Request, given: dict[str, str]) -> Response:
            session = self._sessions.of(request)
            if session is None or not _own(session, given) or "key" not in given:
                return self._problem(session, HTTPStatus.FORBIDDEN, "this form is not of your session; sign in again")
            return self._page(session, lambda ask: RedirectResponse(do(ask, request, given), _SEE_OTHER, _HEADERS))

        return handle

    def sign_in_form(self, request: Request) -> Response:
        """Where a token is asked for."""
        to = _local(request.query_params.get("to", HOME))
        if self._access.is_open:
            return RedirectResponse(to, _SEE_OTHER, _HEADERS)
        return self._html(None, Page("sign_in.html", {"to": to, "why": None, "certificate": certificate(request)}))

    def sign_in(self, request: Request, given: dict[str, str]) -> Response:
        """Trade a token for a session; or, without one, the certificate that the browser has shown."""
        to, token, shown = _local(given.get("to", HOME)), given.get("token", "").strip(), certificate(request)
        try:
            who = self._access.enter([f"Bearer {token}"] if token else [], address(request), certificate=shown)
        except RefusedError as error:
            why = "this token is not known" if error.status is HTTPStatus.UNAUTHORIZED else str(error)
            headers = {name: value for name, value in error.headers.items() if name == "retry-after"}
            page = Page("sign_in.html", {"to": to, "why": why, "certificate": shown})
            return self._html(None, page, error.status, headers)
        response = RedirectResponse(to, _SEE_OTHER, _HEADERS)
        if not self._access.is_open:
            self._sessions.begin(who, request, response)
            _log.info("signed in", who=who.name, role=who.role, address=address(request))
        return response

    def sign_out(self, request: Request, given: dict[str, str]) -> Response:
        """End a session."""
        session = self._sessions.of(request)
        response = RedirectResponse(SIGN_IN, _SEE_OTHER, _HEADERS)
        if session is not None and _own(session, given):
            self._sessions.end(request, response)
        return response

    def _page(self, session: Session | None, make: Callable[[Ask], Response]) -> Response:
        """What somebody asked for, or why not."""
        try:
            return make(self._ask(session))
        except RefusedError as error:
            return self._problem(session, error.status, str(error))
        except (ProblemError, StoreError, RegistryError) as error:
            said = in_words(error)
            return self._problem(session, said.status, str(said))

    def _ask(self, session: Session | None) -> Ask:
        return Ask(self._table, self._access, ANYBODY if session is None else session.who)

    def _problem(self, session: Session | None, status: HTTPStatus, why: str) -> Response:
        return self._html(session, Page("problem.html", {"title": status.phrase, "why": why}), status)

    def _html(
        self, session: Session | None, page: Page, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        known = session is not None or self._access.is_open
        text = render(page, ask=self._ask(session) if known else None, form="" if session is None else session.form)
        return Response(text, status, _HEADERS | dict(headers or {}), "text/html")


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    def handle(_request: Request) -> Response:
        return Response(asset(name), 200, _HEADERS | {"cache-control": "max-age=3600"}, kind)

    return handle


def _check_origin(request: Request) -> None:
    """A browser says which site a form was on, and no script can change what it says."""
    origin = urlsplit(request.headers.get("origin", ""))
    if not origin.netloc or origin.netloc != request.headers.get("host"):
        raise ProblemError(HTTPStatus.FORBIDDEN, "this form is not from a page of this server")


def _fields(raw: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "this is no form of the console") from None


def _own(session: Session, given: Mapping[str, str]) -> bool:
    return hmac.compare_digest(session.form.encode(), given.get("form", "").encode())


def _local(to: str) -> str:
    """Where to go after signing in: nowhere but the console."""
    inside = to == HOME or to.startswith((f"{HOME}/", f"{HOME}?"))
    return to if inside and to.isprintable() and "\\" not in to and not to.startswith(SIGN_IN) else HOME
