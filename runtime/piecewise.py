"""Elementwise engine work over streams, in micro-batches.

A piece goes to the engine as soon as there is an item and room; the engine's scheduler fuses what
waits into batches of at most the efficient size. So a batch starts whenever the engine is idle,
and nothing waits for one to fill.
"""

from functools import partial
from itertools import count
from typing import Any

from backends.base import Result
from graph_opt.graph import Node, Ref
from runtime.host import Host
from runtime.item_streams import Item, Pieces, Place
from runtime.ops.table import OP_RUNS
from runtime.scope import Scope

WINDOW_PIECES = 4  # pieces of a node that may be unfinished or wait untaken behind it


def run_in_pieces(host: Host, scope: Scope, node: Node) -> None:
    """Run an elementwise engine node over its streams, and put the results back in order."""
    names = [arg.name for arg in node.args if isinstance(arg, Ref) and arg.stream]
    behind = scope.out_stream(node)
    rule = OP_RUNS[node.op].pieces
    assert rule is not None, "only an op that runs in pieces reads streams"
    results: list[Item] = []
    size = host.piece_size(node)

    numbers = count()

    def begin(places: list[Place], columns: list[list[Any]]) -> None:
        values = dict(zip(names, columns, strict=True))
        suffix = "" if is_one_piece else f"#{next(numbers)}"
        host.submit_piece(
            scope, node, suffix, values, rule.without, lambda result: end(places, columns, result)
        )

    def end(places: list[Place], columns: list[list[Any]], result: Result) -> None:
        items = list(zip(places, rule.spread(result.outputs[0], columns), strict=True))
        results.extend(items)
        if behind is not None:
            behind.put_all(items)
        pieces.done(len(places))

    def finish() -> None:
        host.finish(scope, node, (rule.combine(node, results),))

    sources = [scope.stream(Ref(name, stream=True)) for name in names]
    is_one_piece = all(s.is_closed for s in sources) and len(sources[0].items) <= size
    readers = [source.reader() for source in sources]
    guard = partial(host.guard, scope, node)
    pieces = Pieces(readers, size, WINDOW_PIECES * size, begin, finish, behind, guard)
    pieces.pump()
