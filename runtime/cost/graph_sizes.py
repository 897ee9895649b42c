"""How large the values of a graph will be.

Sizes flow through a graph like the values do: a split makes chunks of so many tokens, a search
gives k of them, a join is as long as its items (see the `size` of each op).
"""

from collections.abc import Mapping, Sequence

from graph_opt.graph import Graph, Node
from runtime.cost.sizes import (
    CHUNK_TOKENS,
    LIST_ITEMS,
    TEXT_TOKENS,
    UNKNOWN,
    Size,
    largest,
    list_of,
    size_of,
)
from runtime.ops.table import OP_RUNS


def sizes_of(graph: Graph) -> dict[str, Size]:
    """The size of each value by its name, of those in bodies too; of equal names the larger."""
    found: dict[str, Size] = {}
    _walk(graph, [_param(node) for node in graph.params], found)
    return found


def _walk(graph: Graph, params: Sequence[Size], found: dict[str, Size]) -> dict[str, Size]:
    names = [node.name for node in graph.params]
    given = dict.fromkeys(names, UNKNOWN) | dict(zip(names, params, strict=False))
    here: dict[str, Size] = {}
    for node in graph.nodes:
        is_param = node.name in given
        outputs = (given[node.name],) if is_param else _outputs(node, here, found)
        for name, size in zip(node.outputs, outputs, strict=False):
            here[name] = size
            found[name] = largest((size, found.get(name, size)))
    return here


def _outputs(node: Node, here: Mapping[str, Size], found: dict[str, Size]) -> Sequence[Size]:
    rules = OP_RUNS[node.op]
    args = [size_of(arg, here) for arg in node.args]
    if rules.size_of_bodies is None:
        return rules.size(node, args)

    def outputs_of(body: Graph, params: Sequence[Size]) -> Sequence[Size]:
        inner = _walk(body, params, found)
        return [inner.get(name, UNKNOWN) for name in body.outputs]

    return rules.size_of_bodies(node, args, outputs_of)


def _param(node: Node) -> Size:
    type_ = str(node.attrs.get("type", ""))
    is_list = type_.partition("[")[0] in ("list", "tuple", "Sequence", "set", "frozenset")
    item = Size(CHUNK_TOKENS if "Doc" in type_ else TEXT_TOKENS)
    return list_of(LIST_ITEMS, item) if is_list else item
