"""`call`: a Python function or tool on its arguments."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backends.base import Request, Result
from graph_opt.graph import Arg, Node
from runtime.cost.latency import Load
from runtime.cost.sizes import CHUNK_TOKENS, DOCUMENT_TOKENS, UNKNOWN, Size, list_of, positive
from runtime.memo import rules
from runtime.nested import Nested
from runtime.ops.base import OpRun, Sizes


def _request_attrs(attrs: Mapping[str, Any], symbols: Mapping[str, Any]) -> dict[str, Any]:
    function = symbols[str(attrs["fn"])]
    request = {"fn": function, "kwargs": tuple(attrs.get("kwargs", ()))}
    return {**request, "engines": attrs["engines"]} if isinstance(function, Nested) else request


def _at_path(attrs: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    if "engines" not in attrs:
        return attrs
    return {"fn": attrs["fn"].at(path, attrs["engines"]), "kwargs": attrs["kwargs"]}


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    match node.attrs.get("fn"):
        case "load":
            return (list_of(args[0].as_list().num_items, Size(DOCUMENT_TOKENS)),)
        case "split":
            kwargs = dict(_kwargs(node))
            chunk = positive(kwargs.get("chunk_tokens"), CHUNK_TOKENS)
            step = max(1.0, chunk - positive(kwargs.get("overlap"), 0.0))
            return (list_of(max(1.0, args[0].as_list().total / step), Size(chunk)),)
    return (UNKNOWN,)


def _kwargs(node: Node) -> Iterator[tuple[str, Arg]]:
    names = node.attrs.get("kwargs", [])
    if isinstance(names, list) and names:
        yield from zip(map(str, names), node.args[-len(names) :], strict=False)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:  # noqa: ARG001
    return (Load(f"call:{node.attrs.get('fn')}", 1.0, 0.0),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:  # noqa: ARG001
    names = {_call_name(request.attrs.get("fn")) for request in requests}
    return (Load(f"call:{names.pop()}", len(requests), 0.0),) if len(names) == 1 else ()


def _call_name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


CALL = OpRun(
    request_attrs=_request_attrs,
    at_path=_at_path,
    size=_size,
    load=_load,
    measured=_measured,
    remember=rules.call,
)
