"""What tells of each piece of a text that an engine writes."""

from collections.abc import Callable

from graph_opt.graph import Node
from runtime.host import Host
from runtime.outputs import Outputs
from runtime.scope import Scope, given_as
from runtime.telling import Teller


def emitter_of(
    host: Host, outputs: Outputs | None, teller: Teller, scope: Scope, node: Node
) -> Callable[[str], None] | None:
    """None where nobody wants the pieces, since a server sends a whole answer at less cost."""
    path = scope.path + node.name
    is_output = not scope.path and node.name in scope.layout.graph.outputs
    given = given_as(scope, node.name)
    is_final = given is not None and (outputs is None or given in outputs.final)
    on_text = outputs.on_text if outputs is not None and is_output else None
    growing = scope.growing_text(node)
    if on_text is None and growing is None and not teller.is_heard:
        return None
    variable = node.origin.variable if node.origin else ""
    named = {"variable": variable} if variable else {}
    is_first = True

    def emit(text: str) -> None:
        nonlocal is_first
        if scope.is_stopped(node):
            return
        if is_first:
            is_first = False
            teller.tell("first_token", path, node.op)
        teller.tell("text", path, node.op, {"text": text, "final": is_final, **named})
        if on_text is not None:
            on_text(node.name, text)
        if growing is not None:
            host.guard(scope, node, lambda: growing.grow(text))

    return emit
