"""MLflow's REST API as the registry needs it: one call, its credentials, and its errors in plain words."""

import base64
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from pydantic import AfterValidator, Field, FilePath, model_validator

from alerting.section import Secret, Section
from monitor.rollback.artefacts import of_chunks
from monitor.rollback.registry import RegistryError

Answer = TypeVar("Answer")

_API = "api/2.0/mlflow"
ARTIFACTS = "api/2.0/mlflow-artifacts"
"""Where a server that stores artefacts itself gives them out."""
_MAX_ANSWER = 64 * 1024 * 1024  # bytes; a thousand versions with long tags are far below
_MAX_ERROR_TEXT = 300
_MAX_PORT = 65535
_TOKEN = re.compile("[!-~]+")
_RETRIED_STATUSES = frozenset({408, 425, 429})
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _plain_http_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("is not a valid address") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host or (parsed.port or 0) > _MAX_PORT:
        raise ValueError("must be an http:// or https:// address")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("must be a bare address; credentials go to `token`, or `username` and `password`")
    return url.rstrip("/")


class RestConfig(Section):
    """What any registry behind HTTP needs."""

    url: Annotated[str, AfterValidator(_plain_http_url)]
    """Where it answers; for MLflow the tracking server, without `/api/...`."""
    alias: str = Field(default="champion", min_length=1)
    """The alias that the serving side follows."""
    token: Secret | None = None
    """Sent as a bearer token. A `file` is read for every request, so a rotated token is picked up."""
    username: str | None = None
    password: Secret | None = None
    """For basic authentication, together with `username`."""
    timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds to wait for a connection, for each read and write, and for the whole of an answer."""
    ca_file: FilePath | None = None
    """PEM file of the authorities to trust instead of the system's."""

    @model_validator(mode="after")
    def _one_kind_of_credentials(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("give both `username` and `password`, or neither")
        if self.token is not None and self.username is not None:
            raise ValueError("give either `token`, or `username` and `password`")
        return self


class MlflowConfig(RestConfig):
    """The section `registry` for MLflow."""

    kind: Literal["mlflow"]
    version_tag: str | None = None
    """The tag of a model version that holds the version's name in events; without it, MLflow's own number."""
    webhook_secret: Secret | None = None
    """With it, a webhook of MLflow with this secret may tell POST /hooks/mlflow that an alias was set or removed."""


class _ErrorAnswer(msgspec.Struct, frozen=True):
    message: str


class MlflowRest:
    """Asks an MLflow server, or another one that speaks JSON. Safe to share between threads.

    Args:
        config: The section `registry`.
        client: Used instead of a client of its own; `close` closes it.
        server: What to call it in messages.
    """

    def __init__(self, config: RestConfig, client: httpx.Client | None = None, *, server: str = "MLflow") -> None:
        self._config = config
        self._server = server
        self._client = client or httpx.Client(
            timeout=config.timeout,
            verify=ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True,
        )

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        self._client.close()

    def call(
        self,
        answer: type[Answer],
        method: str,
        endpoint: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        api: str = _API,
    ) -> Answer:
        """Ask MLflow once. Everything that can go wrong becomes a RegistryError."""
        asked = f"{method} {endpoint}"
        try:
            with self._client.stream(
                method,
                "/".join(part for part in (self._config.url, api, endpoint) if part),
                params=query,
                json=body,
                headers=self._authorization(),
            ) as response:
                content = self._content(asked, response)
        except httpx.HTTPError as error:
            raise self._failure(asked, error) from None
        if not response.is_success:
            raise self._refusal(asked, response, content)
        try:
            # MLflow sends 64-bit integers as numbers, other servers of the API as text: not strict.
            return msgspec.json.decode(content, type=answer, strict=False)
        except _UNDECODABLE:
            raise RegistryError(
                f"{self._place}: the answer to {asked} is not {self._server}'s: check `url`", passing=False
            ) from None

    def digest(self, place: str) -> str:
        """`sha256:<hex>` of a stored artefact's content, which may be large. Raises RegistryError."""
        return self.digest_of(f"{ARTIFACTS}/artifacts/{quote(place)}")

    def digest_of(self, path: str) -> str:
        """`sha256:<hex>` of what is at a path below `url`. Raises RegistryError."""
        with self._chunks(path) as chunks:
            return of_chunks(chunks)

    def save(self, place: str, to: Path) -> None:
        """Keep a copy of a stored artefact's content; its folders are made. Raises RegistryError, or OSError."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with self._chunks(f"{ARTIFACTS}/artifacts/{quote(place)}") as chunks, to.open("xb") as file:
            file.writelines(chunks)

    @contextmanager
    def _chunks(self, path: str) -> Iterator[Iterator[bytes]]:
        """What is at a path below `url`, which may be large, in parts."""
        asked = "GET artifacts"
        try:
            with self._client.stream("GET", f"{self._config.url}/{path}", headers=self._authorization()) as response:
                if not response.is_success:
                    raise self._refusal(asked, response, self._content(asked, response))
                yield response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._failure(asked, error) from None

    def _failure(self, asked: str, error: httpx.HTTPError) -> RegistryError:
        # Only a ConnectError is quoted: the text of other errors may hold what was sent.
        detail = f"{error}" if isinstance(error, httpx.ConnectError) else type(error).__name__
        return RegistryError(f"{self._place}: {asked} failed: {_one_line(detail)}", passing=True)

    def _content(self, asked: str, response: httpx.Response) -> bytes:
        """The body, as long as it comes in reasonable time and size: the HTTP library limits neither."""
        deadline = time.monotonic() + self._config.timeout
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _MAX_ANSWER:
                raise RegistryError(f"{self._place}: the answer to {asked} is too long", passing=False)
            if time.monotonic() > deadline:
                raise RegistryError(f"{self._place}: the answer to {asked} takes too long", passing=True)
        return bytes(content)

    def _refusal(self, asked: str, response: httpx.Response, content: bytes) -> RegistryError:
        status = response.status_code
        try:
            detail = msgspec.json.decode(content, type=_ErrorAnswer).message
        except _UNDECODABLE:
            # MLflow's own texts come as JSON, but for these two; anything else may be a proxy's page.
            if status == httpx.codes.FORBIDDEN and b"Invalid Host header" in content:
                detail = "the server refuses this Host header; start MLflow with --allowed-hosts"
            else:
                detail = f"{response.reason_phrase}, without an explanation from {self._server}; check `url`"
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.PROXY_AUTHENTICATION_REQUIRED}:
            detail = "the credentials were not accepted"
        if credentials := response.request.headers.get("Authorization", "").partition(" ")[2]:
            detail = detail.replace(credentials, "***")  # some gateways quote what they were sent
        passing = status in _RETRIED_STATUSES or response.is_server_error
        return RegistryError(f"{self._place}: {asked} was answered {status}: {_one_line(detail)}", passing=passing)

    def _authorization(self) -> dict[str, str]:
        """The header that proves who is asking."""
        config = self._config
        try:
            token = config.token.reveal() if config.token is not None else ""
            password = config.password.reveal() if config.password is not None else ""
        except (OSError, UnicodeError):
            raise RegistryError(f"{self._place}: the file with the credentials cannot be read", passing=True) from None
        if config.token is not None:
            if not _TOKEN.fullmatch(token):  # checked here, because the HTTP library would quote it
                reason = "the token is empty or holds characters that no header can carry"
                raise RegistryError(f"{self._place}: {reason}", passing=False)
            return {"Authorization": f"Bearer {token}"}
        if config.username is not None:
            pair = base64.b64encode(f"{config.username}:{password}".encode())
            return {"Authorization": f"Basic {pair.decode()}"}
        return {}

    @property
    def _place(self) -> str:
        return f"{self._server} at {self._config.url}"


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_MAX_ERROR_TEXT]
