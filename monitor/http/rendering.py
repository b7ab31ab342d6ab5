"""Templates of the console: HTML in which every text from outside is cleaned, bounded and escaped."""

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from alerting.message import clean, instant

MAX_TEXT = 4000
"""Characters of one text on a page."""


class Page(msgspec.Struct, frozen=True):
    """A template, and what it shows."""

    template: str
    facts: dict[str, Any]


def render(page: Page, **further: object) -> str:
    """The page as HTML; `further` are facts that every page needs."""
    return _environment().get_template(page.template).render(page.facts | further)


def safe(svg: str) -> Markup:
    """A picture of our own, in which everything is escaped already, to be put into a page as it is."""
    return Markup(svg)  # noqa: S704 - `monitor/pictures/svg.py` escapes every text, and tests throw names at it


def asset(name: str) -> bytes:
    """A file that pages need: the style sheet, or the icon."""
    return (files("monitor.http") / "templates" / name).read_bytes()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("monitor.http"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["instant"] = _instant
    return made


def _shown(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean(value, MAX_TEXT) if value else ""
    return value


def _instant(ts: float | None) -> str:
    return "never" if ts is None else instant(ts)
