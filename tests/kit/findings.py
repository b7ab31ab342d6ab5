"""Findings for tests, with what a judge looks at."""

from typing import Any

from alerting.incident import Onset
from monitor.detection.bank import Place
from monitor.detection.changes import Kind
from monitor.detection.findings import ALONE, Finding


def finding(
    watched: str = "confusion",
    kind: Kind = Kind.OUTCOME,
    *,
    source: str | None = None,
    labeler: str | None = None,
    at: int = 100,
    since: float = 1000.0,
    **more: Any,
) -> Finding:
    """A finding since `since`, epoch seconds; `more` replaces what is usual."""
    usual: dict[str, Any] = {"features": (), "class_from": None, "class_to": None}
    if watched in ("confusion", "agreement", "answers"):
        usual |= {"class_from": "spam", "class_to": "ham"}
    elif watched == "predicted":
        usual |= {"class_to": "ham"}
    else:
        usual |= {"features": ("x",)}
    return Finding(
        place=Place(watched, at, 0),
        watched=watched,
        kind=kind,
        stream=f"{watched}/{more.get('features', 'x')[0]}",
        source=source,
        labeler=labeler,
        log_e=more.pop("log_e", 12.0),
        observed=more.pop("observed", 0.3),
        bound=0.1,
        shift=more.pop("shift", 0.5),
        alone=more.pop("alone", ALONE),
        trigger=more.pop("trigger", ()),
        alarmed_index=at,
        onset=Onset(since, since - 50, since + 50),
        **(usual | more),
    )


def feature(name: str = "x", kind: Kind = Kind.BODY, **more: Any) -> Finding:
    """A finding about one feature; labels say nothing about it, if nothing else is given."""
    more.setdefault("alone", 0.0)
    return finding("features", kind, features=(name,), **more)
