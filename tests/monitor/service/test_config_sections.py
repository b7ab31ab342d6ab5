"""The sections of the configuration: what fits together, what is secret, and the schema and the example of them."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml

from monitor.detection.listing import NONE, Limits
from monitor.service.config import Config, ConfigError, json_schema, load, secrets
from monitor.service.reader import watches
from tests.kit.certificates import self_signed
from tests.kit.configurations import CANARY, MINIMAL, Load, Refused

EXAMPLE = Path(__file__).parents[3] / "tocsin.example.yaml"


@pytest.mark.parametrize("model", ["{}", "{reference: {events: 5}, baseline: FILE}", "{baseline: /no/such/file}"])
def test_a_model_needs_one_thing_to_be_tested_against(refused: Refused, tmp_path: Path, model: str) -> None:
    (tmp_path / "b.json").touch()
    text = MINIMAL.replace("\n    reference: {events: 100}", f" {model}".replace("FILE", str(tmp_path / "b.json")))
    ((place, message),) = refused(text)
    if "no/such" in model:
        assert (place, message) == ("5: models.net-ids.baseline", "Path does not point to a file")
    else:
        assert (place, message) == ("5: models.net-ids", "give exactly one of `baseline` and `reference`")


def test_an_engine_that_is_not_installed_is_a_mistake(
    read: Load, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MINIMAL + "detection: {engine: compiled}\n"
    assert watches(read(text), {})("net-ids") is not None
    monkeypatch.setattr("monitor.service.config.find_spec", lambda _name: None)
    ((place, message),) = refused(text)
    assert place.endswith("detection.engine")
    assert "it comes with the extra `fast`" in message
    for usable in ("", "detection: {engine: numpy}\n"):
        assert watches(read(MINIMAL + usable), {})("net-ids") is not None


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("", NONE),
        ("suspects: {outlier_share: 0.01}\n", NONE),
        ("suspects: {file: s.jsonl}\n", Limits(share=0.001, per_hour=60)),
        ("suspects: {topic: s, outlier_share: 0.01, outliers_per_hour: 5}\n", Limits(share=0.01, per_hour=5)),
        ("suspects: {topic: s, outlier_share: 0}\n", Limits(share=0.0, per_hour=60)),
    ],
)
def test_outliers_are_looked_for_where_there_is_a_place_for_them(read: Load, section: str, expected: Limits) -> None:
    watch = watches(read(MINIMAL + section), {})("net-ids")
    assert watch is not None
    assert watch.listing.limits == expected


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 12:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ('"2026-03-01T12:00:00+02:00"', datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_moment_without_an_offset_is_utc(read: Load, until: str, expected: datetime) -> None:
    reference = read(MINIMAL.replace("events: 100", f"until: {until}")).models["net-ids"].reference
    assert reference is not None
    assert reference.until == expected


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("store: {commit_every: .inf}", "store.commit_every"),
        ("store: {commit_every: 0}", "store.commit_every"),
        ("join: {label_ttl: .nan}", "join.label_ttl"),
        ("join: {max_pending: 0}", "join.max_pending"),
        ("detection: {budget: 5}", "detection.budget"),
        ("server: {port: 70000}", "server.port"),
        ("server: {port: 80.5}", "server.port"),
        ("log: {format: xml}", "log.format"),
    ],
)
def test_a_number_without_sense_is_refused(refused: Refused, section: str, place: str) -> None:
    ((where, _),) = refused(f"{MINIMAL}{section}\n")
    assert where == f"7: {place}"


def test_no_models_is_no_configuration(refused: Refused) -> None:
    text = "kafka: {bootstrap_servers: ['a:1'], topics: [t]}\nmodels: {}\n"
    assert [place for place, _ in refused(text)] == ["2: models"]


def test_sections_that_contradict_each_other_are_refused_together(refused: Refused) -> None:
    text = (
        MINIMAL
        + """\
rollback:
  mode: propose
  models: {netids: auto}
quarantine: {topic: events}
server: {intake: {topic: elsewhere}}
"""
    )
    assert refused(text) == [
        ("8: rollback.mode", "`propose` moves an alias, and there is no `registry`"),
        ("8: rollback.mode", "`propose` asks a person, and there is nobody in `alerting.receivers`"),
        ("9: rollback.models.netids", "`auto` moves an alias, and there is no `registry`"),
        ("9: rollback.models.netids", "there is no such model in `models`; did you mean `net-ids`?"),
        ("10: quarantine.topic", "is one of `kafka.topics`: what is put there would be read again"),
        ("11: server.intake.topic", "is none of `kafka.topics`: what is put there would never be read"),
    ]


def test_events_over_http_and_the_need_of_signatures_exclude_each_other(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0" * 64)
    producer = f"{{name: p, keys: [{{id: k, secret: {{file: {tmp_path / 'secret'}}}}}]}}"
    text = f"{MINIMAL}server: {{intake: {{topic: events}}}}\nsignatures: {{producers: [{producer}]}}\n"
    why = "what comes over HTTP has no signature, and `signatures.required` refuses it"
    assert refused(text) == [("7: server.intake", why)]


def test_a_registry_makes_a_rollback_possible(read: Load, tmp_path: Path) -> None:
    text = f"{MINIMAL}registry: {{kind: file, path: {tmp_path / 'registry.json'}}}\nrollback: {{mode: auto}}\n"
    assert read(text).rollback.mode == "auto"


def test_any_model_may_have_its_own_mode_where_any_model_is_watched(read: Load, tmp_path: Path) -> None:
    text = f"""{MINIMAL.replace("net-ids", '"*"')}registry: {{kind: file, path: {tmp_path / "registry.json"}}}
rollback: {{models: {{net-ids: auto}}}}
"""
    assert read(text).rollback.mode_of("net-ids") == "auto"


def test_secrets_are_found_wherever_they_are_and_shown_nowhere(read: Load, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{CANARY}-1\n")
    text = (
        MINIMAL
        + f"""\
alerting:
  receivers:
    - {{kind: slack, name: a, url: {{value: "https://hooks.slack.com/{CANARY}-2"}}}}
    - {{kind: webhook, name: b, url: "https://x/{CANARY}-3", secret: {{value: "{CANARY}-4"}}}}
registry: {{kind: mlflow, url: "http://x", username: u, password: {{file: {tmp_path / "password"}}}}}
"""
    )
    config = read(text)
    assert {secret.partition(CANARY)[2] for secret in secrets(config)} == {"-1", "-2", "-3", "-4"}
    assert CANARY not in repr(config)
    assert CANARY not in config.model_dump_json()


def test_a_certificate_and_a_key_have_to_fit_together(refused: Refused, read: Load, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    certificate, key = self_signed(tmp_path / "one")
    _, other = self_signed(tmp_path / "two")
    text = f"{MINIMAL}server: {{tls: {{cert_file: {certificate}, key_file: KEY}}}}\n"
    assert read(text.replace("KEY", str(key))).server.tls is not None
    ((place, message),) = refused(text.replace("KEY", str(other)))
    assert place == "7: server.tls"
    assert message.startswith("cert_file and key_file cannot be used: ")
    (tmp_path / "nonsense").write_text(CANARY)
    ((_, message),) = refused(text.replace("KEY", str(tmp_path / "nonsense")))
    assert CANARY not in message


def test_people_with_certificates_need_somebody_who_asks_for_them(refused: Refused, read: Load, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    files = f"cert_file: {certificate}, key_file: {key}"
    access = 'access: {certificates: [{name: ci, subject: "CN:ci"}]}'
    text = f"{MINIMAL}server:\n  tls: {{FILES}}\n  {access}\n"
    assert read(text.replace("FILES", f"{files}, client_ca_file: {certificate}")).server.access.certificates
    assert refused(text.replace("FILES", files)) == [
        ("9: server.access.certificates", "nobody is asked for a certificate without `server.tls.client_ca_file`")
    ]
    for wrong in (f"{files}, clients_only: true", f"{files}, client_ca_file: {key}"):
        ((place, _),) = refused(text.replace("FILES", wrong))
        assert place == "8: server.tls"


# The schema and the example.


def test_the_schema_knows_every_section_and_is_json() -> None:
    schema = json_schema()
    assert set(json.loads(json.dumps(schema))["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["kafka", "models"]


def test_the_example_loads_as_it_is() -> None:
    config = load(EXAMPLE, {})
    assert config.kafka.bootstrap_servers == ("127.0.0.1:9092",)
    assert config.models.keys() == {"net-ids"}


def test_the_example_loads_with_everything_in_it_and_shows_the_true_defaults(read: Load) -> None:
    text = re.sub(r"^(\s*)#(?=[^\s#]|  )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    environ = dict.fromkeys(["KAFKA_PASSWORD", "SOC_WEBHOOK_SECRET", "MLFLOW_TOKEN"], CANARY)
    environ |= {"PAGERDUTY_ROUTING_KEY": "0" * 32, "SLACK_BOT_TOKEN": "xoxb-c4n4ry"}
    environ |= {
        "SMTP_PASSWORD": CANARY,
        "HEARTBEAT_URL": "https://hc.example.com/x",
        "TELEGRAM_URL": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    }
    config = read(text, environ | {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x"})
    default = load(EXAMPLE, {})
    assert yaml.safe_load(text).keys() == Config.model_fields.keys()
    for section in ("detection", "join", "quarantine", "store", "server", "log"):
        assert getattr(config, section) == getattr(default, section)
    for section in ("detection", "join", "server", "log"):
        assert getattr(config, section).model_fields_set == type(getattr(config, section)).model_fields.keys()


def test_the_example_has_every_setting_of_the_sections_that_are_read_without_a_manual() -> None:
    sections = re.split(r"^#?(?=\w+:)", EXAMPLE.read_text(), flags=re.MULTILINE)[1:]
    texts = {text.partition(":")[0]: text for text in sections}
    for name in ("kafka", "detection", "join", "signatures", "rollback", "quarantine", "suspects", "store", "server"):
        section = getattr(load(EXAMPLE, {}), name)
        keys = re.findall(r"(?<![\w.])(\w+): ", texts[name].replace("\n", " "))
        assert type(section).model_fields.keys() - set(keys) == set(), name


def test_a_store_is_a_file_or_a_database(read: Load) -> None:
    url = "postgresql://tocsin:canary@db/tocsin"
    assert read(f'{MINIMAL}store: {{url: {{value: "{url}"}}}}\n').store.location == url
    assert read(MINIMAL).store.location == Path("tocsin.db")
    with pytest.raises(ConfigError, match="give `path` or `url`, not both") as caught:
        read(f'{MINIMAL}store: {{path: x.db, url: {{value: "{url}"}}}}\n')
    assert "canary" not in str(caught.value)
