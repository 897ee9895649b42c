"""From a node with its values to the request that an engine runs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, cast
from uuid import uuid4

from backends.base import Part, Request, Role, Turn
from graph_opt.graph import CHUNKS, SPACE, Arg, Marker, Node
from graph_opt.ops import OPS
from runtime.chunked_text import ChunkedText
from runtime.clock import virtual_numbers
from runtime.ops.table import OP_RUNS
from runtime.scope import arg_value
from runtime.value_text import to_text

_PROCESS = uuid4().hex[:16]
_ids = count()


def request_attrs(
    node: Node, symbols: Mapping[str, Any], without: Collection[str] = ()
) -> Mapping[str, Any]:
    """The attrs of all requests of a node, `without` some of its own."""
    left_out = {"engine", "objective", "reuse", "ahead_of", "asked", *without}
    attrs: dict[str, Any] = {name: v for name, v in node.attrs.items() if name not in left_out}
    of_op = OP_RUNS[node.op].request_attrs
    return attrs if of_op is None else of_op(attrs, symbols)


def make_request(
    node: Node,
    values: Mapping[str, Any],
    attrs: Mapping[str, Any],
    emit: Callable[[str], None] | None = None,
) -> Request:
    """The request of an engine node whose inputs are all in `values`."""
    return Request(
        id=new_request_id(),
        op=node.op,
        inputs=_inputs(node, values),
        attrs=attrs,
        num_items=_num_items(node, OP_RUNS[node.op].items_arg, values),
        emit=emit,
    )


def new_request_id() -> str:
    """32 hex digits that no other request of any process has; on a virtual clock the same in each
    run."""
    if (numbers := virtual_numbers()) is not None:
        return f"{next(numbers):032x}"
    return f"{_PROCESS}{next(_ids):016x}"


def _inputs(node: Node, values: Mapping[str, Any]) -> tuple[Any, ...]:
    first_part = OPS[node.op].prompt_from
    if first_part is not None:
        before = (arg_value(arg, values) for arg in node.args[:first_part])
        return (*before, *prompt_parts(node.args[first_part:], values))
    return tuple([arg_value(arg, values) for arg in node.args])


def prompt_parts(args: Sequence[Arg], values: Mapping[str, Any]) -> Iterator[Part]:
    """The pieces of a prompt as the engine takes them."""
    space, is_chunked = "", False
    for arg in args:
        if arg == SPACE:
            space = " "
        elif arg == CHUNKS:
            is_chunked = True
        elif isinstance(arg, Marker):
            yield Turn(cast(Role, arg.word))
        else:
            value = arg_value(arg, values)
            if is_chunked and isinstance(value, ChunkedText):
                yield from value.behind(space)
            else:
                yield space + to_text(value)
            space, is_chunked = "", False


def _num_items(node: Node, items_arg: int | None, values: Mapping[str, Any]) -> int:
    if items_arg is None:
        return 1
    value = arg_value(node.args[items_arg], values)
    return max(1, len(value)) if isinstance(value, (list, tuple)) else 1
