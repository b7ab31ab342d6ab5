"""A store in an SQLite file: everything or nothing, whenever it is killed; private, and really a file."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

import monitor
from monitor.intake.source import Partition
from monitor.store.store import Commit, Store, StoreError
from tests.kit.stored import numbers_found, whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tocsin.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


# All or nothing.


def test_a_commit_that_fails_halfway_leaves_nothing(store: Store) -> None:
    store.commit(whole(1))
    store.commit(Commit(states={"big": b"x" * 200_000}))

    def no_room(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size as the limit: a full disk

    event.listen(store._database._writer, "checkout", no_room)
    with pytest.raises(StoreError, match=r"tocsin\.db: database or disk is full"):
        store.commit(Commit(offsets={Partition("events", 0): 2}, states={"bank": b"y" * 1_000_000}))
    assert numbers_found(store) == {1}
    event.remove(store._database._writer, "checkout", no_room)
    store.close()  # the limit belonged to its connections
    store.commit(whole(2))
    assert numbers_found(store) == {2}


KILLED_AT_EACH_STATEMENT = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from sqlalchemy import event
from tests.kit.stored import whole
from monitor.store.store import Store

for statements in range(1, 100):
    child = os.fork()
    if child == 0:
        store = Store(Path(sys.argv[1]) / str(statements))
        store.commit(whole(1))
        seen = 0
        def count(*_):
            global seen
            seen += 1
            if seen == statements:
                os.kill(os.getpid(), signal.SIGKILL)
        event.listen(store._database._writer, "after_cursor_execute", count)
        store.commit(whole(2))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(statements)
        break
"""

COMMITS_UNTIL_KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
from tests.kit.stored import whole
from monitor.store.store import Store

store = Store(sys.argv[1])
for number in range(1, 1_000_000):
    store.commit(whole(number))
    print(number, flush=True)
"""


def python(program: str, *arguments: Path) -> list[str]:
    root = Path(monitor.__file__).parents[1]
    return [sys.executable, "-c", program, *map(str, arguments), str(root)]


def test_killed_after_any_statement_of_a_commit_nothing_of_it_is_there(tmp_path: Path) -> None:
    ran = subprocess.run(python(KILLED_AT_EACH_STATEMENT, tmp_path), capture_output=True, text=True, check=True)
    survived = int(ran.stdout)
    assert survived > 6  # BEGIN and one statement for each of five tables were cut off one after the other
    for statements in range(1, survived + 1):
        with closing(Store(tmp_path / str(statements))) as store:
            assert numbers_found(store) == ({2} if statements == survived else {1})


@pytest.mark.parametrize("commits", [1, 7, 20])
def test_killed_at_any_moment_every_commit_is_whole(path: Path, commits: int) -> None:
    with subprocess.Popen(python(COMMITS_UNTIL_KILLED, path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = 0
        while reported < commits:
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            reported = int(line)
    with closing(Store(path)) as store:
        (found,) = numbers_found(store)
    assert found in (reported, reported + 1)  # what was reported is durable; one more may not have been reported


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.db", tmp_path / "notes.txt"
    with closing(sqlite3.connect(foreign)) as shell, shell:
        shell.execute("CREATE TABLE customers (id INTEGER)")
    text.write_text("not a database, and long enough not to be taken for an empty one" * 20)
    with pytest.raises(StoreError, match=r"foreign\.db: this is a database, but not one of Tocsin's"):
        Store(foreign)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database"):
        Store(text)
    with pytest.raises(StoreError, match=r"nowhere/tocsin\.db: No such file or directory"):
        Store(tmp_path / "nowhere" / "tocsin.db")
    with pytest.raises(StoreError, match="Is a directory"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (":memory:", "it has to be a file"),
        ("sqlite://", "it has to be a file"),
        ("mysql://tocsin:hunter2@db/tocsin", "no support for mysql"),
        ("://hunter2", "neither a path nor a database URL"),
    ],
)
def test_other_databases_are_refused_without_their_password(location: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        Store(location)
    assert "hunter2" not in str(refused.value)


def test_the_files_are_private_to_the_user(path: Path) -> None:
    path.touch(mode=0o666)
    path.chmod(0o666)
    with closing(Store(path)) as store:
        store.commit(whole(1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"tocsin.db": 0o600, "tocsin.db-wal": 0o600, "tocsin.db-shm": 0o600}


def test_commits_are_synchronous_and_logged_ahead(store: Store) -> None:
    with store._database._writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_who_opens_a_new_file_that_another_process_is_preparing_waits_for_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # SQLite's time-out does not hold for a change to WAL beside this lock
        done = threading.Timer(0.3, other.execute, ("COMMIT",))
        done.start()
        with closing(Store(path)) as store:
            assert store.offsets() == {}
        done.join()
