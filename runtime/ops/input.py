"""`input`: a parameter of the graph; its value comes from whoever opened the scope."""

from graph_opt.graph import Node
from runtime.host import Host
from runtime.ops.base import OpRun
from runtime.scope import Scope


def _begin(host: Host, scope: Scope, node: Node) -> None:
    host.finish(scope, node, (scope.param(node.name),))


INPUT = OpRun(begin=_begin)  # its size is the caller's argument: see `graph_sizes`
