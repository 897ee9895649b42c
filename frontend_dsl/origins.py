"""Which calls of teola's own functions a list of documents comes from, within one trace."""

from collections.abc import Callable, Iterator
from typing import Any

from frontend_dsl.value import Value
from graph_opt.graph import Node, Ref

_HANDED_ON = ("map", "flatten", "concat", "pack")  # documents go in, documents come out
_OWN_FUNCTIONS = "frontend_dsl."


def calls_behind(docs: Any, function: Callable[..., Any]) -> list[Node]:
    """The nodes that call `function` for these documents, in the order of the program.

    Documents are followed through lists and through teola's own functions, not through tools of the
    user's, which may make documents of anything.
    """
    if not isinstance(docs, Value):
        return []
    tracer = docs._tracer
    makers = {output: node for node in tracer.nodes for output in node.outputs}
    found: set[str] = set()
    waiting = [docs._name]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        waiting += _handed_on(node, tracer.symbols.values)
    symbols = tracer.symbols.values
    return [n for n in tracer.nodes if n.name in found and _function(n, symbols) is function]


def _handed_on(node: Node, symbols: Any) -> Iterator[str]:
    module = str(getattr(_function(node, symbols), "__module__", ""))
    if node.op in _HANDED_ON or module.startswith(_OWN_FUNCTIONS):
        args = node.args[:1] if node.op in ("map", "call") else node.args
        yield from (arg.name for arg in args if isinstance(arg, Ref))


def _function(node: Node, symbols: Any) -> Any:
    return symbols.get(str(node.attrs.get("fn"))) if node.op == "call" else None
