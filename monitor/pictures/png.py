"""Drawings as a PNG, for chats and tickets that show pictures and no pages. Needs Pillow, the extra `pictures`.

Pillow brings a font of its own, so it draws text on images without any, such as slim containers.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING

from alerting.message import clean
from monitor.pictures.drawing import Box, Drawing, Mark, Path, Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SCALE = 2
"""Pixels of the picture for one of the drawing."""
_MARGIN = 12
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_DASH, _GAP = 5.0, 4.0


class NoPicturesError(Exception):
    """Pillow is not installed; one clear line."""


def png(lines: Sequence[str], drawings: Sequence[Drawing]) -> bytes:
    """Lines of text and below them all drawings, as one PNG.

    Raises:
        NoPicturesError: the extra `pictures` is not installed.
    """
    try:
        from PIL import Image, ImageDraw  # noqa: PLC0415 - an extra
    except ImportError:
        raise NoPicturesError("pictures need Pillow: install tocsin[pictures]") from None
    heading: tuple[Mark, ...] = tuple(Text(_MARGIN, 22 + 19 * place, line, 14) for place, line in enumerate(lines))
    top = 19 * len(lines) + 18
    width = max([drawing.width for drawing in drawings], default=640) + 2 * _MARGIN
    height = top + sum(drawing.height + _MARGIN for drawing in drawings)
    image = Image.new("RGB", (width * SCALE, height * SCALE), "#ffffff")
    canvas = ImageDraw.Draw(image)
    for mark in heading:
        _draw(canvas, mark, 0.0, 0.0)
    for drawing in drawings:
        for mark in drawing.marks:
            _draw(canvas, mark, _MARGIN, top)
        top += drawing.height + _MARGIN
    kept = BytesIO()
    image.save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _draw(canvas: "ImageDraw", mark: Mark, left: float, top: float) -> None:
    from PIL import ImageFont  # noqa: PLC0415 - an extra

    def at(x: float, y: float) -> tuple[float, float]:
        return (left + x) * SCALE, (top + y) * SCALE

    match mark:
        case Box(x, y, width, height, fill):
            if width > 0.0 and height > 0.0:
                canvas.rectangle((at(x, y), at(x + width, y + height)), fill=fill)
        case Path(points, stroke, width, dashed):
            for first, second in pairwise(points):
                for start, end in _dashes(first, second) if dashed else [(first, second)]:
                    canvas.line((at(*start), at(*end)), fill=stroke, width=round(width * SCALE))
        case Text(x, y, text, size, anchor, fill):
            font = ImageFont.load_default(size * SCALE)
            canvas.text(at(x, y), clean(text, 200), fill=fill, font=font, anchor=_ANCHORS[anchor])


def _dashes(
    first: tuple[float, float], second: tuple[float, float]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The pieces of a dashed line."""
    (x1, y1), (x2, y2) = first, second
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)

    def point(distance: float) -> tuple[float, float]:
        share = min(distance / length, 1.0)
        return x1 + (x2 - x1) * share, y1 + (y2 - y1) * share

    count = int(length / (_DASH + _GAP)) + 1
    return [(point(n * (_DASH + _GAP)), point(n * (_DASH + _GAP) + _DASH)) for n in range(count)]
