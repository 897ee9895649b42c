"""The boxes of a query with their places, as the page draws them."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.layers import Places, Point, place
from teola.viewer.critical_path import CriticalPath
from teola.viewer.formats import count, seconds
from teola.viewer.model import Span, Trace
from teola.viewer.web.boxes import Boxes, Edge, boxes_of

_CHAR, _PAD, _HEIGHT = 7.3, 22.0, 44.0  # of 12 px monospace
_MAX_LETTERS = 30


def drawing(trace: Trace, path: CriticalPath) -> dict[str, Any]:
    """Boxes with their labels and corners, lines with their points."""
    boxes = boxes_of(trace, path)
    labels = {name: _labels(trace, name, places) for name, places in boxes.spans.items()}
    sizes = {name: (_width(lines), _HEIGHT) for name, lines in labels.items()}
    placed = place(sizes, boxes.edges)
    return {
        "one_is": boxes.one_is,
        "size": _rounded(placed.size),
        "boxes": [
            {
                "name": name,
                "labels": labels[name],
                "corner": _rounded(placed.corners[name]),
                "size": _rounded(sizes[name]),
                "spans": [*spans],
                "engine": trace.spans[spans[0]].engine,
                "critical": name in boxes.on_path,
                "failed": any(trace.spans[one].error for one in spans),
            }
            for name, spans in boxes.spans.items()
        ],
        "lines": [_line(edge, boxes, placed, sizes) for edge in (*boxes.edges, *boxes.again)],
    }


def _labels(trace: Trace, name: str, places: Sequence[int]) -> list[str]:
    spans = [trace.spans[one] for one in places]
    ops = dict.fromkeys(span.op for span in spans)
    op = next(iter(ops)) if len(ops) == 1 else count(len(ops), "op")
    times = f" ×{len(spans):,}" if len(spans) > 1 else ""
    failed = "  failed" if any(span.error for span in spans) else ""
    return [_shortened(name), f"{op}{times}  {seconds(_busy_s(trace, spans))}{failed}"]


def _busy_s(trace: Trace, spans: Sequence[Span]) -> float:
    """From the first start to the last end."""
    return max(map(trace.end_of, spans)) - min(map(trace.start_of, spans))


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"…{name[1 - _MAX_LETTERS :]}"


def _width(lines: Sequence[str]) -> float:
    return max(map(len, lines)) * _CHAR + _PAD


def _line(
    edge: Edge, boxes: Boxes, placed: Places, sizes: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    source, target = edge
    points = [
        _below(placed.corners[source], sizes[source]),
        *placed.bends.get(edge, ()),
        _above(placed.corners[target], sizes[target]),
    ]
    return {
        "from": source,
        "to": target,
        "points": [_rounded(point) for point in points],
        "critical": edge in boxes.path_edges,
        "again": edge not in placed.bends,
    }


def _below(corner: Point, size: tuple[float, float]) -> Point:
    return corner[0] + size[0] / 2, corner[1] + size[1]


def _above(corner: Point, size: tuple[float, float]) -> Point:
    return corner[0] + size[0] / 2, corner[1]


def _rounded(point: Point) -> list[float]:
    return [round(value, 1) for value in point]
