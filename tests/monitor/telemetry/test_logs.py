"""Log lines: one JSON object each, whoever writes them, without secrets, payloads or forged lines."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.intake.events import Prediction
from monitor.intake.source import Partition, Record
from monitor.telemetry import logs
from monitor.telemetry.logs import HIDDEN, Redactor

SECRET = 'hook/s3cr3t+"canary"'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging belongs to the process: give it back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    names = [*logs._CHATTY, "py.warnings"]
    levels = [logging.getLogger(name).level for name in names]
    yield
    root.handlers, root.level = handlers, level
    for name, before in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def configured(stream: io.StringIO | None = None, **options: Any) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure(stream=stream, secrets=[SECRET], **options)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line_from_us_and_from_libraries() -> None:
    stream = configured()
    structlog.get_logger("monitor.service.app").info("started", models=2)
    logging.getLogger("some.library").warning("lost %s", "it", extra={"port": 9092})
    ours, theirs = lines(stream)
    assert (ours["event"], ours["level"], ours["models"]) == ("started", "info", 2)
    assert ours["logger"] == "monitor.service.app"
    assert (theirs["event"], theirs["level"], theirs["port"]) == ("lost it", "warning", 9092)
    assert ours["timestamp"].endswith("Z")


def test_the_level_holds_for_both_and_chatty_libraries_are_kept_to_warnings() -> None:
    stream = configured(level="info")
    structlog.get_logger("monitor").debug("not this")
    logging.getLogger("some.library").debug("nor this")
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.slack.com/services/T/B/x")
    logging.getLogger("uvicorn.error").warning("this")
    assert [line["event"] for line in lines(stream)] == ["this"]


def test_setting_up_again_replaces_what_was_there() -> None:
    first = configured()
    second = configured(level="debug")
    structlog.get_logger().debug("once")
    assert first.getvalue() == ""
    assert [line["event"] for line in lines(second)] == ["once"]


def test_warnings_are_logged() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old thing" in lines(stream)[0]["event"]


@pytest.mark.parametrize(("stream", "is_json"), [(io.StringIO(), True), (Terminal(), False)])
def test_auto_asks_who_is_reading(stream: io.StringIO, *, is_json: bool) -> None:
    configured(stream, fmt="auto")
    structlog.get_logger().info("hello", model="net-ids")
    assert stream.getvalue().startswith("{") is is_json
    assert "net-ids" in stream.getvalue()


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_secret_appears_nowhere(fmt: logs.Format) -> None:
    stream = configured(fmt=fmt)
    log = structlog.get_logger("monitor")
    message = f"posting to https://x/{SECRET}"
    log.info(message, url=f"https://x/{quote(SECRET, safe='')}", seen=[{"k": SECRET}])
    logging.getLogger("library").warning("got %r", SECRET)
    try:
        int(SECRET)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed too")
    log.info("object", thing=ValueError(SECRET), **{SECRET: 1})
    text = stream.getvalue()
    assert "s3cr3t" not in text
    assert "canary" not in text
    assert text.count("Traceback") == 2
    assert text.count("ValueError: invalid literal") == 2


@pytest.mark.parametrize(
    "key", ["password", "sasl_plain_password", "token", "Authorization", "api_key", "apikey", "webhook-signature"]
)
def test_what_a_key_calls_secret_is_hidden(key: str) -> None:
    cleaned = Redactor([])(None, "info", {"event": "x", key: "abc", "headers": {key: ["abc"]}})
    assert cleaned == {"event": "x", key: HIDDEN, "headers": {key: HIDDEN}}


def test_credentials_in_an_address_are_hidden() -> None:
    cleaned = Redactor([])(None, "info", {"event": "at https://user:pa:ss@host:1/x and http://host/a@b"})
    assert cleaned["event"] == "at https://[hidden]@host:1/x and http://host/a@b"


def test_payloads_are_withheld() -> None:
    prediction = Prediction("e1", 1e9, "m", "1", {"diagnosis": "private"}, "spam")
    record = Record(Partition("t", 0), 1, b"private", 0.0)
    cleaned = Redactor([])(
        None,
        "info",
        {"event": "bad", "raw": b"private", "payload": '{"a": "private"}', "got": [prediction, record], "n": 3},
    )
    assert cleaned == {
        "event": "bad",
        "raw": "[7 bytes]",
        "payload": "[16 withheld]",
        "got": ["[Prediction]", "[Record]"],
        "n": 3,
    }


def test_a_name_out_of_an_event_forges_no_line() -> None:
    stream = configured(fmt="console")
    structlog.get_logger().info("seen", model="x\n2026-01-01 [error] rolled back\x1b[2J\x9b", many="y" * 10_000)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert len(text) < 5000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.frozensets(st.text()),
)


@settings(max_examples=50, deadline=None)
@given(event=st.dictionaries(st.text(), values), secret=st.text(st.characters(codec="ascii"), min_size=8))
def test_anything_can_be_logged_and_the_secret_is_gone(event: dict[str, Any], secret: str) -> None:
    event["planted"] = f"before{secret}after"
    cleaned = Redactor([secret])(None, "info", event)
    assert secret not in cleaned["planted"]
    assert secret not in json.loads(json.dumps(cleaned))
