"""From a node with its values to the request that an engine runs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Literal, cast
from uuid import uuid4

from backends.base import Part, Request, Turn
from graph_opt.graph import Arg, Marker, Node, Ref
from graph_opt.ops import OPS
from runtime.inline import to_text

_PROCESS = uuid4().hex[:16]
_ids = count()


def make_request(
    node: Node,
    values: Mapping[str, Any],
    symbols: Mapping[str, Any],
    emit: Callable[[str], None] | None = None,
    without: Collection[str] = (),
) -> Request:
    """The request of an engine node whose inputs are all in `values`, `without` some attrs."""
    left_out = {"engine", *without}
    attrs: dict[str, Any] = {name: v for name, v in node.attrs.items() if name not in left_out}
    if node.op == "call":
        attrs = {"fn": symbols[str(attrs["fn"])], "kwargs": tuple(_names(attrs))}
    return Request(
        id=f"{_PROCESS}{next(_ids):016x}",
        op=node.op,
        inputs=_inputs(node, values),
        attrs=attrs,
        num_items=_num_items(node, values),
        emit=emit,
    )


def arg_value(arg: Arg, values: Mapping[str, Any]) -> Any:
    """The value of one argument: what a reference stands for, or the literal itself."""
    return values[arg.name] if isinstance(arg, Ref) else arg


def _names(attrs: Mapping[str, Any]) -> Sequence[str]:
    return cast(Sequence[str], attrs.get("kwargs", ()))


def _inputs(node: Node, values: Mapping[str, Any]) -> tuple[Any, ...]:
    first_part = OPS[node.op].prompt_from
    if first_part is not None:
        before = (arg_value(arg, values) for arg in node.args[:first_part])
        return (*before, *_parts(node.args[first_part:], values))
    return tuple(arg_value(arg, values) for arg in node.args)


def _parts(args: Sequence[Arg], values: Mapping[str, Any]) -> Iterator[Part]:
    space = ""
    for arg in args:
        if isinstance(arg, Marker) and arg.word == "sp":
            space = " "
        elif isinstance(arg, Marker):
            yield Turn(cast(Literal["system", "user", "assistant"], arg.word))
        else:
            yield space + to_text(arg_value(arg, values))
            space = ""


def _num_items(node: Node, values: Mapping[str, Any]) -> int:
    position = {"embed": 0, "ingest": 0, "rerank": 1}.get(node.op)
    if position is None:
        return 1
    value = arg_value(node.args[position], values)
    return max(1, len(value)) if isinstance(value, (list, tuple)) else 1
