"""`order`: the items of a list whose order is free, as a prompt is best given them.

Without the attr `by`, which a pass sets, that is as they are.
"""

from graph_opt.graph import Node
from runtime.cost.sizes import first_arg_size
from runtime.host import Host
from runtime.ops.base import OpRun
from runtime.scope import Scope, arg_value


def _begin(host: Host, scope: Scope, node: Node) -> None:
    items = list(arg_value(node.args[0], scope.values))
    by = node.attrs.get("by")
    host.finish(scope, node, (host.order(by, items) if isinstance(by, str) else items,))


ORDER = OpRun(begin=_begin, size=first_arg_size)
