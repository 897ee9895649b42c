"""`within`: what its body gives, if it ends within `timeout_s`; else it fails, as a query would."""

from collections.abc import Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.captures import when_all_there
from runtime.cost.sizes import Size
from runtime.errors import QueryTimeout
from runtime.host import Host
from runtime.ops.base import BodyOutputs, OpRun
from runtime.scope import Body, Scope


def _begin(host: Host, scope: Scope, node: Node) -> None:
    captures = [scope.capture(arg) for arg in node.args[1:]]
    seconds = node.attrs["timeout_s"]
    assert isinstance(seconds, int | float), "the verifier lets only numbers pass"
    (layout,) = scope.layout.bodies[node.name]

    def expired() -> None:
        problem = f"app {node.attrs['app']}() did not finish within {seconds:g} s"
        host.fail_at(scope, node, QueryTimeout(problem))

    def done(outputs: list[Any]) -> None:
        cancel_timer()
        when_all_there(captures, lambda: host.finish(scope, node, outputs))

    cancel_timer = host.later(scope, node, seconds, expired)
    host.open_body(scope, node, Body(layout, captures, done, (0,), "{in}"))


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    return outputs_of(node.bodies[0], args[1:])


WITHIN = OpRun(begin=_begin, size_of_bodies=_size)
