"""Stops the work that a failure makes needless: cancels requests, closes scopes, frees values."""

from graph_opt.graph import Node
from runtime.item_streams import Place
from runtime.scope import Scope
from runtime.stops import EVERYTHING, Stops


def stop(scope: Scope, node: Node, place: Place = (), *, is_alone: bool = False) -> None:
    """Stop a node, its bodies that are later than `place`, and unless alone all later nodes.

    The streams of the scope lose their bounds: a reader that is stopped takes nothing more, and
    must not hold up a producer that goes on.
    """
    stops = scope.stops = scope.stops or Stops()
    if is_alone:
        stops.nodes[node.name] = place
    else:
        stops.index, stops.place = scope.layout.index[node.name], place
    _cancel_stopped(scope)
    _close_stopped(scope, node, place)
    for stream in scope.streams.values():
        stream.lift_bounds()


def close(scope: Scope) -> None:
    """Stop all of a scope and of the scopes below it, and free what they hold."""
    scope.stops = Stops(EVERYTHING)
    _cancel_stopped(scope)
    for child in list(scope.children):
        close(child)
    scope.release_all()
    if scope.above is not None:
        scope.above.scope.children.pop(scope, None)


def close_bodies(scope: Scope, node: Node) -> None:
    """Close all open bodies of a node."""
    for child in list(scope.children):
        if child.is_body_of(node):
            close(child)


def _cancel_stopped(scope: Scope) -> None:
    for request_id, (node, cancel) in list(scope.running.items()):
        if scope.is_stopped(node):
            del scope.running[request_id]
            cancel()


def _close_stopped(scope: Scope, node: Node, place: Place) -> None:
    """Close the bodies that are stopped, and tell the node on the way of its own among them."""
    told = []
    for child in list(scope.children):
        assert child.above is not None, "a child was opened by a node"
        its_node, its_place = child.above.node, child.body.place
        is_stopped = scope.is_body_stopped(its_node, its_place)
        if is_stopped:
            close(child)
        if its_node.name == node.name and (is_stopped or its_place == place):
            told.append(child)
    for child in told:
        child.body.stopped()
