"""The pages about incidents that the server serves: /incidents/<id> for people, /incidents/<id>.png for chats."""

from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerting.incident import Incident
from monitor.http.access import Access, RefusedError
from monitor.http.endpoint import address
from monitor.http.page import POLICY, page, picture
from monitor.http.sessions import Sessions
from monitor.http.tls import certificate
from monitor.pictures.exhibit import Exhibit
from monitor.pictures.png import NoPicturesError
from monitor.store.store import StoreError

_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Archive(Protocol):
    """Where incidents and what stood behind them are read; the store."""

    def incident(self, name: str) -> Incident | None:
        """The incident with this id."""

    def exhibit(self, incident: str) -> Exhibit | None:
        """What stood behind it when it was told last."""


def pages(archive: Archive, access: Access, sessions: Sessions) -> list[Route]:
    """The routes, for whoever has a token, or is signed in to the console.

    Plain functions, so that drawing a picture holds up nobody else.
    """

    def answer(request: Request, make: Callable[[Incident, Exhibit | None], Response]) -> Response:
        try:
            session, shown = sessions.of(request), request.headers.getlist("authorization")
            if session is not None:
                who = session.who
            else:
                who = access.enter(shown, address(request), certificate=certificate(request))
        except RefusedError as error:
            return PlainTextResponse(f"{error}\n", error.status, error.headers)
        name = request.path_params["incident"]
        try:
            incident = archive.incident(name)
            exhibit = archive.exhibit(name)
        except StoreError as error:
            return PlainTextResponse(f"{error}\n", 503)
        if incident is None or not who.sees(incident.model):
            return PlainTextResponse("there is no such incident\n", 404)
        return make(incident, exhibit)

    def html(request: Request) -> Response:
        return answer(request, lambda incident, exhibit: _html(page(incident, exhibit)))

    def image(request: Request) -> Response:
        return answer(request, _image)

    # The longer address first: an id has no dot.
    return [Route("/incidents/{incident}.png", image), Route("/incidents/{incident}", html)]


def _html(text: str) -> Response:
    return Response(text, media_type="text/html", headers=_HEADERS)


def _image(incident: Incident, exhibit: Exhibit | None) -> Response:
    try:
        return Response(picture(incident, exhibit), media_type="image/png", headers=_HEADERS)
    except NoPicturesError as error:
        return PlainTextResponse(f"{error}\n", 501)
