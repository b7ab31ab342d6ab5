"""A real MLflow server that wants a login, and tells of changes itself: what it takes, and what is said without."""

import queue
from collections.abc import Iterator
from contextlib import closing

import pytest

from monitor.http.hooks import hooks
from monitor.rollback.mlflow_hook import AliasChange
from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.registry import RegistryError
from tests.kit.asgi import serving
from tests.kit.mlflow_server import MlflowServer, need_mlflow, running_mlflow

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

LOGIN = ("tocsin", "p4ssw0rd-c4n4ry")
MODEL = "net-ids"
SECRET = "wh-s3cret-c4n4ry"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    need_mlflow()
    with running_mlflow(tmp_path_factory.mktemp("mlflow-login"), LOGIN) as server:
        server.add_model(MODEL)
        server.set_alias(MODEL, "champion", [server.add_version(MODEL) for _ in range(2)][-1])
        yield server


def registry(server: MlflowServer, **login: object) -> MlflowRegistry:
    return MlflowRegistry(MlflowConfig.model_validate({"kind": "mlflow", "url": server.url, "timeout": 30.0} | login))


def test_with_its_login_tocsin_reads_moves_and_marks(server: MlflowServer) -> None:
    with closing(registry(server, username=LOGIN[0], password={"value": LOGIN[1]})) as mlflow:
        assert mlflow.current(MODEL).version == "2"
        mlflow.mark(MODEL, "1", known_good_at=1_772_000_000.0)
        mlflow.move(MODEL, expected="2", to="1")
        assert mlflow.current(MODEL).known_good_at == 1_772_000_000.0
    assert server.alias(MODEL, "champion") == "1"


@pytest.mark.parametrize(
    "login", [{}, {"username": LOGIN[0], "password": {"value": "wrong-c4n4ry"}}, {"token": {"value": "t0ken-c4n4ry"}}]
)
def test_without_it_the_error_says_so_and_quotes_nothing(server: MlflowServer, login: dict[str, object]) -> None:
    with closing(registry(server, **login)) as mlflow, pytest.raises(RegistryError) as error:
        mlflow.current(MODEL)
    assert "the credentials were not accepted" in str(error.value)
    assert not error.value.passing
    assert "c4n4ry" not in str(error.value)


def test_mlflow_tells_of_an_alias_that_somebody_moves(server: MlflowServer) -> None:
    heard: queue.Queue[AliasChange] = queue.Queue()
    with serving(hooks(lambda: SECRET, heard.put, lambda _: None)) as url:
        server.add_webhook(f"{url}/hooks/mlflow", SECRET)
        server.set_alias(MODEL, "champion", "2")
        assert heard.get(timeout=60.0) == AliasChange(MODEL, "champion")


def test_what_is_signed_with_another_secret_is_not_heard(server: MlflowServer) -> None:
    heard: queue.Queue[AliasChange] = queue.Queue()
    answered: queue.Queue[int] = queue.Queue()
    with serving(hooks(lambda: SECRET, heard.put, lambda _: None), answered.put) as url:
        server.add_webhook(f"{url}/hooks/mlflow", "another")
        server.set_alias(MODEL, "champion", "1")
        assert answered.get(timeout=60.0) == 403
    assert heard.empty()
