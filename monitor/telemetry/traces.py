"""Where the time goes, as spans for an OpenTelemetry collector: the extra `traces`, and off unless asked for.

The standard variables configure it (https://opentelemetry.io/docs/specs/otel/protocol/exporter/), and nothing else
does: it is on if one of `ENDPOINTS` is set. A span has a name and a few attributes that its caller chose, such as a
model or a state. It never has a URL, a secret or a value of an event, nor the text of an exception, which may quote
one of these.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables of which one is the collector's address."""
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""Variables that may have the collector's token."""
LAST_SPANS = 5.0
"""Seconds at most that a stop waits for the collector to take the last spans."""

_log = structlog.get_logger(__name__)


class _Current:
    """Of the process, as logging is."""

    tracer: "Tracer | None" = None
    """None while no spans are wanted."""


def secrets() -> list[str]:
    """What must not be logged: OpenTelemetry itself quotes a header that it cannot read."""
    return [header.strip() for name in HEADERS for header in os.environ.get(name, "").split(",")]


@contextmanager
def sending() -> Iterator[None]:
    """Send spans while inside, if the environment asks for that; what is left is sent on the way out.

    Tracing that cannot be had is logged, and stops nothing.
    """
    provider = _provider() if any(os.environ.get(name) for name in ENDPOINTS) else None
    if provider is None:
        yield
        return
    _Current.tracer = provider.get_tracer("tocsin")
    try:
        yield
    finally:
        _Current.tracer = None
        # By itself it would wait half a minute for a collector that hangs.
        last = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(LAST_SPANS)


@contextmanager
def span(name: str, **attributes: str | float) -> Iterator[None]:
    """What happens inside, as a span; one that is opened inside is its child. Also decorates a function."""
    tracer = _Current.tracer
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(StatusCode.ERROR)
            raise


def past(name: str, seconds: float, **attributes: str | float) -> None:
    """A span of so many seconds that has ended just now, for what is known only afterwards."""
    tracer = _Current.tracer
    if tracer is not None:
        now = time.time_ns()
        tracer.start_span(name, attributes=attributes, start_time=now - int(seconds * 1e9)).end(now)


def _provider() -> "TracerProvider | None":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        _log.error("no traces", why="a collector is named, and they need the extra: install tocsin[traces]")
        return None
    try:
        exporter = OTLPSpanExporter()
    except ValueError as error:
        _log.error("no traces", why=f"a variable OTEL_EXPORTER_OTLP_... cannot be used: {error}")
        return None
    named = Resource({"service.name": "tocsin"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create().merge(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
