"""`first`: bodies race; the first that ends well gives the value, the others are stopped."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from graph_opt.graph import Node
from runtime.captures import when_all_there
from runtime.cost.sizes import Size, largest
from runtime.errors import QueryError
from runtime.host import Host
from runtime.ops.base import BodyOutputs, OpRun
from runtime.scope import Body, Scope
from runtime.stopping import close_bodies


def _begin(host: Host, scope: Scope, node: Node) -> None:
    """Open all bodies; when all fail, the error is that of the first in the program."""
    captures = [scope.capture(arg) for arg in node.args[1:]]
    errors: dict[int, QueryError] = {}

    def done(outputs: list[Any]) -> None:
        close_bodies(scope, node)
        when_all_there(captures, lambda: host.finish(scope, node, outputs))

    def failed(number: int, error: QueryError) -> None:
        errors[number] = error
        if len(errors) == len(node.bodies):
            host.fail_at(scope, node, errors[0])

    for number, layout in enumerate(scope.layout.bodies[node.name]):
        on_error = partial(failed, number)
        body = Body(layout, captures, done, (number,), f"{{{number}}}", on_error=on_error)
        host.open_body(scope, node, body)


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    bodies = [outputs_of(body, args[1:]) for body in node.bodies]
    return [largest(sizes) for sizes in zip(*bodies, strict=False)]


FIRST = OpRun(begin=_begin, size_of_bodies=_size)
