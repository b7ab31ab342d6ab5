import base64
import datetime as dt
import ipaddress
import json
import logging
import re
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from monitor.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.registry import AliasMovedError, RegistryError
from tests.kit.mlflow_server import MlflowServer

SECRET = "s3cr3t-t0ken"


class Asked(NamedTuple):
    method: str
    endpoint: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, str]


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def version(number: int, *, model: str = "net-ids", **tags: str) -> dict[str, Any]:
    listed = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
    return {
        "name": model,
        "version": str(number),
        "creation_timestamp": 1_772_000_000_000 + number,
        "status": "READY",
        "tags": listed,
    }


class Fake:
    """A server on a loopback port that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer] = lambda _: Answer()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                address = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    address.path.removeprefix("/api/2.0/mlflow/"),
                    {key: values[0] for key, values in parse_qs(address.query).items()},
                    dict(self.headers),
                    json.loads(self.rfile.read(length) or b"{}"),
                )
                fake.asked.append(asked)
                answer = fake.answer(asked)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(answer.body)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = _do  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def config(url: str, **keys: object) -> MlflowConfig:
    return MlflowConfig.model_validate({"kind": "mlflow", "url": url, "timeout": 5.0, **keys})


def error_of(config: MlflowConfig) -> RegistryError:
    with closing(MlflowRegistry(config)) as registry, pytest.raises(RegistryError) as caught:
        registry.current("net-ids")
    return caught.value


@pytest.mark.parametrize(
    ("answer", "passing", "said"),
    [
        (Answer(404, b"<!doctype html>\n<h1>Not Found</h1>", "text/html"), False, "404: Not Found, .*check `url`"),
        (Answer(403, b"Invalid Host header - possible DNS rebinding", "text/plain"), False, "--allowed-hosts"),
        (Answer(401, b"You are not authenticated", "text/plain"), False, "credentials were not accepted"),
        (as_json({"error_code": "PERMISSION_DENIED", "message": "Permission denied"}, 403), False, "403: Permission"),
        (as_json({"error_code": "INVALID", "message": "Registered model alias c not found."}, 400), False, "alias c"),
        (as_json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "with name=a\nb\x1b[31m"}, 404), False, "a b"),
        (as_json({"message": "x" * 100_000}, 400), False, "xxx"),
        (as_json({"message": 7}, 400), False, "400"),
        (Answer(302, headers=(("Location", "/elsewhere"),)), False, "302"),
        (Answer(200, b"<html>Sign in</html>", "text/html"), False, "not MLflow's: check `url`"),
        (Answer(200, b'{"model_version": 7}'), False, "not MLflow's"),
        (Answer(200, b'{"x": ' + b"[" * 100_000), False, "not MLflow's"),
        (Answer(200, b"\xff"), False, "not MLflow's"),
        (Answer(429, b"slow down", "text/plain"), True, "429"),
        (as_json({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}, 503), True, "503: busy"),
        (Answer(500, b"<html>", "text/html"), True, "500"),
        (Answer(502, b"", "text/html"), True, "502"),
    ],
)
def test_every_answer_that_is_not_mlflows_yes_becomes_one_clear_line(
    fake: Fake, answer: Answer, passing: bool, said: str
) -> None:
    fake.answer = lambda _: answer
    error = error_of(config(fake.url))
    assert error.passing is passing
    assert re.search(said, str(error))
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert f"MLflow at {fake.url}" in str(error)
    assert len(fake.asked) == 1  # neither tried again nor redirected


def test_a_server_that_cannot_be_reached_is_a_passing_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = error_of(config(f"http://127.0.0.1:{port}"))
    assert error.passing
    assert "refused" in str(error)


def test_a_server_that_does_not_answer_is_a_passing_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = error_of(config(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.2))
    assert error.passing
    assert "ReadTimeout" in str(error)


def test_a_server_that_hangs_up_is_a_passing_error() -> None:
    def hang_up() -> None:
        connection, _ = server.accept()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up)
        thread.start()
        error = error_of(config(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert error.passing


# Credentials


def test_a_token_is_sent_as_bearer_and_read_anew_for_every_request(fake: Fake, tmp_path: Path) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1)})
    file = tmp_path / "token"
    file.write_text("first\n")
    with closing(MlflowRegistry(config(fake.url, token={"file": str(file)}))) as registry:
        registry.current("net-ids")
        file.write_text("second\n")
        registry.current("net-ids")
    assert [asked.headers["Authorization"] for asked in fake.asked] == ["Bearer first", "Bearer second"]


def test_a_user_and_a_password_are_sent_as_basic(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1)})
    with closing(MlflowRegistry(config(fake.url, username="jörg", password={"value": "päss:wörd"}))) as registry:
        registry.current("net-ids")
    scheme, _, pair = fake.asked[0].headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair).decode()) == ("Basic", "jörg:päss:wörd")


def test_without_credentials_none_are_sent(fake: Fake) -> None:
    error_of(config(fake.url))
    assert "Authorization" not in fake.asked[0].headers


@pytest.mark.parametrize("token", [SECRET, SECRET + "\r\nX-Evil: 1", SECRET + "\x00", SECRET + "ü"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_no_error_and_no_log_line_holds_the_secret(
    fake: Fake, caplog: pytest.LogCaptureFixture, token: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.answer = lambda asked: as_json({"message": f"bad {asked.headers['Authorization']}"}, status)
    error = error_of(config(fake.url, token={"value": token}))
    assert SECRET not in f"{error!s}{error!r}{caplog.text}"
    assert error.__cause__ is None
    assert bool(fake.asked) is (token == SECRET)  # a token that no header can carry is not even tried


def test_an_empty_token_is_an_error_and_not_an_anonymous_request(fake: Fake) -> None:
    error = error_of(config(fake.url, token={"value": ""}))
    assert not error.passing
    assert "the token is empty" in str(error)
    assert fake.asked == []


def test_a_secret_file_that_vanished_is_a_passing_error(tmp_path: Path, fake: Fake) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    settings = config(fake.url, token={"file": str(file)})
    file.unlink()
    error = error_of(settings)
    assert error.passing
    assert "credentials cannot be read" in str(error)
    assert fake.asked == []


@pytest.mark.parametrize(
    "keys",
    [
        {"url": "mlflow:5000"},
        {"url": "ftp://mlflow"},
        {"url": "http://"},
        {"url": f"http://user:{SECRET}@mlflow:5000"},
        {"url": f"http://user:{SECRET}@[::1"},
        {"url": "http://mlflow:5000?x=1"},
        {"url": "http://mlflow:99999"},
        {"username": "ann"},
        {"password": {"value": SECRET}},
        {"token": {"value": SECRET}, "username": "ann", "password": {"value": SECRET}},
        {"timeout": 0},
        {"alias": ""},
        {"ca_file": "/nowhere.pem"},
        {"aliass": "champion"},
    ],
)
def test_a_wrong_configuration_is_refused_and_its_reason_holds_no_secret(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        config("http://mlflow:5000", **keys) if "url" not in keys else config(**keys)  # type: ignore[arg-type]  # wrong on purpose
    assert SECRET not in "".join(problem["msg"] for problem in caught.value.errors())


def test_a_path_before_the_api_is_kept(fake: Fake) -> None:
    error_of(config(f"{fake.url}/tracking/"))
    assert fake.asked[0].endpoint == "/tracking/api/2.0/mlflow/registered-models/alias"


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mlflow")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "server.pem"
    path.write_bytes(encoded + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_only_a_trusted_certificate_is_talked_to(fake: Fake, certificate: Path) -> None:
    fake.answer = lambda _: as_json({"model_version": version(3)})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    fake.server.socket = context.wrap_socket(fake.server.socket, server_side=True)
    url = fake.url.replace("http:", "https:")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error_of(config(url)))
    assert fake.asked == []
    with closing(MlflowRegistry(config(url, ca_file=str(certificate)))) as registry:
        assert registry.current("net-ids").version == "3"


# What the answers mean


def test_pages_are_read_to_the_end_and_other_models_left_out(fake: Fake) -> None:
    pages = {
        None: {"model_versions": [version(4), version(3, model="NET-IDS")], "next_page_token": "a"},
        "a": {"model_versions": [version(2)], "next_page_token": "b"},
        "b": {"model_versions": [version(1)]},
    }
    fake.answer = lambda asked: as_json(pages[asked.query.get("page_token")])
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert [found.version for found in registry.versions("net-ids")] == ["4", "2", "1"]
    assert len(fake.asked) == 3


def test_a_server_whose_pages_never_end_is_an_error(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_versions": [version(1)], "next_page_token": "again"})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError, match="pages") as caught:
        registry.versions("net-ids")
    assert not caught.value.passing


def test_numbers_may_come_as_text(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1) | {"creation_timestamp": "1772000000500"}})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert registry.current("net-ids").created == 1_772_000_000.5


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION", ""])
def test_only_ready_is_ready(fake: Fake, status: str) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1) | {"status": status}})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert not registry.current("net-ids").ready


@pytest.mark.parametrize(
    ("value", "revoked"), [("true", True), ("", True), ("CVE-1", True), ("false", False), (" False", False)]
)
def test_any_revocation_but_false_counts(fake: Fake, value: str, revoked: bool) -> None:
    fake.answer = lambda _: as_json({"model_version": version(1, tocsin__revoked=value)})
    with closing(MlflowRegistry(config(fake.url))) as registry:
        assert registry.current("net-ids").revoked is revoked


@pytest.mark.parametrize("mark", ["yesterday", "1772000000", "2026-13-01T00:00:00Z"])
def test_a_mark_that_cannot_be_read_is_no_mark_and_is_said(fake: Fake, mark: str) -> None:
    fake.answer = lambda _: as_json({"model_version": version(7, tocsin__known_good_at=mark)})
    with closing(MlflowRegistry(config(fake.url))) as registry, capture_logs() as logs:
        assert registry.current("net-ids").known_good_at is None
    (line,) = logs
    assert (line["log_level"], line["model"], line["version"]) == ("warning", "net-ids", "7")


def test_a_move_that_does_not_read_back_is_an_error(fake: Fake) -> None:
    fake.answer = lambda asked: as_json({"model_version": version(2)} if asked.method == "GET" else {})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError) as caught:
        registry.move("net-ids", expected="2", to="1")
    assert "moved to 1, but reads back as MLflow version 2" in str(caught.value)
    assert [asked.method for asked in fake.asked] == ["GET", "POST", "GET"]


def test_a_move_that_stands_back_writes_nothing(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_version": version(3)})
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(AliasMovedError):
        registry.move("net-ids", expected="2", to="1")
    assert {asked.method for asked in fake.asked} == {"GET"}


def test_a_tag_that_two_versions_share_names_neither(fake: Fake) -> None:
    fake.answer = lambda _: as_json({"model_versions": [version(2, release="1.0"), version(1, release="1.0")]})
    with (
        closing(MlflowRegistry(config(fake.url, version_tag="release"))) as registry,
        pytest.raises(RegistryError, match=r"versions 2, 1 all have the tag release=1\.0 in net-ids"),
    ):
        registry.move("net-ids", expected="2.0", to="1.0")


def test_versions_without_the_tag_have_no_name_in_events(fake: Fake) -> None:
    unnamed = [version(3), version(2, release="")]
    fake.answer = lambda asked: as_json(
        {"model_versions": [*unnamed, version(1, release="1.0")]}
        if "search" in asked.endpoint
        else {"model_version": unnamed[0]}
    )
    with closing(MlflowRegistry(config(fake.url, version_tag="release"))) as registry:
        assert [found.version for found in registry.versions("net-ids")] == ["1.0"]
        with pytest.raises(RegistryError, match="version 3 of net-ids has the alias champion, but no tag release"):
            registry.current("net-ids")


def test_a_name_with_both_kinds_of_quotes_is_refused_before_anything_is_asked(fake: Fake) -> None:
    with closing(MlflowRegistry(config(fake.url))) as registry, pytest.raises(RegistryError, match="quotes"):
        registry.versions("""a'b"c""")
    assert fake.asked == []


# A real server


@pytest.mark.mlflow
@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["it's {}", 'say "{}"', "{}' AND name='net-ids", "50%_{}", "größe\\{}"])
def test_real_names_cannot_break_out_of_the_search(mlflow_server: MlflowServer, pattern: str) -> None:
    model, decoy = pattern.format(uuid.uuid4().hex), uuid.uuid4().hex
    for name in (model, decoy):
        mlflow_server.add_model(name)
        mlflow_server.add_version(name)
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        assert [(found.model, found.version) for found in registry.versions(model)] == [(model, "1")]


@pytest.mark.mlflow
@pytest.mark.slow
def test_real_pages_fit_together(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.mlflow_registry._PAGE_SIZE", 3)
    model = uuid.uuid4().hex
    mlflow_server.add_model(model)
    numbers = [mlflow_server.add_version(model) for _ in range(11)]
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        assert [found.version for found in registry.versions(model)] == numbers[::-1]


@pytest.mark.mlflow
@pytest.mark.slow
def test_the_real_mark_is_iso_8601_in_utc(mlflow_server: MlflowServer) -> None:
    model = uuid.uuid4().hex
    mlflow_server.add_model(model)
    number = mlflow_server.add_version(model)
    with closing(MlflowRegistry(config(mlflow_server.url))) as registry:
        registry.mark(model, number, known_good_at=1_772_000_000.0)
        assert mlflow_server.version(model, number) == {"tocsin.known_good_at": "2026-02-25T06:13:20+00:00"}
        registry.mark(model, number, known_good_at=None)
        assert mlflow_server.version(model, number) == {}


@pytest.mark.mlflow
@pytest.mark.slow
def test_a_real_refusal_of_the_host_header_says_what_to_do(mlflow_server: MlflowServer) -> None:
    import httpx

    client = httpx.Client(headers={"Host": "mlflow.ml.svc.cluster.local:5000"})
    with (
        closing(MlflowRegistry(config(mlflow_server.url), client)) as registry,
        pytest.raises(RegistryError, match="--allowed-hosts"),
    ):
        registry.current("net-ids")
