"""What an app with `speculate=` may run before it is chosen, for people."""

from collections.abc import Iterator

from graph_opt.analysis.early_part import early_part
from graph_opt.graph import Graph
from graph_opt.ops import OPS, is_choice
from graph_opt.paths import bodies_of, walk
from teola.viewer.formats import percent


def guess_lines(graph: Graph, share: float) -> Iterator[str]:
    """The budget, and of each branch the engine primitives that need not wait for its condition."""
    yield f"wasted at most {percent(share, 1.0)} of what is of use, and one guess"
    for path, node, _ in walk(graph):
        inside = bodies_of(node, path.removesuffix(node.name)) if is_choice(node) else ()
        for inner, body in inside:
            part = early_part(body)
            nodes = part.nodes if part is not None else ()
            names = [f"%{each.name}" for each in nodes if OPS[each.op].engine_kind is not None]
            yield f"%{inner.removesuffix('.')}: {', '.join(names) or 'nothing'}"
