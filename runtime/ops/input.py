"""`input`: a parameter of the graph; its value is given by the opener of the scope."""

from graph_opt.graph import Node
from runtime.errors import FailedInput
from runtime.host import Host
from runtime.ops.base import OpRun
from runtime.scope import Scope


def _begin(host: Host, scope: Scope, node: Node) -> None:
    value = scope.param(node.name)
    if isinstance(value, FailedInput):
        raise value.error
    host.finish(scope, node, (value,))


INPUT = OpRun(begin=_begin)  # its size is the caller's argument: see `graph_sizes`
