"""The `kafka` section: what contradicts itself is refused before anything connects."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.intake.kafka_config import KafkaConfig, KafkaSecurity

LOGIN = {"sasl_mechanism": "SCRAM-SHA-512", "username": "tocsin", "password": {"value": "canary"}}


def test_servers_and_topics_are_enough() -> None:
    config = KafkaConfig.model_validate({"bootstrap_servers": ["kafka:9092", "[::1]:9092"], "topics": ["events"]})
    assert (config.start, config.beyond_end, config.replicas) == ("earliest", "fail", "one")
    assert config.security == KafkaSecurity()


@pytest.mark.parametrize(
    "settings",
    [
        {"bootstrap_servers": []},
        {"bootstrap_servers": ["kafka"]},
        {"bootstrap_servers": ["user:secret@kafka:9092"]},
        {"bootstrap_servers": ["kafka:9092/path"]},
        {"topics": []},
        {"topics": ["events", "events"]},
        {"topics": ["events of today"]},
        {"start": "yesterday"},
        {"group_instance_id": "pod 1"},
        {"session_timeout": 3.0, "heartbeat_interval": 3.0},
        {"session_timeout": 400.0},
        {"request_timeout": 0},
        {"max_poll_records": 0},
        {"auto_offset_reset": "latest"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KafkaConfig.model_validate({"bootstrap_servers": ["kafka:9092"], "topics": ["events"]} | settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"protocol": "SASL_SSL"}, "needs sasl_mechanism, username and password"),
        ({"protocol": "SASL_SSL"} | LOGIN | {"username": None}, "needs sasl_mechanism, username and password"),
        ({"protocol": "SSL"} | LOGIN, "does not log in"),
        (LOGIN, "does not log in"),
        ({"ca_file": __file__}, "is not encrypted"),
        ({"protocol": "SASL_PLAINTEXT", "cert_file": __file__} | LOGIN, "is not encrypted"),
        ({"protocol": "SSL", "key_file": __file__}, "key_file needs cert_file"),
        ({"protocol": "SSL", "ca_file": "missing.pem"}, "ca_file"),
        ({"protocol": "SASL_SSL"} | LOGIN | {"sasl_mechanism": "GSSAPI"}, "sasl_mechanism"),
    ],
)
def test_security_is_complete_or_refused_without_showing_the_password(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        KafkaSecurity.model_validate(settings)
    assert "canary" not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    security = KafkaSecurity.model_validate({"protocol": "SASL_SSL"} | LOGIN)
    assert security.password is not None
    assert security.password.reveal() == "canary"
    assert "canary" not in repr(security) + str(security) + security.model_dump_json()


def test_a_certificate_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    security = KafkaSecurity.model_validate({"protocol": "SSL", "ca_file": tmp_path / "ca.pem"})
    with pytest.raises(OSError, match=r"PEM|certificate"):
        security.tls()
