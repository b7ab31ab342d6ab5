"""What is stored is encrypted, in either database: nothing of it can be read there, and nothing is moved unseen."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError
from sqlalchemy import LargeBinary, select, update
from typer.testing import CliRunner

from alerting.decision import Decision, Verb
from alerting.incident import Attribution, Change, Transition
from alerting.mutes import silence
from alerting.outbox import Message
from monitor.commands.cli import app
from monitor.pictures.exhibit import Exhibit
from monitor.rollback.action import ActionState
from monitor.rollback.mark import Mark
from monitor.service.config import StoreConfig
from monitor.store.reply_table import Reply
from monitor.store.stop_table import Stop
from monitor.store.store import Commit, Store, StoreError
from monitor.store.tables import METADATA, SEALED, STATES
from monitor.store.vault import MAGIC, Vault, VaultError
from tests.kit.stored import action, incident

OLD, NEW = (bytes([number]) * 32 for number in (1, 2))
CANARY = "c4n4ry"
HIDDEN = replace(incident("i1"), attribution=Attribution(source=f"{CANARY}-source", labeler=f"{CANARY}-labeler"))
ACTION = action("i1", reason=f"{CANARY} says so")


def fill(store: Store) -> None:
    """A canary in everything that is encrypted."""
    store.commit(
        Commit(
            states={"join/1": f"{CANARY} waits".encode()},
            incidents=[HIDDEN],
            messages=[Message("slack", Transition(Change.OPENED, 0, HIDDEN), 100.0)],
            actions=[ACTION],
            exhibits={"i1": Exhibit(100.0, 10.0, ((CANARY, ()),))},
        )
    )
    store.stops.put(Stop("m", CANARY, 1.0))
    store.marks.put(Mark("m", "1", 1.0))
    store.replies.begin("ada", "k", "r", 0.0)
    store.replies.end("ada", "k", Reply("r", 200, CANARY.encode()))
    store.desk.save(silence(["model=m"], author="ada", comment="load test", now=0.0, seconds=60.0))
    store.desk.decide(Decision("d1", "i1", Verb.ACKNOWLEDGE, "ada", 1.0))


def check(store: Store) -> None:
    """All of it comes back."""
    assert store.states() == {"join/1": f"{CANARY} waits".encode()}
    assert store.incidents() == [HIDDEN] == [store.incident("i1")]
    assert [found.transition.incident for found in store.outbox.due(200.0, 10)] == [HIDDEN]
    assert (len(store.desk.silences()), len(store.desk.decisions())) == (1, 1)
    assert store.actions.all() == [ACTION]
    found = store.exhibit("i1")
    assert found is not None
    assert found.curves == ((CANARY, ()),)
    assert (store.stops.all()[0].by, store.marks.of("m")["1"].at) == (CANARY, 1.0)
    assert store.replies.begin("ada", "k", "r", 1.0) == Reply("r", 200, CANARY.encode())


@pytest.fixture
def store(location: str | Path) -> Iterator[Store]:
    with closing(Store(location, Vault({"new": NEW}))) as made:
        fill(made)
        yield made


def kept(store: Store) -> list[bytes]:
    """Every value of the columns that are encrypted."""
    rows = [store._database.read(select(table.c[column])) for table, column in SEALED.items()]
    return [bytes(row[0]) for found in rows for row in found]


def test_every_column_of_bytes_is_encrypted_or_is_none_of_ours() -> None:
    binary = {(t.name, c.name) for t in METADATA.sorted_tables for c in t.columns if isinstance(c.type, LargeBinary)}
    ours = {(table.name, column) for table, column in SEALED.items()}
    assert binary - ours == {("states", "sha256"), ("audit_heads", "signature")}
    assert ours <= binary


def test_what_is_kept_cannot_be_read_and_comes_back(store: Store, location: str | Path) -> None:
    check(store)
    assert len(kept(store)) == len(SEALED)  # one of each
    assert all(value.startswith(MAGIC + b"\x03new") and CANARY.encode() not in value for value in kept(store))
    with closing(Store(location, Vault({"newer": OLD, "new": NEW}))) as later:
        check(later)


def test_no_file_of_the_store_has_it(tmp_path: Path) -> None:
    found = {}
    for name, vault in (("plain", Vault()), ("sealed", Vault({"new": NEW}))):
        with closing(Store(tmp_path / name, vault)) as store:
            fill(store)
            files = tmp_path.glob(f"{name}*")
            found[name] = sum(file.read_bytes().count(f"{CANARY}-source".encode()) for file in files)
    assert found["plain"] > 0
    assert found["sealed"] == 0


@pytest.mark.parametrize(
    ("vault", "why"),
    [
        (Vault(), "encrypted with the key 'new', which is not in store.keys"),
        (Vault({"old": OLD}), "encrypted with the key 'new', which is not in store.keys"),
        (Vault({"new": OLD}), "'new' is not the key"),
    ],
)
def test_without_the_key_it_is_one_clear_error(store: Store, location: str | Path, vault: Vault, why: str) -> None:
    del store
    with closing(Store(location, vault)) as other:
        for ask in (other.states, other.incidents, other.desk.silences, other.stops.all, other.actions.all):
            with pytest.raises(StoreError, match=why) as error:
                ask()
            assert CANARY not in str(error.value)
        with pytest.raises(StoreError, match=why):
            other.claim("all", "me", 1.0)
        with pytest.raises(StoreError, match=why):
            other.rekey()
    with closing(Store(location, Vault({"new": NEW}))) as again:
        check(again)


def test_a_value_that_was_moved_or_changed_is_not_opened(store: Store) -> None:
    database = store._database
    store.commit(Commit(states={"other": b"x"}))
    (blob,) = [row.blob for row in database.read(select(STATES)) if row.name == "join/1"]
    for wrong in (blob, blob[:-1] + bytes([blob[-1] ^ 1]), blob[:30], MAGIC, MAGIC + b"\xff"):
        with database.writing() as connection:
            connection.execute(update(STATES).where(STATES.c.name == "other").values(blob=wrong))
        with pytest.raises(StoreError, match="states 'all/other' cannot be read"):
            store.state("other")


def test_a_step_of_a_rollback_compares_what_was_and_not_what_is_kept(location: str | Path) -> None:
    with closing(Store(location, Vault({"new": NEW}))) as store:
        store.commit(Commit(actions=[ACTION]))
        after = replace(ACTION, state=ActionState.INTENDED)
        assert not store.actions.advance(replace(ACTION, reason="else"), after)
        assert store.actions.advance(ACTION, after)
        assert not store.actions.advance(ACTION, after)
        assert store.actions.all() == [after]
        store.actions.save(ACTION)
        assert store.actions.all() == [ACTION]
        assert all(CANARY.encode() not in value for value in kept(store))


def test_a_store_that_was_plain_or_has_an_old_key_is_encrypted_anew(location: str | Path) -> None:
    with closing(Store(location)) as store:
        fill(store)
    with closing(Store(location, Vault({"old": OLD}))) as store:
        check(store)  # what was there before can be read
        assert store.rekey() == len(kept(store))
        assert all(value.startswith(MAGIC + b"\x03old") for value in kept(store))
    with closing(Store(location, Vault({"new": NEW, "old": OLD}))) as store:
        check(store)
        store.rekey()
    with closing(Store(location, Vault({"new": NEW}))) as store:
        check(store)
        assert all(CANARY.encode() not in value for value in kept(store))


def test_what_was_put_there_in_plain_can_be_refused(location: str | Path) -> None:
    with closing(Store(location)) as store:
        fill(store)
    strict = Vault({"new": NEW}, only_sealed=True)
    with closing(Store(location, strict)) as store:
        for ask in (store.states, store.incidents, store.actions.all):
            with pytest.raises(StoreError, match=r"it is not encrypted, and store\.only_encrypted refuses that"):
                ask()
        store.rekey()
        check(store)
    with pytest.raises(VaultError):
        strict.open(b"", Vault().seal(b"", MAGIC))


@settings(deadline=None)
@given(place=st.binary(max_size=20), plain=st.binary(max_size=60) | st.binary(max_size=20).map(MAGIC.__add__))
def test_a_vault_gives_back_what_it_was_given(place: bytes, plain: bytes) -> None:
    for vault in (Vault(), Vault({"a": OLD})):
        assert vault.open(place, vault.seal(place, plain)) == plain
    assert Vault({"b": NEW, "a": OLD}).open(place, Vault({"a": OLD}).seal(place, plain)) == plain
    with pytest.raises(VaultError):
        Vault({"a": OLD}).open(place + b"x", Vault({"a": OLD}).seal(place, plain))


def test_keys_are_32_bytes_and_have_different_ids() -> None:
    good = base64.b64encode(OLD).decode()
    StoreConfig.model_validate({"keys": [{"id": "a", "key": {"value": good}}]})
    for key in (good[:-4], "c4n4ry", "", good + good, "ä"):
        with pytest.raises(ValidationError, match="32 bytes in base64") as error:
            StoreConfig.model_validate({"keys": [{"id": "a", "key": {"value": key}}]})
        assert not key or key not in str(error.value)
    with pytest.raises(ValidationError, match="only_encrypted needs"):
        StoreConfig.model_validate({"only_encrypted": True})
    with pytest.raises(ValidationError, match="same id"):
        StoreConfig.model_validate({"keys": [{"id": "a", "key": {"value": good}}] * 2})


def test_the_command_leaves_nothing_in_the_file(tmp_path: Path) -> None:
    config, path = tmp_path / "tocsin.yaml", tmp_path / "tocsin.db"
    plain = "kafka: {bootstrap_servers: [here:1], topics: [t]}\nmodels: {m: {reference: {events: 1000}}}\n"
    plain += f"store: {{path: {path}"
    config.write_text(plain + "}\n")

    def tocsin(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(app, [*words, "--config", str(config), "--output", "json"])
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout.splitlines()[-1]))

    with closing(Store(path)) as store:
        fill(store)
        values = len(kept(store))
    assert tocsin("store", "rekey") == {"values": values, "key": None}
    assert f"{CANARY}-source".encode() in path.read_bytes()
    config.write_text(f"{plain}, keys: [{{id: k1, key: {{value: {base64.b64encode(os.urandom(32)).decode()}}}}}]}}\n")
    assert tocsin("store", "rekey") == {"values": values, "key": "k1"}
    assert not any(f"{CANARY}-source".encode() in file.read_bytes() for file in tmp_path.glob("tocsin.db*"))
    assert tocsin("incidents", "list", "--all")["id"] == "i1"
    config.write_text(plain + "}\n")
    refused = CliRunner().invoke(app, ["incidents", "list", "--all", "--config", str(config)])
    assert refused.exit_code == 2
    assert "encrypted with the key 'k1', which is not in store.keys" in refused.output
