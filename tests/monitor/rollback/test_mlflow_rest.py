"""What `MlflowRest` makes of answers, failures, credentials and certificates; `current` is the call in all of them."""

import base64
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.rollback import mlflow_rest
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.registry import RegistryError
from tests.kit.certificates import serving
from tests.kit.fake_mlflow import Answer, Fake, as_json, config, fake_mlflow, version

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_mlflow() as made:
        yield made


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


def test_a_body_that_drips_is_cut_off(fake: Fake) -> None:
    fake.answer = lambda _: Answer(body=b'{"model_version"', endless=b" ")
    error = error_of(config(fake.url, timeout=0.3))
    assert error.passing
    assert "takes too long" in str(error)


def test_a_body_without_end_is_cut_off(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_rest, "_MAX_ANSWER", 1000)
    fake.answer = lambda _: Answer(body=b'{"model_version"', endless=b" " * 10_000)
    error = error_of(config(fake.url))
    assert not error.passing
    assert "too long" in str(error)


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


def test_only_a_trusted_certificate_is_talked_to(fake: Fake, tmp_path: Path) -> None:
    fake.answer = lambda _: as_json({"model_version": version(3)})
    context, authority = serving(tmp_path)
    fake.server.socket = context.wrap_socket(fake.server.socket, server_side=True)
    url = fake.url.replace("http:", "https:")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error_of(config(url)))
    assert fake.asked == []
    with closing(MlflowRegistry(config(url, ca_file=str(authority)))) as registry:
        assert registry.current("net-ids").version == "3"
