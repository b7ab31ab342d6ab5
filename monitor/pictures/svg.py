"""Drawings as SVG to put into a page: no style attribute, no script, no address, every text escaped."""

from html import escape

from alerting.message import clean
from monitor.pictures.drawing import Box, Drawing, Mark, Path, Text

_MAX_TEXT = 200


def svg(drawing: Drawing) -> str:
    """One `<svg>` element."""
    title = _text(drawing.title)
    size = f'viewBox="0 0 {drawing.width} {drawing.height}" width="{drawing.width}" height="{drawing.height}"'
    marks = "".join(map(_mark, drawing.marks))
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" {size}>{marks}</svg>'


def _mark(mark: Mark) -> str:
    match mark:
        case Box(x, y, width, height, fill):
            return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
        case Path(points, stroke, width, dashed):
            through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dashes = ' stroke-dasharray="5 4"' if dashed else ""
            return f'<polyline points="{through}" fill="none" stroke="{stroke}" stroke-width="{width}"{dashes}/>'
        case Text(x, y, text, size, anchor, fill):
            place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"'
            return f"<text {place}>{_text(text)}</text>"


def _text(text: str) -> str:
    return escape(clean(text, _MAX_TEXT))
