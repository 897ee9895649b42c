"""`map`: runs its body for each item of a list, all at once or one after another.

The bodies get their captures as they come (`captures.py`); the map ends after the last of them.
With `on_error` an item that fails is left out ("skip") or its exception stands there ("keep").
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from graph_opt.graph import Node, Ref
from runtime.captures import when_all_there
from runtime.cost.sizes import UNKNOWN, Size, list_of, size_of
from runtime.errors import QueryError, own_error
from runtime.host import Host
from runtime.item_streams import Item, ItemStream, Pieces, Place, in_order, whole
from runtime.ops.base import BodyOutputs, OpRun, Sizes
from runtime.scope import Body, Scope, arg_value

MAP_WINDOW = 256  # items that may be open, or wait untaken behind a streamed map


def _begin(host: Host, scope: Scope, node: Node) -> None:
    """Open the body for each item as it comes; in turn, and in order, for a sequential map."""
    items, *_ = node.args
    captures = [scope.capture(arg) for arg in node.args[1:]]
    is_sequential = node.attrs.get("order") == "sequential"
    source = scope.stream(items) if isinstance(items, Ref) and items.stream else None
    if source is None:
        source = whole(arg_value(items, scope.values))
    source.when_closed(lambda: host.expects(scope, node, len(source.items)))
    results: list[Item] = []
    behind = scope.out_stream(node)
    layout = scope.layout.bodies[node.name][0]
    on_error = node.attrs.get("on_error", "raise")

    def begin(places: list[Place], columns: list[list[Any]]) -> None:
        (place,), ((item,),) = places, columns
        label = f"[{'.'.join(map(str, place))}]" if len(place) > 1 else f"[{place[0]}]"
        body = Body(layout, [item, *captures], lambda out: item_done(place, out[0]), place, label)
        body.on_stop = item_stopped
        if on_error != "raise":
            body.on_error = partial(item_failed, place)
        host.open_body(scope, node, body)

    def item_failed(place: Place, error: QueryError) -> None:
        if on_error == "keep":
            item_done(place, own_error(error))
        else:
            pieces.done(1)

    def item_done(place: Place, value: Any) -> None:
        results.append((place, value))
        if behind is not None:
            behind.put(place, value)
        pieces.done(1)

    def finish() -> None:
        when_all_there(captures, end)

    def end() -> None:
        host.finish(scope, node, (in_order(results),))

    def item_stopped() -> None:
        pieces.done(1)

    window = 1 if is_sequential else _window(host, scope, node)
    reader = _ordered(source).reader() if is_sequential else source.reader()
    guard = partial(host.guard, scope, node)
    in_turn = partial(host.in_turn, scope, node)
    pieces = Pieces([reader], 1, window, begin, finish, behind, guard, in_turn)
    pieces.pump()


def _window(host: Host, scope: Scope, node: Node) -> int:
    """How many items may be open at once.

    Where a model writes for them, as many as it has slots: each item then goes on to its end
    before the next begins, and no more of them hold KV than are being written. Else as many as
    keep all engines busy: twice what they run at once.
    """
    writers = scope.layout.writers[node.name]
    busy = 2 * sum(map(host.room, scope.layout.engines[node.name]))
    most = max(MAP_WINDOW, busy) if scope.out_stream(node) is None else MAP_WINDOW
    return min((most, *map(host.num_slots, writers)))


def _ordered(source: ItemStream) -> ItemStream:
    """The same items by place: they are complete, since a sequential map reads no open stream."""
    assert source.is_closed, "a sequential map must not read an open stream"
    return whole(in_order(source.items))


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    items = args[0].as_list()
    outputs = outputs_of(node.bodies[0], [items.item or UNKNOWN, *args[1:]])
    return (list_of(items.num_items, outputs[0]),)


def _turns(node: Node, sizes: Sizes) -> float:
    return size_of(node.args[0], sizes).as_list().num_items


MAP = OpRun(begin=_begin, size_of_bodies=_size, turns=_turns)
