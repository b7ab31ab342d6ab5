"""The page of an incident: all that a person needs to judge it, in one HTML file that needs nothing from anywhere.

Whatever comes from events is cleaned and escaped. The policy of the page allows its own style and nothing else: no
script, no picture, no font, no form, whatever an attacker may get into a name.
"""

import base64
import hashlib
from html import escape

from alerting.incident import Change, Incident, Transition
from alerting.message import Words, clean, notice
from alerting.notice import Notice
from monitor.pictures.exhibit import Exhibit, drawings
from monitor.pictures.png import png
from monitor.pictures.svg import svg

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f27;background:#fff;margin:0 auto;max-width:720px;padding:24px}
h1{font-size:22px;line-height:1.3;margin:8px 0}
h2{font-size:16px;margin:28px 0 8px}
.severity{display:inline-block;padding:2px 10px;border-radius:3px;color:#fff;background:#5d6676;font-weight:600}
.critical{background:#c8102e}.warning{background:#a8571f}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:4px 12px 4px 0;border-bottom:1px solid #d9dde4;overflow-wrap:anywhere}
th{width:150px;font-weight:600}
svg{max-width:100%;height:auto;display:block;margin:0 0 18px;border:1px solid #d9dde4;font-family:system-ui,sans-serif}
ul{padding-left:20px}footer{margin-top:32px;color:#5d6676;font-size:13px}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of a page."""


def page(incident: Incident, exhibit: Exhibit | None) -> str:
    """The whole HTML document."""
    content = told(incident)
    facts = [
        ("Status", content.status),
        ("Since", content.since),
        *content.who,
        ("How sure", content.sure),
        *content.weighed,
        *content.deeds,
    ]
    drawn = charts(incident, exhibit)
    body = [
        f'<p><span class="severity {incident.severity}">{incident.severity}</span> {_e(incident.verdict)}</p>',
        f"<h1>{_e(content.headline)}</h1>",
        f"<table>{''.join(_row(label, value) for label, value in facts if value)}</table>",
        _list("Evidence", content.evidence),
        _list("How far it reaches", content.reach[1:]),
        _list("With the same cause", incident.related),
        "<h2>Pictures</h2>" if drawn else "",
        *drawn,
        f"<footer>Tocsin, incident {_e(incident.id)}</footer>",
    ]
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_e(_title(content))}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def picture(incident: Incident, exhibit: Exhibit | None) -> bytes:
    """The same as a PNG, without the tables. Raises NoPicturesError."""
    content = told(incident)
    lines = [_title(content), content.since, content.status]
    return png(lines, drawings(exhibit, incident) if exhibit is not None else [])


def charts(incident: Incident, exhibit: Exhibit | None) -> list[str]:
    """The pictures as SVG elements, in which nothing can do harm."""
    return [] if exhibit is None else [svg(drawing) for drawing in drawings(exhibit, incident)]


def told(incident: Incident) -> Notice:
    """The incident in words, as it stands now."""
    return notice(Transition(Change.UPDATED, incident.transitions, incident), Words())


def _title(content: Notice) -> str:
    """Without what has just happened: a page is looked at later."""
    return content.title.removeprefix("UPDATE ")


def _list(title: str, lines: tuple[str, ...]) -> str:
    if not lines:
        return ""
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{_e(line)}</li>' for line in lines)}</ul>"


def _row(label: str, value: str) -> str:
    return f"<tr><th>{_e(label)}</th><td>{_e(value)}</td></tr>"


def _e(text: str) -> str:
    return escape(clean(text, 1000))
