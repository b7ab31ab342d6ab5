"""Logging: structlog for us, the standard library's records bridged in, secrets and payloads kept out.

Logs go to standard error: JSON, one object a line, or readable lines when a person is looking at a terminal.
"""

import json
import logging
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TextIO
from urllib.parse import quote

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from monitor.intake.events import Features, Label, Prediction
from monitor.intake.source import Record

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console", "auto"]

HIDDEN = "[hidden]"

_SECRET_KEY = re.compile(
    r"passw|secret|token|credential|authori[sz]ation|cookie|signature|api_?key|private_?key", re.IGNORECASE
)
_PAYLOAD_KEYS = frozenset({"body", "embedding", "features", "payload", "proba", "record", "value"})
_USERINFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_LONGEST = 4000
_MULTILINE_KEYS = frozenset({"exception", "stack"})
# A name out of an event must not start a new line, or move the cursor of the person who reads it.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0))}
_CONTROL_BUT_LINES = {code: text for code, text in _CONTROL.items() if chr(code) not in "\n\t"}
# They say on INFO, for each request or reconnection, what our own events and metrics say better.
_CHATTY = ("apscheduler", "httpcore", "httpx", "kafka", "uvicorn")


def configure(
    level: Level = "info", fmt: Format = "auto", secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process; calling it again replaces what was set up.

    Args:
        level: the lowest level that is written.
        fmt: `auto` is `console` if the stream is a terminal, and `json` otherwise.
        secrets: values that must not appear in any line, wherever they come from.
        stream: where lines go; standard error by default.
    """
    stream = stream if stream is not None else sys.stderr
    console = stream.isatty() if fmt == "auto" else fmt == "console"
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                Redactor(secrets),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _console(stream) if console else structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class Redactor:
    """A structlog processor: nothing secret, no payload, no control character, nothing endless gets past it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return the event with everything in it cleaned."""
        return {self._clean_text("", key): self._clean(key, value) for key, value in event.items()}

    def _clean(self, key: str, value: object) -> object:
        if value is None or isinstance(value, bool):
            return value
        if (withheld := _withheld(key, value)) is not None:
            return withheld
        match value:
            case int() | float():
                return value
            case Mapping():
                return {self._clean_text("", str(k)): self._clean(str(k), v) for k, v in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(key, item) for item in value]
            case _:
                return self._clean_text(key, str(value))

    def _clean_text(self, key: str, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(HIDDEN, text)
        text = _USERINFO.sub(HIDDEN, text)
        if key in _MULTILINE_KEYS:
            return text.translate(_CONTROL_BUT_LINES)
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}[{len(text) - _LONGEST} more]"
        return text.translate(_CONTROL)


def _withheld(key: str, value: object) -> str | None:
    """What stands in a line for a secret or a payload; None for a value that may be shown."""
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, Record | Prediction | Label | Features):
        return f"[{type(value).__name__}]"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if key in _PAYLOAD_KEYS and isinstance(value, Collection):
        return f"[{len(value)} withheld]"
    return None


def _spellings(secret: str) -> tuple[str, ...]:
    """A secret as it is, as it stands in a URL, and as it stands in JSON or a repr."""
    return secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]


def _console(stream: TextIO) -> Processor:
    # The traceback is rendered before redaction, so the renderer gets it as text.
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=40
    )
