"""`attempt`: what its first body gives; if anything in that fails, what the second makes of it.

With `only_invalid` it takes only the failure of a text that is no value of its declared type.
"""

from collections.abc import Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.captures import when_all_there
from runtime.cost.sizes import UNKNOWN, Size, largest
from runtime.errors import OutputInvalid, QueryError, own_error
from runtime.host import Host
from runtime.ops.base import BodyOutputs, OpRun
from runtime.scope import Body, Scope


def _begin(host: Host, scope: Scope, node: Node) -> None:
    captures = [scope.capture(arg) for arg in node.args[1:]]
    tried, other = scope.layout.bodies[node.name]

    def done(outputs: list[Any]) -> None:
        when_all_there(captures, lambda: host.finish(scope, node, outputs))

    def failed(error: QueryError) -> None:
        if node.attrs.get("only_invalid") and not isinstance(error, OutputInvalid):
            host.fail_at(scope, node, error)
            return
        params = [own_error(error), *captures]
        host.open_body(scope, node, Body(other, params, done, (1,), "{otherwise}"))

    body = Body(tried, [None, *captures], done, (0,), "{try}", on_error=failed)
    host.open_body(scope, node, body)


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    bodies = [outputs_of(body, [UNKNOWN, *args[1:]]) for body in node.bodies]
    return [largest(sizes) for sizes in zip(*bodies, strict=False)]


ATTEMPT = OpRun(begin=_begin, size_of_bodies=_size)
