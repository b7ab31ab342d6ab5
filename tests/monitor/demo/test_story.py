"""The demo's way in: what it needs, what it refuses, and the configuration it runs Tocsin with."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from monitor.demo import daemon, story
from monitor.demo.daemon import Addresses
from monitor.http.access_config import Role
from monitor.rollback.config import Mode
from monitor.service.config import load


def test_without_the_extra_packages_there_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mlflow" else find(name, *rest)
    )
    assert story.run(keep=False, propose=False, workdir=None) == 2
    assert capsys.readouterr().out == "The demo needs more packages (mlflow): pip install 'tocsin[demo]'\n"


@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_it_does_not_write_where_something_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    (tmp_path / "mine").write_text("precious")
    place = tmp_path / "mine" if kind == "file" else tmp_path
    assert story.run(keep=False, propose=False, workdir=place) == 2
    assert capsys.readouterr().out == f"{place} is not an empty folder\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "precious")]


def test_tocsin_takes_the_configuration_and_no_secret_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "tocsin.yaml"
    at = Addresses(
        "127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "http://127.0.0.1:4/", "http://127.0.0.1:5"
    )
    token = "6f2c" * 16
    given = {"model": "breast-cancer", "topic": "tocsin.events", "reference": 4000}
    daemon.write_config(path, at, **given, token=token, mode=Mode.PROPOSE)
    secret = "whsec_c2VjcmV0"
    config: Any = load(path, {daemon.SECRET_VARIABLE: secret})
    assert config.kafka.bootstrap_servers == ("127.0.0.1:1",)
    assert config.registry.url == "http://127.0.0.1:2"
    assert config.alerting.receivers[0].url.get_secret_value() == "http://127.0.0.1:4/"
    assert config.alerting.receivers[0].secret.reveal() == secret
    assert (config.server.host, config.server.port) == ("127.0.0.1", 5)
    assert config.models["breast-cancer"].reference.events == 4000
    assert config.rollback.mode_of("breast-cancer") is Mode.PROPOSE
    assert config.server.access.tokens[0].role is Role.APPROVER
    assert token not in path.read_text()
    assert config.store.path == tmp_path / "tocsin.db"
