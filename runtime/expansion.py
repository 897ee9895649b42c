"""Nodes that open scopes: map (one for each item), cond (one of two), loop (one after another).

A body gets its captures as they come (`captures.py`); the node itself ends after the last of them.
"""

from typing import Any

from graph_opt.graph import Node, Ref
from runtime.captures import when_all_there
from runtime.dispatch import arg_value
from runtime.host import Host
from runtime.scope import Scope
from runtime.streams import Item, ItemStream, Pieces, Place, in_order, whole

MAP_WINDOW = 256  # items of a streamed map that may be open or wait untaken behind it


def expand_map(host: Host, scope: Scope, node: Node) -> None:
    """Open the body for each item as it comes; in turn, and in order, for a sequential map."""
    items, *_ = node.args
    captures = [scope.capture(arg) for arg in node.args[1:]]
    is_sequential = node.attrs.get("order") == "sequential"
    source = scope.stream(items) if isinstance(items, Ref) and items.stream else None
    if source is None:
        source = whole(arg_value(items, scope.values))
    results: list[Item] = []
    behind = scope.out_stream(node)
    body = scope.layout.bodies[node.name][0]

    def begin(places: list[Place], columns: list[list[Any]]) -> None:
        (place,), ((item,),) = places, columns
        path = f"{scope.path}{node.name}[{'.'.join(map(str, place))}]."
        host.open_scope(body, [item, *captures], path, lambda out: item_done(place, out[0]))

    def item_done(place: Place, value: Any) -> None:
        results.append((place, value))
        if behind is not None:
            behind.put(place, value)
        pieces.done(1)

    def finish() -> None:
        when_all_there(captures, end)

    def end() -> None:
        host.finish(scope, node, (in_order(results),))
        if behind is not None:
            behind.close()

    window = 1 if is_sequential else MAP_WINDOW if behind is not None else max(1, 1 << 30)
    reader = _ordered(source).reader() if is_sequential else source.reader()
    pieces = Pieces([reader], 1, window, begin, finish, behind)
    pieces.pump()


def expand_cond(host: Host, scope: Scope, node: Node) -> None:
    """Open the body that the condition chooses."""
    chosen = arg_value(node.args[0], scope.values)
    captures = [scope.capture(arg) for arg in node.args[1:]]
    branch = 0 if chosen else 1
    path = f"{scope.path}{node.name}{{{'then' if chosen else 'else'}}}."
    body = scope.layout.bodies[node.name][branch]

    def done(outputs: list[Any]) -> None:
        when_all_there(captures, lambda: host.finish(scope, node, outputs))

    host.open_scope(body, captures, path, done)


def expand_loop(host: Host, scope: Scope, node: Node) -> None:
    """Open the body with the state until it says to stop, at most `max` times."""
    state = arg_value(node.args[0], scope.values)
    captures = [scope.capture(arg) for arg in node.args[1:]]
    most = node.attrs["max"]
    assert isinstance(most, int), "the verifier lets only ints pass"
    body = scope.layout.bodies[node.name][0]

    def turn(number: int, state: Any) -> None:
        path = f"{scope.path}{node.name}[{number}]."

        def done(outputs: list[Any]) -> None:
            following, again = outputs
            if again and number + 1 < most:
                turn(number + 1, following)
            else:
                when_all_there(captures, lambda: host.finish(scope, node, (following,)))

        host.open_scope(body, [state, *captures], path, done)

    turn(0, state)


def _ordered(source: ItemStream) -> ItemStream:
    """The same items by place: they are complete, since a sequential map reads no open stream."""
    assert source.is_closed, "a sequential map must not read an open stream"
    return whole(in_order(source.items))
