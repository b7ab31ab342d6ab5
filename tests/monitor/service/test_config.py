"""The configuration: everything that is wrong, at once, where it stands; and nothing secret said about it."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.service.config import Config, ConfigError, Problem, json_schema, load, secrets
from monitor.service.config_file import dotted
from tests.kit.certificates import self_signed

EXAMPLE = Path(__file__).parents[3] / "tocsin.example.yaml"
CANARY = "s3cr3t-canary"

MINIMAL = """\
kafka:
  bootstrap_servers: ["127.0.0.1:9092"]
  topics: [events]
models:
  net-ids:
    reference: {events: 100}
"""

Load = Callable[..., Config]
Refused = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Load a text as a file."""

    def read(text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "tocsin.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ or {})

    return read


@pytest.fixture
def refused(tmp_path: Path, read: Load) -> Refused:
    """The problems of a text, with places relative to the file."""

    def refused(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        with pytest.raises(ConfigError) as error:
            read(text, environ)
        assert error.value.problems
        assert CANARY not in str(error.value)
        assert str(error.value).count("\n") == len(error.value.problems) - 1
        prefix = str(tmp_path / "tocsin.yaml")
        return [(place.removeprefix(prefix).removeprefix(":"), message) for place, message in error.value.problems]

    return refused


def test_a_short_file_is_enough(read: Load) -> None:
    config = read(MINIMAL)
    assert config.kafka.topics == ("events",)
    assert config.models["net-ids"].reference is not None
    assert config.models["net-ids"].reference.events == 100
    assert (config.detection.budget, config.join.label_ttl, config.join.max_pending) == (100_000, 604_800, 200_000)
    assert (config.store.path, config.store.commit_every) == (Path("tocsin.db"), 2.0)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 9464)
    assert (config.log.level, config.log.format) == ("info", "auto")
    assert (config.registry, config.alerting.receivers, config.rollback.mode) == (None, (), "observe")


def test_everything_that_is_wrong_is_said_at_once_where_it_stands(refused: Refused) -> None:
    text = """\
kafka:
  topics: [events, "no spaces"]
  grup_id: tocsin
models:
  net.ids:
    reference: {events: 0}
alerting:
  receivers:
    - kind: slack
      name: chat
      url: https://hooks.slack.com/s3cr3t-canary
    - kind: carrier-pigeon
    - name: nobody
    - {kind: webhook, name: w, url: "http://x/", sekret: {value: s3cr3t-canary}}
registry: {kind: mlflow, url: ftp://s3cr3t-canary}
server: 9464
store:
  path: ${STATE_DIR}/tocsin.db
log:
  level: loud
log:
  level: info
alertin: {}
"""
    assert refused(text) == [
        ("1: kafka.bootstrap_servers", "is required"),
        ("2: kafka.topics[1]", "String should match pattern '^[A-Za-z0-9._-]{1,249}$'"),
        ("3: kafka.grup_id", "unknown key; did you mean `group_id`?"),
        ('6: models["net.ids"].reference.events', "should be greater than or equal to 1"),
        ("11: alerting.receivers[0].url", "should be a section with keys: value, file"),
        (
            "12: alerting.receivers[1]",
            "'kind' is none of 'alertmanager', 'apprise', 'email', 'pagerduty', 'slack_bot', 'slack', 'webhook'",
        ),
        ("13: alerting.receivers[2]", "needs a key 'kind'"),
        ("14: alerting.receivers[3].sekret", "unknown key; did you mean `secret`?"),
        ("15: registry.url", "must be an http:// or https:// address"),
        ("16: server", "should be a section with keys: host, port, tls, intake, access"),
        ("18: store.path", "the environment variable STATE_DIR is not set, and there is no ${STATE_DIR:-default}"),
        ("20: log.level", "should be 'debug', 'info', 'warning' or 'error'"),
        ("21: log", "given before, in line 19"),
        ("23: alertin", "unknown key; did you mean `alerting`?"),
    ]


def test_an_empty_file_says_what_is_required(refused: Refused) -> None:
    expected = [("1: kafka", "is required"), ("1: models", "is required")]
    assert refused("") == refused("# nothing yet\n") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "should be a mapping of sections"),
        ("just text", "should be a mapping of sections"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        ("a: b: c", "is not YAML: mapping values are not allowed here"),
        ("a: [1, 2", "is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: *gone", "is not YAML: found undefined alias 'gone'"),
        ("a: 1\n---\nb: 2\n", "is not YAML: but found another document"),
        ("a: \0", "is not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("[" * 5000, "is nested too deeply"),
    ],
)
def test_what_is_not_a_configuration_is_one_problem(refused: Refused, text: str | bytes, message: str) -> None:
    ((_, said),) = refused(text)
    assert said == message


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "gone.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as error:
            load(path, {})
        assert error.value.problems == (Problem(str(path), message),)


def test_yaml_that_surprises_is_refused(refused: Refused) -> None:
    text = (
        MINIMAL
        + """\
store: &a {path: x, commit_every: 1}
join: *a
log: !!python/object:os.system {level: info}
server: {port: !!int abc, host: !env HOST}
detection: {<<: {budget: 1000}, [1, 2]: 3}
"""
    )
    assert refused(text) == [
        ("8: join", "aliases are not supported; write the value out"),
        ("9: log", "the tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("10: server.port", "not a valid value of the kind int"),
        ("10: server.host", "not a valid value of the kind !env"),
        ("11: detection", "a key should be plain text"),
        ('11: detection["<<"]', "unknown key"),
    ]


def test_what_contains_itself_ends(refused: Refused) -> None:
    assert ("7: log.level", "aliases are not supported; write the value out") in refused(
        f"{MINIMAL}log: &a {{level: *a}}"
    )


@pytest.mark.parametrize("name", ["no", "2024", "1.10", "null", "~", "2026-03-01", "ünï", "a b.c"])
def test_a_model_is_called_what_the_file_says(read: Load, name: str) -> None:
    assert list(read(MINIMAL.replace("net-ids", name)).models) == [name]


# Variables.


def test_variables_are_put_into_values(read: Load) -> None:
    text = (
        MINIMAL
        + """\
store: {path: "${DIR:-/var/lib}/${NAME}.db"}
server: {port: "${PORT}", host: "${HOST:-127.0.0.1}"}
alerting: {external_url: "https://x/$${NAME}/$NAME/${EMPTY}"}
"""
    )
    config = read(text, {"NAME": "tocsin", "PORT": "1234", "HOST": "", "EMPTY": ""})
    assert config.store.path == Path("/var/lib/tocsin.db")
    assert (config.server.port, config.server.host) == (1234, "127.0.0.1")
    assert config.alerting.external_url == "https://x/${NAME}/$NAME/"


def test_a_variable_adds_no_yaml_and_is_not_looked_into(read: Load) -> None:
    config = read(f'{MINIMAL}store: {{path: "${{A}}"}}\n', {"A": "x}\nlog: {level: debug}  ${B}", "B": "no"})
    assert config.store.path == Path("x}\nlog: {level: debug}  ${B}")
    assert config.log.level == "info"


def test_what_is_not_a_variable_is_said(refused: Refused) -> None:
    text = f'{MINIMAL}store: {{path: "${{A}}/${{B}}"}}\nlog: {{level: "${{not a name}}", format: "${{"}}\n'
    message = "`${` begins no variable: write ${NAME} or ${NAME:-default}, or $${ for itself"
    assert refused(text) == [
        ("7: store.path", "the environment variable A is not set, and there is no ${A:-default}"),
        ("7: store.path", "the environment variable B is not set, and there is no ${B:-default}"),
        ("8: log.level", message),
        ("8: log.format", message),
    ]


# Sections.


@pytest.mark.parametrize("model", ["{}", "{reference: {events: 5}, baseline: FILE}", "{baseline: /no/such/file}"])
def test_a_model_needs_one_thing_to_be_tested_against(refused: Refused, tmp_path: Path, model: str) -> None:
    (tmp_path / "b.json").touch()
    text = MINIMAL.replace("\n    reference: {events: 100}", f" {model}".replace("FILE", str(tmp_path / "b.json")))
    ((place, message),) = refused(text)
    if "no/such" in model:
        assert (place, message) == ("5: models.net-ids.baseline", "Path does not point to a file")
    else:
        assert (place, message) == ("5: models.net-ids", "give exactly one of `baseline` and `reference`")


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


# Anything at all.

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes()
known_words = st.sampled_from(
    [
        "kafka",
        "models",
        "topics",
        "kind",
        "mlflow",
        "slack",
        "receivers",
        "alerting",
        "registry",
        "value",
        "url",
        "${X}",
    ]
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars | known_words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_words | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=st.dictionaries(known_words, trees, max_size=5))
def test_anything_is_a_configuration_or_has_problems_with_places(refused: Refused, tree: dict[str, Any]) -> None:
    for place, message in refused(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")):
        assert place
        assert message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.binary(max_size=60) | st.text("abc:-[]{}&*!|>'\"#%@`,? \n\t0", max_size=60))
def test_any_text_is_refused_with_a_problem_and_nothing_else(refused: Refused, text: str | bytes) -> None:
    assert refused(text)


def test_places_read_as_people_write_them() -> None:
    assert dotted(("alerting", "receivers", 0, "url")) == "alerting.receivers[0].url"
    assert dotted(("models", "net.ids", "reference")) == 'models["net.ids"].reference'
    assert dotted(("models", 'a "b"\n')) == 'models["a \\"b\\"\\n"]'
    assert dotted(()) == ""


def test_a_store_is_a_file_or_a_database(read: Load) -> None:
    url = "postgresql://tocsin:canary@db/tocsin"
    assert read(f'{MINIMAL}store: {{url: {{value: "{url}"}}}}\n').store.location == url
    assert read(MINIMAL).store.location == Path("tocsin.db")
    with pytest.raises(ConfigError, match="give `path` or `url`, not both") as caught:
        read(f'{MINIMAL}store: {{path: x.db, url: {{value: "{url}"}}}}\n')
    assert "canary" not in str(caught.value)
