"""`elements`: a text that may still be decoded -> the elements of the list in it, one by one."""

from collections.abc import Sequence

from graph_opt.graph import Node, Ref
from runtime.cost.schema_sizes import list_size_at
from runtime.cost.sizes import Size
from runtime.element_parsers import element_parser
from runtime.host import Host
from runtime.ops.base import OpRun
from runtime.scope import Scope


def _begin(host: Host, scope: Scope, node: Node) -> None:
    """Emit the elements of a text while it is decoded; at its end the whole text is checked."""
    (text,) = node.args
    assert isinstance(text, Ref), "only a value is a stream"
    parser = element_parser(node, host.symbols)
    behind = scope.out_stream(node)
    growing = scope.text(text.name)
    num_given = 0

    def on_text() -> None:
        nonlocal num_given
        try:
            found = parser.finish(growing.text) if growing.is_closed else None
            more = parser.more(growing.text) if found is None else found[num_given:]
        except Exception as error:  # the outcome of this node
            host.fail_at(scope, node, error)
            return
        if behind is not None:
            behind.put_all([((num_given + i,), element) for i, element in enumerate(more)])
        num_given += len(more)
        if found is not None:
            host.finish(scope, node, (found,))
        host.drain()

    growing.when_grown(on_text)
    on_text()


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    return (list_size_at(args[0], node.attrs.get("path")),)


ELEMENTS = OpRun(begin=_begin, size=_size)
