"""`flatten`: a list of lists -> one list, of which equal items may be left out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from graph_opt.graph import Node, Ref
from runtime.cost.sizes import UNKNOWN, Size, list_of
from runtime.host import Host
from runtime.item_streams import Item, Pieces, Place, in_order
from runtime.ops.base import OpRun
from runtime.scope import Scope
from runtime.unique_items import identity, unique_items


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    items = [item for part in args[0] for item in part]
    return unique_items(items) if node.attrs.get("unique") else items


def _begin_streamed(host: Host, scope: Scope, node: Node) -> None:
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

    guard = partial(host.guard, scope, node)
    pieces = Pieces([scope.stream(lists).reader()], 1 << 30, 1 << 30, begin, finish, None, guard)
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


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    outer = args[0].as_list()
    inner = (outer.item or UNKNOWN).as_list()
    return (list_of(outer.num_items * inner.num_items, inner.item or UNKNOWN),)


FLATTEN = OpRun(run=_run, begin_streamed=_begin_streamed, size=_size)
