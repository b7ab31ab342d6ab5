"""The life of a known-good mark, on a real registry file and a real store."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alerting.incident import Incident, Severity, Status
from monitor.detection.answers import Answers
from monitor.rollback import signing
from monitor.rollback.action import Action, ActionState
from monitor.rollback.artefacts import of_chunks
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.known_good import Golden, KnownGoodConfig, Marker, Soak, VouchError, tainted, unsoaked
from monitor.rollback.registry import ModelVersion, Pin, RegistryError
from monitor.rollback.trust import TrustedRegistry
from monitor.store.store import Store
from tests.kit.incidents import OPENED_AT, incident
from tests.kit.witnesses import serve

DAY = 86_400.0
SOAK = Soak(seconds=DAY, predictions=300, labels=200)
KEY = Ed25519PrivateKey.generate()


class House:
    """A registry file with versions 1 (serves), 2 and 3, and a store that remembers marks."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.path = folder / "registry.json"
        self.now = OPENED_AT
        self.incidents: list[Incident] = []
        self.answers = Answers()
        self.acted: list[Action] = []
        serve(self.answers, "1", OPENED_AT - 2 * DAY, count=200)
        serve(self.answers, "1", OPENED_AT, count=200)
        self.versions: dict[str, Any] = {str(n): {"created": OPENED_AT - (9 - n) * DAY} for n in (1, 2, 3)}
        self.write("1")
        self.registry = FileRegistry(FileRegistryConfig(kind="file", path=self.path))

    def write(self, alias: str) -> None:
        entry = {"aliases": {"champion": alias}, "versions": self.versions}
        self.path.write_text(json.dumps({"models": {"net-ids": entry}}))

    def marker(self, *, soak: Soak | None = SOAK, sign: bool = False, vouchers: int = 1) -> Marker:
        return Marker(
            self.registry,
            self.store.marks,
            lambda _: (self.answers, self.incidents),
            lambda: self.acted,
            soak=soak,
            sign=(lambda *told: signing.sign(KEY, *told)) if sign else None,
            vouchers=vouchers,
            clock=lambda: self.now,
        )

    def run(self, **options: Any) -> None:
        self.marker(**options).run_once(["net-ids"])

    def marked(self) -> dict[str, float]:
        found = self.registry.versions("net-ids")
        return {version.version: version.known_good_at for version in found if version.known_good_at is not None}

    def pinned(self) -> dict[str, str] | None:
        pin: dict[str, str] | None = json.loads(self.path.read_text())["models"]["net-ids"].get("pinned")
        return pin

    def trusted(self, *, key: Ed25519PrivateKey | None = None, vouchers: int = 1) -> dict[str, str | None]:
        """Why each version's mark does not count."""
        check = None if key is None else lambda version: signing.is_signed(key.public_key(), version)
        registry = TrustedRegistry(self.registry, self.store.marks.of, check, vouchers)
        return {version.version: version.distrusted for version in registry.versions("net-ids")}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(Store(tmp_path / "tocsin.db")) as store:
        yield House(tmp_path, store)


def action(**changes: Any) -> Action:
    fields: dict[str, Any] = {
        "incident": "i1",
        "model": "net-ids",
        "from_version": "3",
        "to_version": "1",
        "onset_low": OPENED_AT - DAY,
        "state": ActionState.MOVED,
        "requested_at": OPENED_AT,
        "updated_at": OPENED_AT,
        "moved_at": OPENED_AT,
    }
    return Action(**(fields | changes))


# Given


def test_a_version_that_served_well_is_marked_and_remembered(house: House) -> None:
    house.run()
    assert house.marked() == {"1": OPENED_AT}
    (mark,) = house.store.marks.of("net-ids").values()
    assert (mark.version, mark.at, mark.withdrawn) == ("1", OPENED_AT, False)
    house.now += DAY
    house.run()
    assert house.marked() == {"1": OPENED_AT}


def test_without_a_soak_nothing_is_marked(house: House) -> None:
    house.run(soak=None)
    assert house.marked() == {}


@pytest.mark.parametrize(
    ("soak", "lack"),
    [
        ({"seconds": 3 * DAY}, "it has served for less than 259200 seconds"),
        ({"predictions": 401}, "it has given fewer than 401 answers"),
        ({"labels": 401}, "fewer than 401 of its answers have labels"),
    ],
)
def test_what_a_version_lacks_is_told(house: House, soak: dict[str, Any], lack: str) -> None:
    asked = Soak(**({"seconds": DAY, "predictions": 300, "labels": 200} | soak))
    version = house.registry.current("net-ids")
    assert list(unsoaked(version, house.answers, [], asked)) == [lack]
    house.run(soak=asked)
    assert house.marked() == {}


@pytest.mark.parametrize(
    ("flipped", "labelled", "lack"),
    [
        (0.0, True, None),
        (0.1, True, None),
        (0.5, True, "25 of 100 answers to the golden set were wrong"),
        (0.0, False, "it has answered fewer than 100 of the golden set"),
    ],
)
def test_a_version_has_to_be_right_about_the_golden_set(
    house: House, flipped: float, labelled: bool, lack: str | None
) -> None:
    serve(house.answers, "1", OPENED_AT, count=100, flipped=flipped, labelled=labelled, sources=["golden"])
    asked = SOAK.model_copy(update={"golden": Golden(source="golden")})
    version = house.registry.current("net-ids")
    assert list(unsoaked(version, house.answers, [], asked)) == ([] if lack is None else [lack])
    house.run(soak=asked)
    assert bool(house.marked()) is (lack is None)


@pytest.mark.parametrize(
    ("trouble", "marks"),
    [
        ({"status": Status.FIRING}, False),
        ({"status": Status.RESOLVED, "resolved_at": OPENED_AT - DAY}, False),
        ({"status": Status.RESOLVED, "resolved_at": OPENED_AT - 3 * DAY}, True),  # before it served
        ({"status": Status.FIRING, "severity": Severity.INFO}, True),
    ],
)
def test_an_incident_while_it_served_is_no_good_sign(house: House, trouble: dict[str, Any], marks: bool) -> None:
    house.incidents = [incident(**trouble)]
    house.run()
    assert (house.marked() != {}) is marks


@pytest.mark.parametrize("flaw", [{"revoked": True}, {"ready": False}])
def test_a_flawed_version_is_not_marked(house: House, flaw: dict[str, Any]) -> None:
    house.versions["1"] |= flaw
    house.write("1")
    house.run()
    assert house.marked() == {}


def test_an_artefact_that_was_changed_is_not_vouched_for(house: House) -> None:
    (house.path.parent / "model.bin").write_bytes(b"changed")
    house.versions["1"] |= {"uri": "model.bin", "digest": of_chunks([b"weights"])}
    house.write("1")
    house.run()
    assert house.marked() == {}


# Taken back


@pytest.mark.parametrize(
    ("version", "known_good_at", "is_tainted"),
    [
        ("3", None, True),  # the bad one
        ("2", OPENED_AT - 2 * DAY, False),  # marked before the trouble began
        ("2", OPENED_AT - DAY / 2, True),
        ("2", None, False),
        ("1", OPENED_AT - DAY / 2, False),  # the one that a person chose to serve
    ],
)
def test_a_rollback_speaks_against_the_bad_version_and_what_was_marked_since(
    version: str, known_good_at: float | None, is_tainted: bool
) -> None:
    assert tainted(ModelVersion("net-ids", version, 0.0, known_good_at=known_good_at), action()) is is_tainted


def test_what_was_convicted_never_comes_back_by_itself(house: House) -> None:
    house.versions["2"]["known_good_at"] = OPENED_AT - DAY / 2
    house.write("1")
    house.acted = [action()]
    house.now += 60.0
    house.run()
    assert house.marked() == {"1": OPENED_AT + 60.0}  # which serves again, and has served well
    why = "its mark was withdrawn (incident i1)"
    assert house.trusted() == {"3": why, "2": why, "1": None}
    house.registry.mark("net-ids", "3", known_good_at=OPENED_AT + 90.0)  # somebody with the registry's token
    house.run()
    assert house.trusted()["3"] == why


def test_whoever_trains_is_told_once_what_not_to_learn_from(house: House) -> None:
    house.acted = [action()]
    house.run()
    pin = {"incident": "i1", "serving": "1", "suspect_since": "2026-03-01T03:05:00Z"}
    assert house.pinned() == pin
    house.registry.pin("net-ids", None)  # somebody has looked at the data
    house.run()
    assert house.pinned() is None


@pytest.mark.parametrize("passing", [True, False])
def test_a_registry_that_takes_no_pin_is_asked_again_or_left_alone(house: House, passing: bool) -> None:
    class Refusing(FileRegistry):
        def pin(self, model: str, pin: Pin | None) -> None:
            raise RegistryError(f"answered 4xx to {pin} of {model}", passing=passing)

    house.acted = [action()]
    kept, house.registry = house.registry, Refusing(FileRegistryConfig(kind="file", path=house.path))
    house.run()
    assert (house.trusted()["3"] is None) is passing
    house.registry = kept
    house.run()
    assert house.trusted()["3"] is not None
    assert (house.pinned() is not None) is passing


def test_a_mark_that_people_give_after_the_rollback_counts(house: House) -> None:
    house.acted = [action()]
    house.run()
    house.now += 3600.0
    mark = house.marker().vouch("net-ids", "3", by="ann", why="it was a false alarm")
    assert (mark.vouchers, mark.proposed) == (("ann",), False)
    house.run()
    assert house.trusted()["3"] is None
    assert house.marked()["3"] == OPENED_AT + 3600.0


# Vouched for


def test_what_has_soaked_is_only_proposed_until_a_person_vouches_for_it(house: House) -> None:
    house.run(vouchers=2)
    assert house.marked() == {}
    assert house.trusted(vouchers=2)["1"] == "1 of 2 have vouched for it (tocsin)"
    house.now += 60.0
    house.run(vouchers=2)  # the soak has one voice, however long it lasts
    house.marker(vouchers=2).vouch("net-ids", "1", by="ann", why="reviewed")
    assert house.marked() == {"1": OPENED_AT + 60.0}
    assert house.trusted(vouchers=2)["1"] is None
    acts = [(act.actor, act.verb) for act in (entry.act for entry in house.store.audit.entries(limit=2))]
    assert acts == [("ann", "mark.given"), ("tocsin", "mark.proposed")]


def test_nobody_vouches_twice(house: House) -> None:
    marker = house.marker(vouchers=3)
    marker.vouch("net-ids", "2", by="ann", why="reviewed")
    with pytest.raises(VouchError, match="ann has vouched for it already"):
        marker.vouch("net-ids", "2", by="ann", why="reviewed")
    marker.vouch("net-ids", "2", by="bob", why="reviewed")
    assert house.trusted(vouchers=3)["2"] == "2 of 3 have vouched for it (ann, bob)"
    assert house.marked() == {}


def test_whoever_writes_to_the_registry_is_one_voice(house: House) -> None:
    house.registry.mark("net-ids", "2", known_good_at=OPENED_AT)
    assert house.trusted()["2"] is None
    assert house.trusted(vouchers=2)["2"] == "1 of 2 have vouched for it (the registry)"
    house.marker(vouchers=2).vouch("net-ids", "2", by="ann", why="reviewed")
    assert house.trusted(vouchers=2)["2"] is None
    house.registry.mark("net-ids", "1", known_good_at=OPENED_AT)  # with more to be asked for since it was given
    assert house.trusted(vouchers=3)["2"] == "2 of 3 have vouched for it (the registry, ann)"


def test_after_a_conviction_it_takes_as_many_again(house: House) -> None:
    house.marker(vouchers=2).vouch("net-ids", "3", by="ann", why="reviewed")
    house.acted = [action(updated_at=OPENED_AT + 1.0, moved_at=OPENED_AT + 1.0)]
    house.now += 60.0
    house.run(vouchers=2)
    mark = house.marker(vouchers=2).vouch("net-ids", "3", by="ann", why="it was a false alarm")
    assert (mark.vouchers, mark.proposed) == (("ann",), True)


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ({"revoked": True}, "it is revoked, or not ready"),
        ({"ready": False}, "it is revoked, or not ready"),
        ({"uri": "model.bin", "digest": of_chunks([b"weights"])}, "its artefact was changed"),
    ],
)
def test_what_cannot_serve_is_not_vouched_for(house: House, flaw: dict[str, Any], why: str) -> None:
    (house.path.parent / "model.bin").write_bytes(b"changed")
    house.versions["2"] |= flaw
    house.write("1")
    with pytest.raises(VouchError, match=why):
        house.marker().vouch("net-ids", "2", by="ann", why="reviewed")
    with pytest.raises(VouchError, match="net-ids has no version 9"):
        house.marker().vouch("net-ids", "9", by="ann", why="reviewed")
    assert (house.marked(), house.store.marks.of("net-ids")) == ({}, {})


# Trusted


def test_another_digest_than_when_it_was_marked_is_another_model(house: House) -> None:
    house.versions["1"]["digest"] = "sha256:1"
    house.write("1")
    house.run()
    assert house.trusted()["1"] is None
    house.registry.mark("net-ids", "1", known_good_at=OPENED_AT)
    document = json.loads(house.path.read_text())
    document["models"]["net-ids"]["versions"]["1"]["digest"] = "sha256:2"
    house.path.write_text(json.dumps(document))
    assert house.trusted()["1"] == "its recorded digest has changed since it was marked"


def test_a_signed_mark_counts_and_any_other_does_not(house: House) -> None:
    house.run(sign=True)
    unsigned = "its mark has no good signature"
    assert house.trusted(key=KEY) == {"1": None, "2": None, "3": None}
    assert house.trusted(key=Ed25519PrivateKey.generate())["1"] == unsigned
    house.registry.mark("net-ids", "2", known_good_at=OPENED_AT)
    assert house.trusted(key=KEY)["2"] == unsigned
    signature = house.registry.versions("net-ids")[2].signature
    house.registry.mark("net-ids", "2", known_good_at=OPENED_AT, signature=signature)  # that of another version
    assert house.trusted(key=KEY)["2"] == unsigned
    house.registry.mark("net-ids", "2", known_good_at=OPENED_AT, signature="no base64")
    assert house.trusted(key=KEY)["2"] == unsigned


@pytest.mark.parametrize("change", [{"version": "2"}, {"known_good_at": 2.0}, {"digest": "sha256:2"}, {"model": "b"}])
def test_a_signature_is_about_model_version_time_and_digest(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"model": "a", "version": "1", "digest": "sha256:1", "known_good_at": 1.5}
    signature = signing.sign(KEY, "a", "1", 1.5, "sha256:1")
    good = ModelVersion(created=0.0, signature=signature, **fields)
    assert signing.is_signed(KEY.public_key(), good)
    assert not signing.is_signed(KEY.public_key(), ModelVersion(created=0.0, signature=signature, **(fields | change)))


def test_a_soak_without_a_key_is_no_use_where_only_signed_marks_count(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("")
    with pytest.raises(ValueError, match="need a `key`"):
        KnownGoodConfig(soak=Soak(), public_key=tmp_path / "key.pub")
