"""A message in Slack's Block Kit, drawn as a page: about what Slack shows, for people who have no Slack at hand."""

import re
from html import escape, unescape
from typing import Any

_STYLE = """
body{font:15px/1.47 Lato,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;color:#1d1c1d;background:#fff;margin:16px 20px}
.message{display:flex;gap:10px}
.face{flex:none;width:36px;height:36px;border-radius:6px;background:#c8102e;color:#fff;font:700 20px/36px sans-serif;
text-align:center}
.app{background:#ececec;color:#616061;font-size:10px;font-weight:700;padding:1px 3px;border-radius:2px;margin:0 6px}
.when,.context{color:#616061;font-size:12px}
h1{font-size:18px;line-height:1.33;margin:6px 0 4px}
p{margin:4px 0 8px;white-space:pre-wrap;overflow-wrap:anywhere}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:0 16px}
a{color:#1264a3;text-decoration:none}
"""
_LINK = re.compile(r"<(https?://[^|>]*)\|([^>]*)>")


def html(message: dict[str, Any], when: str) -> str:
    """The message as a whole page, as it stands in a channel; `when` is the time beside its sender."""
    blocks = "".join(_BLOCKS[block["type"]](block) for block in message["blocks"])
    sender = f'<b>Tocsin</b><span class="app">APP</span><span class="when">{escape(when)}</span>'
    body = f'<div class="message"><div class="face">T</div><div>{sender}{blocks}</div></div>'
    return f'<!doctype html><meta charset="utf-8"><title>Slack</title><style>{_STYLE}</style>{body}'


def _header(block: dict[str, Any]) -> str:
    return f"<h1>{_text(block['text'])}</h1>"


def _section(block: dict[str, Any]) -> str:
    if "text" in block:
        return f"<p>{_text(block['text'])}</p>"
    return f'<div class="fields">{"".join(f"<p>{_text(field)}</p>" for field in block["fields"])}</div>'


def _context(block: dict[str, Any]) -> str:
    return f'<p class="context">{"".join(map(_text, block["elements"]))}</p>'


def _text(text: dict[str, Any]) -> str:
    """Plain text as it is; of Slack's markup the links, which is all that the messages have."""
    if text["type"] == "plain_text":
        return escape(unescape(text["text"]))
    pieces = _LINK.split(text["text"])
    plain, addresses, labels = pieces[::3], pieces[1::3], pieces[2::3]
    links = [
        f'<a href="{escape(unescape(address))}">{escape(unescape(label))}</a>'
        for address, label in zip(addresses, labels, strict=True)
    ]
    return "".join(escape(unescape(before)) + link for before, link in zip(plain, [*links, ""], strict=True))


_BLOCKS = {"header": _header, "section": _section, "context": _context}
