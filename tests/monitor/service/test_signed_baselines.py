"""Baselines that somebody vouches for: where a key is configured, no other one is used."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from monitor.detection.baseline import Baseline, BaselineError, load, save
from monitor.detection.learning import build
from monitor.intake.events import Prediction
from monitor.service.app import prepare
from monitor.service.config import ConfigError
from tests.kit.command_line import invoke

KEY, OTHER = Ed25519PrivateKey.from_private_bytes(b"1" * 32), Ed25519PrivateKey.from_private_bytes(b"2" * 32)
START = 1_772_409_600.0


def learnt(model: str = "mail") -> Baseline:
    return build(
        model,
        [
            Prediction(f"e{n}", START + 60.0 * n, model, "1", {"a": n % 7, "b": "xy"[n % 2]}, "ab"[n % 3 == 0])
            for n in range(200)
        ],
        [],
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a key, its public half and a baseline that it has signed."""
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    for name, key in (("public.pem", KEY), ("other.pem", OTHER)):
        (tmp_path / name).write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    save(learnt(), tmp_path / "baseline.json", KEY)
    return tmp_path


def tocsin(*words: object) -> tuple[int, str]:
    result = invoke(*words)
    return result.exit_code, result.output


def test_a_signed_baseline_is_the_same_baseline(files: Path) -> None:
    path = files / "baseline.json"
    assert load(path, KEY.public_key()) == load(path) == learnt()


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "nobody has signed it"),
        ("", "not that of the key's owner"),
        ("?", "not that of the key's owner"),
        (base64.b64encode(bytes(64)).decode(), "not that of the key's owner"),
        (
            base64.b64encode(OTHER.sign(f"tocsin baseline 1\n{learnt().digest}".encode())).decode(),
            "not that of the key",
        ),
        (
            base64.b64encode(KEY.sign(f"tocsin baseline 1\n{learnt('x').digest}".encode())).decode(),
            "not that of the key",
        ),
        (base64.b64encode(KEY.sign(learnt().digest.encode())).decode(), "not that of the key's owner"),
    ],
)
def test_a_baseline_that_the_owner_of_the_key_has_not_signed_is_refused(
    files: Path, signature: str | None, why: str
) -> None:
    path = files / "baseline.json"
    forged = json.loads(path.read_bytes())
    if signature is None:
        del forged["signature"]
    else:
        forged["signature"] = signature
    path.write_text(json.dumps(forged))
    assert load(path) == learnt()
    with pytest.raises(BaselineError, match=why):
        load(path, KEY.public_key())


def test_a_signature_does_not_help_what_was_changed(files: Path) -> None:
    path = files / "baseline.json"
    path.write_text(path.read_text().replace('"predictions": 200', '"predictions": 201'))
    with pytest.raises(BaselineError, match="does not match its digest"):
        load(path, KEY.public_key())


def test_the_daemon_uses_signed_ones_only(files: Path) -> None:
    def configured(key: str) -> Path:
        config = files / "tocsin.yaml"
        config.write_text(
            "kafka: {bootstrap_servers: [here:1], topics: [t]}\n"
            f"models: {{mail: {{baseline: {files / 'baseline.json'}}}}}\n"
            f"detection: {{baseline_key: {files / key}}}\n"
        )
        return config

    assert prepare(configured("public.pem"))[1] == {"mail": learnt()}
    with pytest.raises(ConfigError, match=r"models\.mail\.baseline: .*not that of the key's owner"):
        prepare(configured("other.pem"))
    with pytest.raises(ConfigError, match=r"detection\.baseline_key: not a public key in PEM"):
        prepare(configured("key.pem"))
    save(learnt(), files / "baseline.json")
    code, said = tocsin("check", "--config", configured("public.pem"))
    assert code == 2
    assert "nobody has signed it" in said


def test_the_command_signs_and_verifies(files: Path) -> None:
    path = files / "baseline.json"
    save(learnt(), path)
    verify = ("baseline", "verify", path, "--public-key", files / "public.pem")
    assert tocsin(*verify)[0] == 2
    code, said = tocsin("baseline", "sign", path, "--key", files / "key.pem")
    assert (code, learnt().digest in said) == (0, True)
    assert tocsin(*verify)[0] == 0
    assert tocsin(*verify[:-1], files / "other.pem")[0] == 2
    for wrong in ("public.pem", "baseline.json", "none.pem"):
        code, said = tocsin("baseline", "sign", path, "--key", files / wrong)
        assert (code, wrong in said) == (2, True)
