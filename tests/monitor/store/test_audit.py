"""The audit log: every act is in it once, and whatever is done to it afterwards is named."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from alerting.decision import Decision, Verb
from alerting.incident import Change
from alerting.mutes import silence
from monitor.commands.cli import app
from monitor.rollback.action import ActionState
from monitor.store.audit import (
    Act,
    AuditError,
    Broken,
    Entry,
    Head,
    SignedHead,
    chained,
    first_broken,
    of_transition,
    parse_head,
    read_key,
    sign,
    unsigned,
)
from monitor.store.stop_table import Stop
from monitor.store.store import Commit, Store, StoreError
from tests.kit.incidents import opened
from tests.kit.stored import action

acts = st.builds(
    Act, at=st.floats(0, 4e9), actor=st.text(max_size=8), verb=st.text(max_size=8), subject=st.text(max_size=8)
)
chains = st.lists(acts, min_size=1, max_size=12).map(lambda found: list(chained(found, Head())))


def act(subject: str = "x", actor: str = "ada") -> Act:
    return Act(1.0, actor, "test.done", subject)


def pem(key: Ed25519PrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


# The chain.


@given(chains, st.integers(0, 20))
def test_a_chain_that_nobody_touched_is_intact(chain: list[Entry], cut: int) -> None:
    last = Head(chain[-1].number, chain[-1].digest)
    assert first_broken(chain, [last]) == last
    before, after = [entry.act for entry in chain[:cut]], [entry.act for entry in chain[cut:]]
    first = list(chained(before, Head()))
    head = Head(first[-1].number, first[-1].digest) if first else Head()
    assert [*first, *chained(after, head)] == chain  # written in two pieces it is the same


@given(chains, st.data())
def test_an_entry_that_is_changed_removed_added_or_moved_is_named(chain: list[Entry], data: st.DataObject) -> None:
    head = Head(chain[-1].number, chain[-1].digest)
    place = data.draw(st.integers(0, len(chain) - 1))
    what = data.draw(st.sampled_from(["change", "digest", "remove", "double", "swap", "rewrite"]))
    touched, entry = list(chain), chain[place]
    if what == "change":
        touched[place] = msgspec.structs.replace(entry, document=entry.document + " ")
    elif what == "digest":
        touched[place] = msgspec.structs.replace(entry, digest="0" * 64)
    elif what == "remove":
        del touched[place]
    elif what == "double":
        touched.insert(place, entry)
    elif what == "swap":
        touched[place], touched[-1] = touched[-1], touched[place]
    else:  # somebody who can compute hashes writes history anew from there on
        before = Head(entry.number - 1, entry.previous)
        touched[place:] = chained(
            [msgspec.structs.replace(entry.act, actor="mallory"), *_acts(chain[place + 1 :])], before
        )
    found = first_broken(touched, [head])
    if touched == chain:
        assert found == head
        return
    assert isinstance(found, Broken)
    first = next(n for n, pair in enumerate(zip([*touched, None], [*chain, None], strict=False)) if pair[0] != pair[1])
    # Rewritten history shows where a head was seen; anything else where it was done.
    assert found.number == (head.number if what == "rewrite" else first + 1)


def _acts(entries: list[Entry]) -> list[Act]:
    return [entry.act for entry in entries]


@given(chains, st.data())
def test_an_end_that_was_cut_off_shows_by_a_head_that_was_seen(chain: list[Entry], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(chain) - 1))
    seen = Head(chain[-1].number, chain[-1].digest)
    assert not isinstance(first_broken(chain[:kept], []), Broken)
    assert first_broken(chain[:kept], [seen]) == Broken(
        kept + 1, f"it is missing, and so is all up to entry {len(chain)}"
    )


def test_a_head_is_signed_by_one_key_for_one_place() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    head = Head(3, "ab" * 32)
    signed = sign(head, key)
    assert unsigned([signed], key.public_key()) is None
    assert unsigned([signed], other.public_key()) == signed
    moved = SignedHead(Head(4, head.digest), signed.signature)
    assert unsigned([signed, moved], key.public_key()) == moved
    assert parse_head(str(head)) == head


@pytest.mark.parametrize("wrong", ["", "3", "3:", ":" + "a" * 64, "x:" + "a" * 64, "3:" + "A" * 64, "²:" + "a" * 64])
def test_what_is_no_head_is_said(wrong: str) -> None:
    with pytest.raises(AuditError, match="NUMBER:DIGEST"):
        parse_head(wrong)


def test_what_is_no_key_is_said_without_showing_it() -> None:
    for wrong in ("", "secret-canary", pem(Ed25519PrivateKey.generate()).replace("A", "B", 3)[:60]):
        with pytest.raises(AuditError, match=r"^not a") as error:
            read_key(wrong)
        assert "canary" not in str(error.value)


# In the store.


@pytest.fixture
def store(location: str | Path) -> Iterator[Store]:
    with closing(Store(location)) as store:
        yield store


def test_every_act_is_in_it_once(store: Store) -> None:
    step = opened()
    asked = action("0f3c9a1b2d4e")
    commit = Commit(acts=[of_transition(step, 5.0)], actions=[asked, msgspec.structs.replace(asked, reason="again")])
    store.commit(commit)
    store.commit(Commit(actions=[asked]))  # asked again by the next step: the incident has its action
    store.actions.save(msgspec.structs.replace(asked, state=ActionState.MOVED, reason="Moved."))
    quiet = silence(["model=mail"], author="ada", comment="load test", now=6.0, seconds=60.0)
    store.desk.save(quiet)
    store.desk.save(msgspec.structs.replace(quiet, ends_at=7.0, expired_by="bob"))
    store.desk.decide(Decision("d1", step.incident.id, Verb.ACKNOWLEDGE, "ada", 8.0))
    store.stops.put(Stop("mail", "ada", 8.5, "moving"))
    assert store.stops.lift("mail", "bob", 8.6)
    assert not store.stops.lift("mail", "bob", 8.7)
    store.claim("all", "host-1", 9.0)
    done = [(entry.act.verb, entry.act.actor) for entry in store.audit.entries(limit=100)][::-1]
    assert done == [
        (f"incident.{Change.OPENED}", "tocsin"),
        ("rollback.requested", "tocsin"),
        ("rollback.moved", "tocsin"),
        ("silence.set", "ada"),
        ("silence.ended", "bob"),
        ("incident.acknowledge", "ada"),
        ("rollbacks.stopped", "ada"),
        ("rollbacks.resumed", "bob"),
        ("shard.claimed", "tocsin"),
    ]
    assert store.audit.verify(None) == store.audit.head() == Head(9, store.audit.entries(limit=1)[0].digest)


def test_an_act_that_was_not_done_is_not_in_it(store: Store) -> None:
    store.claim("all", "host-1", 1.0)
    with pytest.raises(StoreError, match="was taken over"):
        store.commit(Commit(epoch=7, acts=[act()]))
    assert [entry.act.verb for entry in store.audit.entries(limit=10)] == ["shard.claimed"]


def test_pages_go_back_in_time(store: Store) -> None:
    for number in range(7):
        store.audit.append(act(str(number)))
    newest = store.audit.entries(limit=3)
    older = store.audit.entries(before=newest[-1].number, limit=10)
    assert [entry.act.subject for entry in [*newest, *older]] == list("6543210")


def test_many_writers_make_one_chain(store: Store) -> None:
    def write(name: str) -> None:
        for _ in range(8):
            store.audit.append(act(name), act(name))

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.audit.verify(None)
    assert isinstance(found, Head)
    assert found.number == 64


def test_a_head_is_signed_once_for_each_end(store: Store) -> None:
    key = Ed25519PrivateKey.generate()
    assert store.audit.sign(key, 1.0) is None
    store.audit.append(act())
    assert store.audit.sign(key, 2.0) == store.audit.head()
    assert store.audit.sign(key, 3.0) is None
    assert store.audit.verify(key.public_key()) == store.audit.head()
    other = Ed25519PrivateKey.generate().public_key()
    assert store.audit.verify(other) == Broken(1, "its head is not signed with this key")


TAMPERING: dict[str, tuple[str, int]] = {
    "an edit": ("UPDATE audit SET document = REPLACE(document, 'ada', 'eve') WHERE number = 3", 3),
    "an edit with its hash": ("UPDATE audit SET document = 'x', digest = '{zero}' WHERE number = 2", 2),
    "an edit into bytes": ("UPDATE audit SET document = CAST(document AS BLOB) WHERE number = 2", 2),
    "an edit into nonsense": ("UPDATE audit SET previous = 7.5, digest = x'00ff' WHERE number = 5", 5),
    "a deletion": ("DELETE FROM audit WHERE number = 4", 4),
    "another order": ("UPDATE audit SET number = CASE number WHEN 2 THEN -3 WHEN 3 THEN -2 ELSE number END", 2),
    "a cut end": ("DELETE FROM audit WHERE number > 3", 4),
    "everything gone": ("DELETE FROM audit", 1),
    "a forged end": (
        "INSERT INTO audit SELECT 6, digest, document, digest FROM audit WHERE number = 5",
        6,
    ),
}


@pytest.fixture
def tampered(tmp_path: Path) -> Callable[[str], Path]:
    """Five entries in a store on disk, its head signed; and a way into it past Tocsin."""
    path = tmp_path / "tocsin.db"
    key = Ed25519PrivateKey.generate()
    with closing(Store(path)) as store:
        store.audit.append(*[act(str(number)) for number in range(5)])
        store.audit.sign(key, 1.0)
    (tmp_path / "key.pem").write_text(pem(key))
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public.pem").write_bytes(key.public_key().public_bytes(*form))
    (tmp_path / "tocsin.yaml").write_text(
        f"""
kafka: {{bootstrap_servers: ["127.0.0.1:9092"], topics: [t]}}
models: {{mail: {{reference: {{events: 100}}}}}}
store: {{path: {path}}}
audit: {{signing_key: {{file: {tmp_path / "key.pem"}}}}}
"""
    )

    def tamper(statement: str) -> Path:
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            for each in filter(None, statement.split(";")):
                connection.execute(text(each))
        engine.dispose()
        return tmp_path / "tocsin.yaml"

    return tamper


def verify(config: Path, *options: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["audit", "verify", "--config", str(config), "--output", "json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, msgspec.json.decode(done.stdout) if done.stdout else done.stderr


@pytest.mark.parametrize("what", TAMPERING)
def test_verify_names_the_first_entry_that_is_not_what_it_was(tampered: Callable[[str], Path], what: str) -> None:
    statement, number = TAMPERING[what]
    config = tampered(statement.format(zero="0" * 64))
    if what == "another order":
        config = tampered("UPDATE audit SET number = -number WHERE number < 0")
    code, said = verify(config)
    assert (code, said["intact"], said["number"]) == (1, False, number)
    assert said["why"]
    assert CliRunner().invoke(app, ["audit", "list", "--config", str(config)]).exit_code == 0


def test_verify_is_content_with_what_nobody_touched(tampered: Callable[[str], Path], tmp_path: Path) -> None:
    config = tampered("")
    code, said = verify(config)
    assert (code, said["entries"], said["signed"]) == (0, 5, 5)
    assert verify(config, "--head", said["head"], "--public-key", str(tmp_path / "public.pem"))[0] == 0


def test_whoever_rewrites_everything_is_given_away_by_a_head_that_was_seen(tampered: Callable[[str], Path]) -> None:
    _, before = verify(tampered(""))
    config = tampered("DELETE FROM audit; DELETE FROM audit_end; DELETE FROM audit_heads")
    with closing(Store(config.with_name("tocsin.db"))) as store:
        store.audit.append(act("nothing happened"))
    assert verify(config)[0] == 0  # it is a chain; only not the one that was
    code, said = verify(config, "--head", before["head"])
    assert (code, said["number"]) == (1, 2)
    for head in ("nonsense", "5:xyz"):
        assert verify(config, "--head", head)[0] == 2


def test_list_shows_the_newest_first(tampered: Callable[[str], Path]) -> None:
    done = CliRunner().invoke(app, ["audit", "list", "--limit", "2", "--config", str(tampered(""))])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["5", "4"]
    assert "ada" in done.stdout
