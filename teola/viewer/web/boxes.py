"""The primitives of a query in groups, each a box of the drawing.

A box is a primitive of the plan with all its runs; where that gives too many, a call, then an
outermost call, then an op of an engine. So the drawing of any trace stays readable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from teola.viewer.critical_path import CriticalPath
from teola.viewer.model import Span, Trace, without_indices

MAX_BOXES = 300

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Boxes:
    """`one_is` says what a box stands for; names in the order they first became ready."""

    one_is: str
    spans: Mapping[str, Sequence[int]]  # by name: places in the trace
    edges: Sequence[Edge]  # from earlier names to later ones
    again: Sequence[Edge]  # from later ones to earlier: the next turn of a loop
    on_path: frozenset[str]
    path_edges: frozenset[Edge]


def boxes_of(trace: Trace, path: CriticalPath, max_boxes: int = MAX_BOXES) -> Boxes:
    """The finest groups that are not too many."""
    levels = [(one_is, list(map(name_of, trace.spans))) for one_is, name_of in _LEVELS]
    few = (level for level in levels if len(set(level[1])) <= max_boxes)
    one_is, names = next(few, levels[-1])
    return _boxes(one_is, names, trace, path)


_LEVELS: Sequence[tuple[str, Callable[[Span], str]]] = (
    ("primitive", lambda span: without_indices(span.node)),
    ("call", lambda span: span.call),
    ("outer call", lambda span: span.call.partition("/")[0]),
    ("op of an engine", lambda span: f"{span.op} @{span.engine}"),
)


def _boxes(one_is: str, names: Sequence[str], trace: Trace, path: CriticalPath) -> Boxes:
    spans: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        spans.setdefault(name, []).append(place)
    name_at = dict(zip((span.node for span in trace.spans), names, strict=True))
    rank = {name: number for number, name in enumerate(spans)}
    edges = [edge for edge in _edges(trace.spans, name_at) if edge[0] != edge[1]]
    steps = [name_at[step.span.node] for step in path.steps]
    return Boxes(
        one_is=one_is,
        spans=spans,
        edges=[(a, b) for a, b in edges if rank[a] < rank[b]],
        again=[(a, b) for a, b in edges if rank[a] > rank[b]],
        on_path=frozenset(steps),
        path_edges=frozenset(pairwise(steps)),
    )


def _edges(spans: Iterable[Span], name_at: Mapping[str, str]) -> Iterable[Edge]:
    """Each once. Items of a map share one tuple of dependencies, so each tuple is read once."""
    sources: dict[int, tuple[str, ...]] = {}
    edges: dict[Edge, None] = {}
    for span in spans:
        if id(span.deps) not in sources:
            sources[id(span.deps)] = tuple(dict.fromkeys(name_at[path] for path in span.deps))
        for source in sources[id(span.deps)]:
            edges[source, name_at[span.node]] = None
    return edges
