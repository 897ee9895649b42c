"""`loop`: runs its body on the state until the body says to stop, at most `max` times."""

from collections.abc import Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.captures import when_all_there
from runtime.cost.sizes import Size
from runtime.host import Host
from runtime.ops.base import BodyOutputs, OpRun
from runtime.scope import Body, Scope, arg_value


def _begin(host: Host, scope: Scope, node: Node) -> None:
    """Open the body with the state until it says to stop, at most `max` times."""
    state = arg_value(node.args[0], scope.values)
    captures = [scope.capture(arg) for arg in node.args[1:]]
    most = node.attrs["max"]
    assert isinstance(most, int), "the verifier lets only ints pass"
    layout = scope.layout.bodies[node.name][0]

    def turn(number: int, state: Any) -> None:
        def done(outputs: list[Any]) -> None:
            following, again = outputs
            if again and number + 1 < most:
                turn(number + 1, following)
            else:
                when_all_there(captures, lambda: host.finish(scope, node, (following,)))

        body = Body(layout, [state, *captures], done, (number,), f"[{number}]")
        host.open_body(scope, node, body)

    turn(0, state)


def _size(node: Node, args: Sequence[Size], outputs_of: BodyOutputs) -> Sequence[Size]:
    return outputs_of(node.bodies[0], args)


LOOP = OpRun(begin=_begin, size_of_bodies=_size)
