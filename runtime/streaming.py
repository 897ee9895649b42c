"""Nodes that read streams: elementwise engine work in micro-batches, flattening, decoded elements.

A piece goes to the engine as soon as there is an item and room; the engine's scheduler fuses what
waits into batches of at most the efficient size. So a batch starts whenever the engine is idle,
and nothing waits for one to fill.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from backends.base import Result
from backends.documents import Doc, Index
from graph_opt.graph import Node, Ref
from runtime.elements import element_parser
from runtime.host import Host
from runtime.inline import identity, unique_items
from runtime.scope import Scope
from runtime.streams import Item, Pieces, Place, in_order

WINDOW_PIECES = 4  # pieces of a node that may be unfinished or wait untaken behind it


def run_in_pieces(host: Host, scope: Scope, node: Node) -> None:
    """Run an elementwise engine node over its streams, and put the results back in order."""
    names = [arg.name for arg in node.args if isinstance(arg, Ref) and arg.stream]
    behind = scope.out_stream(node)
    spread, combine, without = PIECEWISE[node.op]
    results: list[Item] = []
    size = host.piece_size(node)

    numbers = count()

    def begin(places: list[Place], columns: list[list[Any]]) -> None:
        values = dict(zip(names, columns, strict=True))
        suffix = "" if is_one_piece else f"#{next(numbers)}"
        host.submit_piece(
            scope, node, suffix, values, without, lambda result: end(places, columns, result)
        )

    def end(places: list[Place], columns: list[list[Any]], result: Result) -> None:
        items = list(zip(places, spread(result.outputs[0], columns), strict=True))
        results.extend(items)
        if behind is not None:
            behind.put_all(items)
        pieces.done(len(places))

    def finish() -> None:
        host.finish(scope, node, (combine(node, results),))
        if behind is not None:
            behind.close()

    sources = [scope.stream(Ref(name, stream=True)) for name in names]
    is_one_piece = all(s.is_closed for s in sources) and len(sources[0].items) <= size
    readers = [source.reader() for source in sources]
    pieces = Pieces(readers, size, WINDOW_PIECES * size, begin, finish, behind)
    pieces.pump()


def run_flatten(host: Host, scope: Scope, node: Node) -> None:
    """Pass the items of each list on as it comes."""
    (lists,) = node.args
    assert isinstance(lists, Ref), "only a value is a stream"
    behind = scope.out_stream(node)
    results: list[Item] = []
    firsts = _Firsts() if node.attrs.get("unique") else None

    def begin(places: list[Place], columns: list[list[Any]]) -> None:
        take(
            list(zip(places, columns[0], strict=True))
            if firsts is None
            else firsts.admit(places, columns[0])
        )
        pieces.done(len(places))

    def take(parts: Sequence[Item]) -> None:
        items = [((*place, i), item) for place, part in parts for i, item in enumerate(part)]
        results.extend(items)
        if behind is not None:
            behind.put_all(items)

    def finish() -> None:
        if firsts is not None:
            take(firsts.rest())
        host.finish(scope, node, (in_order(results),))
        if behind is not None:
            behind.close()

    pieces = Pieces([scope.stream(lists).reader()], 1 << 30, 1 << 30, begin, finish)
    pieces.pump()


class _Firsts:
    """Keeps the first of equal items: in the order of the lists, whatever order they come in."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._early: dict[Place, Sequence[Any]] = {}
        self._next = 0

    def admit(self, places: Sequence[Place], parts: Sequence[Sequence[Any]]) -> list[Item]:
        """The lists whose turn it is now, without what stood in an earlier one."""
        self._early.update(zip(places, parts, strict=True))
        admitted: list[Item] = []
        while (self._next,) in self._early:
            admitted.append(((self._next,), self._new(self._early.pop((self._next,)))))
            self._next += 1
        return admitted

    def rest(self) -> list[Item]:
        """What is left when all lists are there."""
        return [(place, self._new(part)) for place, part in sorted(self._early.items())]

    def _new(self, part: Sequence[Any]) -> list[Any]:
        fresh = unique_items(part, self._seen)
        self._seen.update(map(identity, fresh))
        return fresh


def run_elements(host: Host, scope: Scope, node: Node) -> None:
    """Emit the elements of a text while it is decoded; at its end the whole text is checked."""
    (text,) = node.args
    assert isinstance(text, Ref), "only a value is a stream"
    parser = element_parser(node, host.symbols)
    behind = scope.out_stream(node)
    growing = scope.text(text.name)
    num_emitted = 0

    def on_text() -> None:
        nonlocal num_emitted
        try:
            found = parser.finish(growing.text) if growing.is_closed else None
            complete = parser.elements(growing.text) if found is None else found
        except Exception as error:  # the outcome of this node
            host.fail_at(scope, node, error)
            return
        if behind is not None:
            behind.put_all([((i,), complete[i]) for i in range(num_emitted, len(complete))])
        num_emitted = max(num_emitted, len(complete))
        if found is not None:
            host.finish(scope, node, (found,))
            if behind is not None:
                behind.close()
        host.drain()

    growing.when_grown(on_text)
    on_text()


def _rows(output: Any, columns: Sequence[list[Any]]) -> Sequence[Any]:  # noqa: ARG001
    return list(output)


def _ids(output: Index, columns: Sequence[list[Any]]) -> Sequence[Any]:
    assert output.ids is not None, "an ingest names what it wrote"
    num_items = len(columns[0])
    return [(output.collection, output.ids, i, num_items) for i in range(num_items)]


def _back_in_place(output: list[Doc], columns: Sequence[list[Any]]) -> Sequence[Any]:
    """Ranked documents in the order they were given, by their content."""
    waiting: dict[tuple[str, str], list[Doc]] = {}
    for doc in reversed(output):
        waiting.setdefault((doc.id, doc.text), []).append(doc)
    return [waiting[doc.id, doc.text].pop() for doc in columns[-1]]


def _stack(node: Node, results: Sequence[Item]) -> Any:  # noqa: ARG001
    rows = in_order(results)
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _index(node: Node, results: Sequence[Item]) -> Index:
    parts = in_order(results)
    collection = parts[0][0] if parts else str(node.attrs["engine"])
    ids = dict.fromkeys(i for _, ids, nth, _ in parts if nth == 0 for i in ids)
    return Index(collection, tuple(ids))


def _best(node: Node, results: Sequence[Item]) -> list[Doc]:
    ranked = sorted(in_order(results), key=lambda doc: -(doc.score or 0.0))
    k = node.attrs.get("k")
    return ranked[:k] if isinstance(k, int) else ranked


Spread = Callable[[Any, Sequence[list[Any]]], Sequence[Any]]
Combine = Callable[[Node, Sequence[Item]], Any]

PIECEWISE: Mapping[str, tuple[Spread, Combine, tuple[str, ...]]] = {
    "embed": (_rows, _stack, ()),
    "ingest": (_ids, _index, ()),
    "rerank": (_back_in_place, _best, ("k",)),
}
