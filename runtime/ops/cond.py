"""`cond`: runs the body that the condition chooses."""

from collections.abc import Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.captures import when_all_there
from runtime.cost.sizes import Size, largest
from runtime.host import Host
from runtime.ops.base import BodyOutputs, OpRun
from runtime.scope import Body, Scope, arg_value


def _begin(host: Host, scope: Scope, node: Node) -> None:
    """Open the body that the condition chooses."""
    chosen = arg_value(node.args[0], scope.values)
    captures = [scope.capture(arg) for arg in node.args[1:]]
    branch, label = (0, "{then}") if chosen else (1, "{else}")
    layout = scope.layout.bodies[node.name][branch]
    through = host.chosen(scope, node, branch)

    def done(outputs: list[Any]) -> None:
        host.branch_done(scope, node)
        when_all_there(captures, lambda: host.finish(scope, node, outputs))

    host.open_body(scope, node, Body(layout, captures, done, (branch,), label, through=through))


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    branches = [outputs_of(body, args[1:]) for body in node.bodies]
    return [largest(sizes) for sizes in zip(*branches, strict=False)]


COND = OpRun(begin=_begin, size_of_bodies=_size)
