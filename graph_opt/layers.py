"""A layered drawing (Sugiyama): rows by depth, few crossings, long lines bent around boxes.

Pure numbers: sizes in, places out. A line over several rows gets a thin placeholder in each row
between, so that no box stands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP_X, GAP_Y = 18.0, 34.0
BEND_WIDTH = 10.0
SWEEPS = 4

Point = tuple[float, float]
Size = tuple[float, float]
Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are; the top left corner of the drawing is (0, 0)."""

    corners: Mapping[str, Point]  # top left, of each box
    bends: Mapping[Edge, Sequence[Point]]  # of each line, from its first box down to its last
    size: Size


def place(sizes: Mapping[str, Size], edges: Iterable[Edge]) -> Places:
    """Places for boxes of these sizes. Edges lead from earlier boxes to later ones of `sizes`."""
    known = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    rows, chains = _rows(list(sizes), known)
    _order(rows, chains)
    widths = {item: sizes[item][0] if item in sizes else BEND_WIDTH for row in rows for item in row}
    heights = [max((sizes[i][1] for i in row if i in sizes), default=0.0) for row in rows]
    whole = max((_width(row, widths) for row in rows), default=0.0)
    corners: dict[str, Point] = {}
    passed: dict[str, tuple[Point, Point]] = {}  # where a line enters and leaves a row
    y = 0.0
    for row, height in zip(rows, heights, strict=True):
        x = (whole - _width(row, widths)) / 2
        for item in row:
            if item in sizes:
                corners[item] = (x, y + (height - sizes[item][1]) / 2)
            else:
                middle = x + BEND_WIDTH / 2
                passed[item] = ((middle, y), (middle, y + height))
            x += widths[item] + GAP_X
        y += height + GAP_Y
    bends = {
        edge: [point for item in chain[1:-1] for point in passed[item]]
        for edge, chain in chains.items()
    }
    return Places(corners, bends, (whole, max(0.0, y - GAP_Y)))


def _rows(
    names: Sequence[str], edges: Sequence[Edge]
) -> tuple[list[list[str]], dict[Edge, list[str]]]:
    """The boxes by depth with placeholders, and what each line goes through."""
    before: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        before[target].append(source)
    depth: dict[str, int] = {}
    for name in names:
        depth[name] = max((depth[source] + 1 for source in before[name]), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        rows[depth[name]].append(name)
    chains: dict[Edge, list[str]] = {}
    for source, target in edges:
        between = [f"{source} > {target} {row}" for row in range(depth[source] + 1, depth[target])]
        for row, item in enumerate(between, start=depth[source] + 1):
            rows[row].append(item)
        chains[source, target] = [source, *between, target]
    return rows, chains


def _order(rows: list[list[str]], chains: Mapping[Edge, Sequence[str]]) -> None:
    """Move each item towards the middle of its neighbours, row by row, down and up again."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        near = above if is_down else below
        order = range(1, len(rows)) if is_down else range(len(rows) - 2, -1, -1)
        for number in order:
            _sort(rows[number], rows[number - 1 if is_down else number + 1], near)


def _sort(row: list[str], fixed: Sequence[str], near: Mapping[str, Sequence[str]]) -> None:
    """Sort a row by where the neighbours of its items stand in the fixed row."""
    where = {item: (index + 0.5) / len(fixed) for index, item in enumerate(fixed)}
    goal = {}
    for index, item in enumerate(row):
        found = [where[other] for other in near.get(item, ()) if other in where]
        goal[item] = sum(found) / len(found) if found else (index + 0.5) / len(row)
    row.sort(key=lambda item: goal[item])


def _width(row: Sequence[str], widths: Mapping[str, float]) -> float:
    return sum(widths[item] for item in row) + GAP_X * max(0, len(row) - 1)
