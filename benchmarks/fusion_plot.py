"""Draws what plans recover against what they cost, as SVG."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 460, 60, 50, 20, 20
COLOURS = {
    "query": "#2563eb",
    "blend": "#dc2626",
    "gradual": "#ea580c",
    "lego": "#16a34a",
    "random": "#6b7280",
    "craft": "#9333ea",
    "reuse": "#111827",
}
DASHES = {"": "", "context": "6 3", "alone": "2 3", "context alone": "9 2 2 2"}  # by encoding


def draw(entries: Sequence[dict[str, Any]]) -> str:
    """One point a mode with the interval of its R, and a line through plans of one name whose
    chunks are encoded alike."""
    shown = [x for x in entries if x["mode"] != "exact" and _is_shown(x["mode"])]
    most = max(x["cost"] for x in shown) * 1.08
    body = [*_axes(most)]
    for (name, colour), (encoding, dash) in product(COLOURS.items(), DASHES.items()):
        own = [x for x in shown if (_name(x["mode"]), _encoding(x["mode"])) == (name, encoding)]
        body += _line(sorted(own, key=lambda x: float(x["cost"])), colour, dash, most)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(body)}</svg>\n'
    )


def _line(entries: Sequence[dict[str, Any]], colour: str, dash: str, most: float) -> Iterator[str]:
    points = [(_x(x["cost"], most), _y(x["R_kl"])) for x in entries]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-dasharray="{dash}"/>'
    for (x, y), entry in zip(points, entries, strict=True):
        low, high = map(_y, entry["R_kl_ci"])
        yield (
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" opacity=".35"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
            f'<text x="{x + 6:.1f}" y="{y - 5:.1f}">{escape(entry["mode"])}</text>'
        )


def _is_shown(mode: str) -> bool:
    """One way of encoding only, and one length of it, or labels would hide each other."""
    return ":" not in mode and "first" not in mode and ("context" in mode) <= ("(256)" in mode)


def _name(mode: str) -> str:
    return mode.partition("+")[0].partition("(")[0]


def _encoding(mode: str) -> str:
    return " ".join(x.partition("(")[0] for x in mode.split("+")[1:])


def _x(cost: float, most: float) -> float:
    return LEFT + cost / most * (WIDTH - LEFT - RIGHT)


def _y(r: float) -> float:
    low, high = -0.3, 1.0
    return TOP + (high - max(low, min(high, r))) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _axes(most: float) -> list[str]:
    floor, end = _y(-0.3), WIDTH - RIGHT
    lines = [f'<path d="M{LEFT} {TOP}V{floor}H{end}" fill="none" stroke="#111827"/>']
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        lines.append(
            f'<path d="M{LEFT} {y:.1f}H{end}" stroke="#e5e7eb"/>'
            f'<text x="{LEFT - 28}" y="{y + 4:.1f}">{tenth / 10:.1f}</text>'
        )
    for i in range(1, int(most * 10) + 1):
        x = _x(i / 10, most)
        lines.append(f'<text x="{x - 8:.1f}" y="{floor + 16:.1f}">{i / 10:.1f}</text>')
    middle = (LEFT + end) / 2
    lines.append(
        f'<text x="{middle - 90:.0f}" y="{HEIGHT - 12}">share of token-layers computed</text>'
    )
    lines.append(
        f'<text transform="translate(16 {HEIGHT / 2:.0f}) rotate(-90)">R of KL</text>',
    )
    return lines
