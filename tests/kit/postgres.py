"""A real PostgreSQL for tests, in a folder of its own; every test gets a schema of its own."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

_START_SECONDS = 60.0
# `fsync` guards against the fall of the machine, and no test lets that fall.
_SETTINGS = ("fsync=off", "max_connections=60", "shared_buffers=32MB", "unix_socket_directories=", "jit=off")


class MissingError(Exception):
    """PostgreSQL is not on this machine."""


class Postgres:
    """A running server; it can be stopped and started again, and has everything again afterwards."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        # The server refuses to run as root: give it the user that its Debian package made.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        init = ["initdb", "-D", str(self._data), "-A", "trust", "-U", "tocsin", "-E", "UTF8", "--no-sync"]
        self._run([*init, "--locale=C"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = [f"-c{setting}" for setting in (*_SETTINGS, "listen_addresses=127.0.0.1", f"port={self.port}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        self._process = subprocess.Popen(
            command, user=self._user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT hangs up on everybody and ends in order; SIGQUIT is what a crash looks like."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)

    def execute(self, statement: str) -> None:
        engine = create_engine(
            self.url().replace("://", "+psycopg://", 1),
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 5},
        )
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def url(self, schema: str = "public") -> str:
        return f"postgresql://tocsin:hunter2@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"

    def create(self) -> str:
        """The URL of a new, empty schema: to a store it is a database of its own."""
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(name)

    def _run(self, command: list[str]) -> None:
        program = [str(self._programs / command[0]), *command[1:]]
        subprocess.run(program, user=self._user, cwd="/", check=True, capture_output=True)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server. Raises MissingError if there is none to start."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))]
    if not found:
        raise MissingError("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="tocsin-postgres-"))
    server = None
    try:
        server = Postgres(found[-1].parent, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run. Without one a test is skipped; in CI, where nothing may lack, it fails."""
    try:
        with running_postgres() as server:
            yield server
    except MissingError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


MakeLocation = Callable[[], str | Path]


@pytest.fixture(params=["sqlite", "postgres"])
def make_location(request: pytest.FixtureRequest, tmp_path: Path) -> MakeLocation:
    """Where a new store can be, as often as it is asked: in a file, and in PostgreSQL."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return server.create
    numbers = itertools.count()
    return lambda: tmp_path / f"{next(numbers)}.db"


@pytest.fixture
def location(make_location: MakeLocation) -> str | Path:
    """One such place."""
    return make_location()
