"""Models that are really signed, by the OpenSSF's own library, and what may happen to them before they serve again."""

import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from model_signing import hashing, signing

from monitor.rollback.action import ActionState
from monitor.rollback.artefacts import of_path
from monitor.rollback.file_registry import FileRegistry, FileRegistryConfig
from monitor.rollback.mlflow_registry import MlflowRegistry
from monitor.rollback.model_signature import ModelSignature, verifier
from monitor.rollback.registry import RegistryError
from tests.kit.certificates import Identity, self_signed, signed
from tests.kit.fake_mlflow import Answer, Asked, as_json, config, fake_mlflow
from tests.kit.mlflow_server import MlflowServer
from tests.kit.rollback_world import MODEL, World

VERSION = "1.1.0"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Who signs models, vouched for by itself."""
    return _with_public_key(self_signed(tmp_path_factory.mktemp("owner"), "owner"))


def _with_public_key(identity: Identity) -> Identity:
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public(identity).write_bytes(pem)
    return identity


def public(identity: Identity) -> Path:
    return identity.key.with_suffix(".pub")


def made(folder: Path) -> Path:
    """A model as a training writes it."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "tokenizer" / "config.json").write_text("{}")
    return folder


def sign(folder: Path, by: Identity, *, as_certificate: Identity | None = None) -> Path:
    signer, signature = signing.Config(), folder / "model.sig"
    signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature]))
    if as_certificate is None:
        signer.use_elliptic_key_signer(private_key=by.key)
    else:
        chain = [as_certificate.certificate]
        signer.use_certificate_signer(private_key=by.key, signing_certificate=by.certificate, certificate_chain=chain)
    signer.sign(folder, signature)
    return folder


@pytest.fixture
def model(tmp_path: Path, owner: Identity) -> Path:
    """A signed model in a registry file; it was signed elsewhere."""
    signed_there = sign(made(tmp_path / "training" / "mail"), owner)
    shutil.copytree(signed_there, tmp_path / "model")
    return tmp_path / "model"


def registry(folder: Path) -> FileRegistry:
    path = folder / "registry.json"
    versions = {VERSION: {"created": 0, "uri": "model"}}
    path.write_text(json.dumps({"models": {MODEL: {"aliases": {"champion": VERSION}, "versions": versions}}}))
    return FileRegistry(FileRegistryConfig(kind="file", path=path))


def flaw(model: Path, **wanted: Any) -> str | None:
    return verifier(ModelSignature(**wanted), registry(model.parent))(MODEL, VERSION)


def test_what_its_owner_signed_is_good(model: Path, owner: Identity) -> None:
    assert flaw(model, public_key=public(owner)) is None


TAMPERED: dict[str, Callable[[Path], object]] = {
    "another content": lambda model: (model / "weights.bin").write_bytes(b"poison"),
    "one file more": lambda model: (model / "hook.py").write_text("import os"),
    "one file less": lambda model: (model / "tokenizer" / "config.json").unlink(),
    "a link": lambda model: (model / "more").symlink_to("/etc/passwd"),
    "no bundle": lambda model: (model / "model.sig").write_bytes(b"{}"),
    "no object": lambda model: (model / "model.sig").write_bytes(b"[]"),
    "no JSON": lambda model: (model / "model.sig").write_bytes(b"\xff"),
    "another signature": lambda model: (model / "model.sig").write_bytes(
        (model / "model.sig").read_bytes().replace(b'"sig":"', b'"sig":"AAAA')
    ),
    "nothing signed": lambda model: (model / "model.sig").write_bytes(
        (model / "model.sig").read_bytes().replace(b'"signatures"', b'"others"')
    ),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("required", [True, False])
def test_what_was_changed_is_not_good_whether_or_not_a_signature_is_needed(
    model: Path, owner: Identity, tamper: Callable[[Path], object], required: bool
) -> None:
    tamper(model)
    assert flaw(model, public_key=public(owner), required=required) == "its signature is not good"


def test_another_owner_is_not_this_one(model: Path, tmp_path: Path, owner: Identity) -> None:
    stranger = _with_public_key(self_signed(tmp_path, "stranger"))
    assert flaw(model, public_key=public(stranger)) == "its signature is not good"
    sign(model, stranger)
    assert flaw(model, public_key=public(owner)) == "its signature is not good"


@pytest.mark.parametrize(("required", "told"), [(True, "it is not signed"), (False, None)])
def test_a_missing_signature_is_a_flaw_where_it_is_needed(
    model: Path, owner: Identity, required: bool, told: str | None
) -> None:
    (model / "model.sig").unlink()
    assert flaw(model, public_key=public(owner), required=required) == told


@pytest.mark.parametrize("required", [True, False])
def test_what_cannot_be_read_as_a_folder_has_no_signature(model: Path, owner: Identity, required: bool) -> None:
    shutil.rmtree(model)
    model.write_bytes(b"weights")
    assert (flaw(model, public_key=public(owner), required=required) is None) is not required


def test_the_signer_of_a_certificate_authority_is_good_and_no_other(model: Path, tmp_path: Path) -> None:
    authority, other = self_signed(tmp_path, "authority"), self_signed(tmp_path, "other")
    sign(model, signed(tmp_path, "signer", authority), as_certificate=authority)
    assert flaw(model, certificates=(authority.certificate,)) is None
    assert flaw(model, certificates=(other.certificate,)) == "its signature is not good"
    (model / "weights.bin").write_bytes(b"poison")
    assert flaw(model, certificates=(authority.certificate,)) == "its signature is not good"


@pytest.mark.parametrize("wanted", [{}, {"public_key": "key.pub", "certificates": ["ca.crt"]}])
def test_there_is_one_way_to_verify(tmp_path: Path, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("key.pub", "ca.crt"):
        Path(name).touch()
    with pytest.raises(ValueError, match="give either `public_key` or `certificates`"):
        ModelSignature.model_validate(wanted)
    with pytest.raises(ValueError, match="pattern"):
        ModelSignature.model_validate({"public_key": "key.pub", "file": "../model.sig"})


@pytest.mark.mlflow
@pytest.mark.slow
def test_a_signed_model_in_a_real_mlflow(mlflow_server: MlflowServer, model: Path, owner: Identity) -> None:
    name = uuid.uuid4().hex
    mlflow_server.add_model(name)
    good = mlflow_server.add_version(name, folder=model)
    (model / "weights.bin").write_bytes(b"poison")
    bad = mlflow_server.add_version(name, folder=model)
    elsewhere = mlflow_server.add_version(name)
    with closing(MlflowRegistry(config(mlflow_server.url))) as kept:
        unsigned = verifier(ModelSignature(public_key=public(owner)), kept)
        assert unsigned(name, good) is None
        assert unsigned(name, bad) == "its signature is not good"
        assert "cannot be read" in str(unsigned(name, elsewhere))
        assert kept.artefact_digest(name, bad) == of_path(model)


@pytest.mark.parametrize("name", ["..", "a/..", "."])
def test_a_registry_cannot_have_files_written_elsewhere(owner: Identity, name: str) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.endpoint.endswith("artifacts"):
            return as_json({"files": [{"path": name}]})
        return as_json({"artifact_uri": "mlflow-artifacts:/mail"})

    with fake_mlflow() as fake:
        fake.answer = answer
        with closing(MlflowRegistry(config(fake.url))) as kept, pytest.raises(RegistryError, match="name of its own"):
            verifier(ModelSignature(public_key=public(owner)), kept)("mail", "1")


# Before a move


@pytest.fixture
def world(tmp_path: Path, model: Path, owner: Identity) -> World:
    """The target of the usual rollback is the signed model."""
    made = World(tmp_path / "models.json")
    made.put(v1_1_0={"uri": model.name})
    kept = FileRegistry(FileRegistryConfig(kind="file", path=made.path))
    made.unsigned = verifier(ModelSignature(public_key=public(owner)), kept)
    made.request()
    return made


def test_a_signed_target_serves(world: World) -> None:
    assert (world.run().state, world.at()) == (ActionState.MOVED, VERSION)


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_a_target_whose_signature_is_not_good_never_serves(
    world: World, model: Path, tamper: Callable[[Path], object]
) -> None:
    tamper(model)
    action = world.run()
    assert (action.state, world.moves) == (ActionState.REFUSED, [])
    assert "1.1.0 is no longer a version that is known to be good: its signature is not good" in action.reason


def test_an_unsigned_target_never_serves(world: World, model: Path) -> None:
    (model / "model.sig").unlink()
    action = world.run()
    assert (action.state, world.moves) == (ActionState.REFUSED, [])
    assert "it is not signed" in action.reason
