"""A picture as SVG: no script, no font, nothing fetched; for notebooks and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from graph_opt.layers import Places, Point, Size, place
from graph_opt.picture import Box, Line, Picture, inner_pictures, shorten

CHAR, LINE_HEIGHT, PAD, MARGIN = 7.1, 16.0, 10.0, 12.0  # of 11 px monospace
_STROKE = {"data": "", "stream": ' stroke-width="2.5"', "control": ' stroke-dasharray="4 3"'}
_INK, _LINE, _FRAME = "#111827", "#6b7280", "#9ca3af"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture with its size, drawn at (0, 0)."""

    size: Size
    parts: tuple[str, ...]


def to_svg(picture: Picture) -> str:
    """The picture as one `<svg>` element."""
    drawn = _draw(picture, "a")
    width, height = drawn.size[0] + 2 * MARGIN, drawn.size[1] + 2 * MARGIN
    box = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} style="max-width:100%" role="img">'
    inside = f"translate({MARGIN:.0f} {MARGIN:.0f})"
    return "\n".join(
        [
            head,
            f"<title>{escape(picture.title)}</title>",
            f'<rect width="100%" height="100%" rx="8" fill="#ffffff" stroke="{_FRAME}"/>',
            f'<g transform="{inside}" font-family="monospace" font-size="11">',
            *drawn.parts,
            "</g>",
            "</svg>",
        ]
    )


def _draw(picture: Picture, prefix: str) -> Drawn:
    boxes = {box.id: _box(box, f"{prefix}{number}") for number, box in enumerate(picture.boxes)}
    sizes = {name: drawn.size for name, drawn in boxes.items()}
    places = place(sizes, [(line.source, line.target) for line in picture.lines])
    lines = [part for line in picture.lines for part in _line(line, places, sizes)]
    placed = [_at(places.corners[name], drawn) for name, drawn in boxes.items()]
    return Drawn(places.size, (*lines, *placed))


def _box(box: Box, prefix: str) -> Drawn:
    """A rounded box with its text, and below that the pictures inside, side by side."""
    texts = [shorten(line) for line in box.lines if line]
    width = max((len(text) for text in texts), default=0) * CHAR + 2 * PAD
    height = len(texts) * LINE_HEIGHT + PAD
    parts = list(_texts(texts))
    x = PAD
    tallest = 0.0
    for number, (_, inner) in enumerate(inner_pictures(box)):
        drawn = _draw(inner, f"{prefix}{number}_")
        top = height + (LINE_HEIGHT if len(box.inner) > 1 else 0.0)
        if len(box.inner) > 1:
            parts.append(_text(x, height + LINE_HEIGHT * 0.7, inner.title, ' font-style="italic"'))
        parts.append(_at((x, top), drawn))
        x += drawn.size[0] + 2 * PAD
        tallest = max(tallest, top - height + drawn.size[1] + PAD)
    size = (max(width, x - PAD if box.inner else 0.0), height + tallest)
    fill = "none" if box.inner else box.fill
    frame = (
        f'<rect width="{size[0]:.1f}" height="{size[1]:.1f}" rx="6" fill="{fill}" '
        f'stroke="{_FRAME}"/>'
    )
    return Drawn(size, (frame, *parts))


def _texts(texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        weight = ' font-weight="bold"' if number == 0 else ""
        yield _text(PAD, PAD / 2 + LINE_HEIGHT * (number + 0.75), text, weight)


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}"{more}>{escape(text)}</text>'


def _line(line: Line, places: Places, sizes: dict[str, Size]) -> Iterator[str]:
    if line.source == line.target:
        return
    source, target = places.corners[line.source], places.corners[line.target]
    start = (source[0] + sizes[line.source][0] / 2, source[1] + sizes[line.source][1])
    end = (target[0] + sizes[line.target][0] / 2, target[1])
    points = [start, *places.bends[line.source, line.target], end]
    label = f"<title>{escape(line.label)}</title>" if line.label else ""
    yield (
        f'<path d="{_path(points)}" fill="none" stroke="{_LINE}"{_STROKE[line.style]}>'
        f"{label}</path>"
    )
    x, y = end
    head = f"M{x - 4:.1f} {y - 7:.1f}L{x:.1f} {y:.1f}L{x + 4:.1f} {y - 7:.1f}Z"
    yield f'<path d="{head}" fill="{_LINE}"/>'


def _path(points: Sequence[Point]) -> str:
    curves = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        curves.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    return "".join(curves)


def _at(corner: Point, drawn: Drawn) -> str:
    inside = "\n".join(drawn.parts)
    return f'<g transform="translate({corner[0]:.1f} {corner[1]:.1f})">\n{inside}\n</g>'
