"""A real MLflow server that wants a login: what is read, moved and marked with one, and what is said without."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from monitor.rollback.mlflow_registry import MlflowConfig, MlflowRegistry
from monitor.rollback.registry import RegistryError
from tests.kit.mlflow_server import MlflowServer, need_mlflow, running_mlflow

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

LOGIN = ("tocsin", "p4ssw0rd-c4n4ry")
MODEL = "net-ids"


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
