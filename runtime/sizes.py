"""How large values will be, as far as anybody can tell before the run.

Sizes flow through a graph like the values do: a split makes chunks of so many tokens, a search
gives k of them, a join is as long as its items. What nobody can know has a default, stated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graph_opt.graph import Arg, Graph, Json, Marker, Node, Ref
from graph_opt.tokens import BYTES_PER_TOKEN

TEXT_TOKENS = 16.0  # of a text that is an input or that a tool returns
LIST_ITEMS = 8.0  # of a list
DOCUMENT_TOKENS = 1500.0  # of a loaded document
CHUNK_TOKENS = 200.0  # of a stored passage
DECODE_TOKENS = 64.0  # of a generated text, at most its max_tokens
TURN_TOKENS = 4.0  # of the markup that opens a chat turn
DEFAULT_K = 10.0  # documents that a search returns


@dataclass(frozen=True, slots=True)
class Size:
    """A text of so many tokens, or a list: so many items of one size."""

    tokens: float = TEXT_TOKENS
    items: float | None = None  # of a list
    item: Size | None = None  # of a list
    schema: Json = None  # of a decoded value, as far as it is known

    @property
    def total(self) -> float:
        """All tokens in it."""
        return self.tokens if self.item is None else (self.items or 0.0) * self.item.total

    @property
    def num_items(self) -> float:
        """The items of a list; one for anything else."""
        return 1.0 if self.items is None else self.items

    def as_list(self) -> Size:
        """The same, where the reader takes a list but nobody said that it is one."""
        return self if self.item is not None else list_of(LIST_ITEMS, self)


UNKNOWN = Size()


def list_of(items: float, item: Size) -> Size:
    return Size(0.0, items, item)


def num_tokens(text: str) -> float:
    return len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN


def sizes_of(graph: Graph) -> dict[str, Size]:
    """The size of each value by its name, of those in bodies too; of equal names the larger."""
    found: dict[str, Size] = {}
    _walk(graph, [_param(node) for node in graph.params], found)
    return found


def size_of(arg: Arg, sizes: Mapping[str, Size]) -> Size:
    """The size of a value or a literal."""
    if isinstance(arg, Ref):
        return sizes.get(arg.name, UNKNOWN)
    if isinstance(arg, Marker):
        return Size(TURN_TOKENS if arg.word != "sp" else 0.0)
    if isinstance(arg, list):
        return list_of(float(len(arg)), _largest(size_of(item, sizes) for item in arg))
    return Size(num_tokens(arg) if isinstance(arg, str) else 1.0)


def prompt_tokens(parts: Sequence[Arg], sizes: Mapping[str, Size]) -> float:
    """The tokens of a prompt's parts."""
    return sum(size_of(part, sizes).total for part in parts)


def decode_tokens(node: Node) -> float:
    """How many tokens a model will write."""
    most = node.attrs.get("max_tokens")
    return min(float(most), DECODE_TOKENS) if isinstance(most, (int, float)) else DECODE_TOKENS


def _walk(graph: Graph, params: Sequence[Size], found: dict[str, Size]) -> dict[str, Size]:
    here: dict[str, Size] = {}
    given = dict(zip((node.name for node in graph.params), params, strict=False))
    for node in graph.nodes:
        if node.op == "input":
            outputs: Sequence[Size] = (given.get(node.name, UNKNOWN),)
        elif node.bodies:
            outputs = _of_bodies(node, here, found)
        else:
            outputs = _RULES.get(node.op, _unknown)(node, [size_of(a, here) for a in node.args])
        for name, size in zip(node.outputs, outputs, strict=False):
            here[name] = size
            found[name] = _largest((size, found.get(name, size)))
    return here


def _of_bodies(node: Node, here: Mapping[str, Size], found: dict[str, Size]) -> Sequence[Size]:
    args = [size_of(arg, here) for arg in node.args]
    if node.op == "map":
        items = args[0].as_list()
        args = [items.item or UNKNOWN, *args[1:]]
    elif node.op == "cond":
        args = args[1:]
    results = []
    for body in node.bodies:
        inner = _walk(body, args, found)
        results.append([inner.get(name, UNKNOWN) for name in body.outputs])
    if node.op == "map":
        return (list_of(items.num_items, results[0][0]),)
    return [_largest(sizes) for sizes in zip(*results, strict=False)]


def _param(node: Node) -> Size:
    type_ = str(node.attrs.get("type", ""))
    is_list = type_.partition("[")[0] in ("list", "tuple", "Sequence", "set", "frozenset")
    item = Size(CHUNK_TOKENS if "Doc" in type_ else TEXT_TOKENS)
    return list_of(LIST_ITEMS, item) if is_list else item


def _unknown(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return [UNKNOWN for _ in node.outputs]


def _const(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (size_of(node.attrs["value"], {}),)


def _context(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(0.0),)


def _prefill(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(sum(size.total for size in args)),)


def _decode(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    tokens = decode_tokens(node)
    text = Size(tokens, schema=node.attrs.get("schema"))
    return (text, Size(sum(size.total for size in args) + tokens))


def _same(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (args[0],)


def _get(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    path = node.attrs.get("path")
    schema = _at(args[0].schema, path if isinstance(path, list) else [])
    is_list = node.op == "elements" or node.attrs.get("list") is True or _is_list(schema)
    if not is_list:
        return (replace(args[0], schema=schema) if args[0].item is None else UNKNOWN,)
    items = _num_items(schema)
    return (list_of(items, Size(args[0].total / max(1.0, items))),)


def _call(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    match node.attrs.get("fn"):
        case "load":
            return (list_of(args[0].as_list().num_items, Size(DOCUMENT_TOKENS)),)
        case "split":
            kwargs = dict(_kwargs(node))
            chunk = _number(kwargs.get("chunk_tokens"), CHUNK_TOKENS)
            step = max(1.0, chunk - _number(kwargs.get("overlap"), 0.0))
            return (list_of(max(1.0, args[0].as_list().total / step), Size(chunk)),)
    return (UNKNOWN,)


def _kwargs(node: Node) -> Iterator[tuple[str, Arg]]:
    names = node.attrs.get("kwargs", [])
    if isinstance(names, list) and names:
        yield from zip(map(str, names), node.args[-len(names) :], strict=False)


def _search(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    k = _number(node.attrs.get("k"), DEFAULT_K)
    held = args[0].item
    return (list_of(k if held is None else min(k, args[0].num_items), held or Size(CHUNK_TOKENS)),)


def _rerank(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    docs = args[1].as_list()
    k = _number(node.attrs.get("k"), docs.num_items)
    return (list_of(min(k, docs.num_items), docs.item or UNKNOWN),)


def _flatten(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    outer = args[0].as_list()
    inner = (outer.item or UNKNOWN).as_list()
    return (list_of(outer.num_items * inner.num_items, inner.item or UNKNOWN),)


def _concat(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    lists = [size.as_list() for size in args]
    items = sum(size.num_items for size in lists)
    return (list_of(items, _largest([size.item or UNKNOWN for size in lists])),)


def _pack(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    if node.attrs.get("keys") is not None:
        return (Size(sum(size.total for size in args)),)
    return (list_of(float(len(args)), _largest(args)),)


def _join(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    items = args[0].as_list()
    around = num_tokens(str(node.attrs.get("template", ""))) + num_tokens(
        str(node.attrs.get("sep", "\n"))
    )
    return (Size(items.total + items.num_items * around),)


def _format(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(sum(size.total for size in args)),)


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


def _largest(sizes: Any) -> Size:
    return max(sizes, key=lambda size: size.total, default=UNKNOWN)


def _at(schema: Json, path: Sequence[Json]) -> Json:
    """The part of a JSON schema at a path of property names."""
    root = schema
    for step in path:
        inner = _followed(schema, root)
        properties = inner.get("properties") if isinstance(inner, dict) else None
        schema = properties.get(str(step)) if isinstance(properties, dict) else None
    return _followed(schema, root)


def _followed(schema: Json, root: Json) -> Json:
    if isinstance(schema, dict) and isinstance(root, dict) and "$ref" in schema:
        definitions = root.get("$defs")
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return definitions.get(name) if isinstance(definitions, dict) else None
    return schema


def _is_list(schema: Json) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "array"


def _num_items(schema: Json) -> float:
    if not isinstance(schema, dict):
        return LIST_ITEMS
    least, most = schema.get("minItems"), schema.get("maxItems")
    bounds = [float(n) for n in (least, most) if isinstance(n, (int, float))]
    return max(1.0, sum(bounds) / len(bounds)) if bounds else LIST_ITEMS


Rule = Callable[[Node, Sequence[Size]], Sequence[Size]]

_RULES: Mapping[str, Rule] = {
    "const": _const,
    "context": _context,
    "prefill": _prefill,
    "decode": _decode,
    "generate": _decode,
    "parse": _same,
    "get": _get,
    "elements": _get,
    "call": _call,
    "embed": _same,
    "ingest": _same,
    "search": _search,
    "rerank": _rerank,
    "flatten": _flatten,
    "concat": _concat,
    "pack": _pack,
    "join": _join,
    "format": _format,
}
