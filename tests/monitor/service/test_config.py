"""The configuration: everything that is wrong, at once, where it stands; and nothing secret said about it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.service.config import ConfigError, Problem, load
from monitor.service.config_file import dotted
from tests.kit.configurations import MINIMAL, Load, Refused


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


def test_what_follows_only_from_a_variable_that_is_not_set_is_left_out(refused: Refused) -> None:
    text = f'{MINIMAL}alerting:\n  receivers:\n    - {{kind: slack, name: a, url: {{value: "${{HOOK}}"}}}}\n'
    unset = "the environment variable HOOK is not set, and there is no ${HOOK:-default}"
    assert refused(text) == [("9: alerting.receivers[0].url.value", unset)]


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
