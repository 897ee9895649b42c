"""The op table: what each op takes and gives, which kind of engine runs it, and what it may touch.

What passes and analyses need of every op is a field here; a pass names only the ops that it is
about. The runtime's part (run, sizes, loads) is a record a file in `runtime/ops`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Protocol

APPLIED = ("dict", "enumerate", "frozenset", "select", "set", "slice", "sort", "strip", "zip")
CONTEXT_TYPE = "context"  # the `type` of an input that holds the token state of an LLM sequence


class GraphLike(Protocol):
    """The part of a graph that the predicates of this module read."""

    @property
    def nodes(self) -> Sequence[NodeLike]: ...


class NodeLike(Protocol):
    """The part of a node that the predicates of this module read."""

    @property
    def op(self) -> str: ...
    @property
    def args(self) -> Sequence[object]: ...
    @property
    def attrs(self) -> Mapping[str, object]: ...
    @property
    def bodies(self) -> Sequence[GraphLike]: ...


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table."""

    name: str
    engine_kind: str | None = None  # None: inline, done by the runtime itself
    num_outputs: int = 1
    min_args: int = 0
    max_args: int | None = None  # None: any number
    required_attrs: tuple[str, ...] = ()
    pure: bool = True  # same inputs and attrs, same outputs; attrs and bodies may say no
    effects: bool = False  # changes something outside the graph; attrs and bodies may say no
    may_fail: bool = True  # some input, or the world, can make it raise
    is_guard: bool = False  # it may be there to raise: it runs also where nobody reads its value
    elementwise: tuple[int, ...] = ()  # the args whose items may be taken in pieces, as a stream
    all_elementwise: bool = False  # all args are so
    streams_out: bool = False  # its output, a list, can be given item by item
    writes_text: bool = False  # its first output, a text, can be read while it is written
    prompt_from: int | None = None  # the arg where the parts of a prompt begin
    bodies: tuple[str, ...] = ()  # how each body is called in paths: `m[].x`, `c{then}.x`
    more_bodies: bool = False  # one or more, called by their numbers: `f{0}.x`
    params_from: int = 0  # the first arg that is a param of the bodies; captures start at arg 1
    body_outputs: int = 1


_ENGINE = ("engine",)
_TABLE = (
    Op("input", max_args=0, required_attrs=("type",), may_fail=False),
    Op("const", max_args=0, required_attrs=("value",), may_fail=False),
    # LLM. A context is the token state of one sequence; reading it twice forks it. A prefill that
    # goes wrong is the failure of the decodes that use its context, so that a prompt fails in one
    # place however it is cut, shared or moved.
    Op("context", max_args=0, required_attrs=_ENGINE, may_fail=False),
    Op(  # context, parts... -> context
        "prefill", "llm", min_args=2, required_attrs=_ENGINE, prompt_from=1, may_fail=False
    ),
    Op(  # context, parts... -> text, context
        "decode", "llm", 2, 1, None, _ENGINE, writes_text=True, prompt_from=1
    ),
    Op("select", "llm", 3, 2, 2, _ENGINE),  # context, choices -> text, scores, context
    Op("encode", "llm", 1, 2, None, _ENGINE, prompt_from=1),  # context, parts -> chunks computed
    Op("generate", "llm", 1, 0, None, _ENGINE, writes_text=True, prompt_from=0),  # parts -> text
    Op(  # text -> a value of a type
        "parse", min_args=1, max_args=1, required_attrs=("type",), is_guard=True
    ),
    Op(  # text -> a list
        "elements", min_args=1, max_args=1, elementwise=(0,), streams_out=True, is_guard=True
    ),
    # Retrieval.
    Op("embed", "embedder", 1, 1, 1, _ENGINE, elementwise=(0,), streams_out=True),
    Op("ingest", "store", 1, 1, 2, _ENGINE, pure=False, effects=True),  # docs, vectors -> index
    Op("search", "store", 1, 2, 4, _ENGINE),  # index, query, vector, where
    Op("count", "store", 1, 0, 0, _ENGINE),  # -> documents there are
    Op("delete", "store", 1, 3, 3, _ENGINE, pure=False, effects=True),  # ids, sources, kept index
    Op("rerank", "reranker", 1, 2, 2, _ENGINE, elementwise=(1,)),  # query, docs
    # Python functions and tools.
    Op("call", "python", required_attrs=("fn",), pure=False, effects=True, is_guard=True),
    # Control: bodies that run for each item, or not at all, or again.
    Op("map", min_args=1, elementwise=(0,), streams_out=True, bodies=("[]",)),  # list, captures...
    Op("cond", min_args=1, bodies=("{then}", "{else}"), params_from=1),  # condition, captures...
    Op(  # state, captures... -> last state; the body returns the next state and whether to go on
        "loop", min_args=1, required_attrs=("max",), bodies=("[]",), body_outputs=2
    ),
    # What a body that fails gives instead. Their arg 0 is null, captures follow.
    Op("attempt", min_args=1, bodies=("{try}", "{otherwise}")),  # the other body gets the error
    Op("first", min_args=1, more_bodies=True, params_from=1),  # the first body that does not fail
    Op(  # its body, which must end in time
        "within", min_args=1, required_attrs=("app", "timeout_s"), bodies=("{in}",), params_from=1
    ),
    # Plain values.
    Op("get", min_args=1, max_args=1, required_attrs=("path",)),
    Op("join", min_args=1, max_args=1),
    Op("order", min_args=1, max_args=1),  # a list -> its items in an order that prompts share
    Op("format"),
    Op("flatten", min_args=1, max_args=1, elementwise=(0,), streams_out=True),
    Op("concat", min_args=1, all_elementwise=True, streams_out=True),  # lists... -> a list
    Op("pack", may_fail=False),
    Op("apply", min_args=1, required_attrs=("fn",)),  # one of `APPLIED`
)

OPS: dict[str, Op] = {op.name: op for op in _TABLE}


@dataclass(frozen=True, slots=True)
class Access:
    """The outside state a node reads and writes: names of stores, and `*` for what calls touch."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def conflicts(self, other: Access) -> bool:
        """Whether the order of the two can be seen: one writes what the other reads or writes."""
        mine_first = self.writes & (other.reads | other.writes)
        return bool(mine_first or other.writes & self.reads)

    def __or__(self, other: Access) -> Access:
        return Access(self.reads | other.reads, self.writes | other.writes)


WORLD = "*"  # stands for all state that impure calls touch, which is unknown


MAP_ON_ERROR = ("raise", "skip", "keep")  # attr on_error of a map, left out for the first


def body_names(node: NodeLike) -> Sequence[str]:
    """How each body of the node is called in paths."""
    op = OPS[node.op]
    return [f"{{{i}}}" for i in range(len(node.bodies))] if op.more_bodies else op.bodies


def is_pure(node: NodeLike) -> bool:
    """Whether equal inputs give equal outputs, so that two equal nodes may become one."""
    if node.op == "call":  # what a call reads outside may change between two of them
        return node.attrs.get("pure") is True and node.attrs.get("reads") is not True
    if OPS[node.op].writes_text:
        return not node.attrs.get("temperature") or node.attrs.get("seed") is not None
    if node.bodies:
        return all(is_pure(inner) for body in node.bodies for inner in body.nodes)
    return OPS[node.op].pure


def has_effects(node: NodeLike) -> bool:
    """Whether running the node changes something outside the graph: never drop such a node."""
    return bool(access(node).writes)


def may_fail(node: NodeLike) -> bool:
    """Whether running the node can raise: no effect may come before it has succeeded."""
    return OPS[node.op].may_fail


def is_guard(node: NodeLike) -> bool:
    """Whether the node runs a user's function or validates a type, so that its failure may be all
    that is wanted of it: it is never dropped."""
    inner = (each for body in node.bodies for each in body.nodes)
    return OPS[node.op].is_guard or any(map(is_guard, inner))


def is_choice(node: NodeLike) -> bool:
    """Whether the node runs one of two bodies, by its first arg."""
    return node.op == "cond"


def repeats(node: NodeLike) -> bool:
    """Whether the node runs its body as often as the run decides."""
    return node.op in ("map", "loop")


def reads_context(node: NodeLike) -> bool:
    """Whether the node's first arg is a context that it reads."""
    return OPS[node.op].engine_kind == "llm" and OPS[node.op].prompt_from != 0


def reads_state(node: NodeLike) -> bool:
    """Whether the answer depends on outside state: a search of whatever the store holds by then."""
    return bool(access(node).reads)


def elementwise(node: NodeLike) -> Sequence[int]:
    """The args of the node whose items may be taken in pieces: none of a node with effects."""
    op = OPS[node.op]
    if has_effects(node):  # who gives the pieces may still fail, and effects come after that
        return ()
    if op.all_elementwise:
        return range(len(node.args))
    return [index for index in op.elementwise if index < len(node.args)]


def streams_out(node: NodeLike) -> bool:
    """Whether the node gives its list item by item to readers of the stream."""
    return OPS[node.op].streams_out


def overlaps_readers(node: NodeLike) -> bool:
    """Whether readers of the node's first output as a stream run beside the node."""
    return OPS[node.op].streams_out or OPS[node.op].writes_text


def access(node: NodeLike) -> Access:
    """What the node, or any node of its bodies, reads and writes outside the graph."""
    if node.bodies:
        return _union(access(inner) for body in node.bodies for inner in body.nodes)
    if node.op in ("ingest", "delete"):
        return Access(writes=frozenset({str(node.attrs["engine"])}))
    if node.op == "count" or (node.op == "search" and node.args[0] is None):
        return Access(reads=frozenset({str(node.attrs["engine"])}))
    if node.op == "call" and node.attrs.get("reads") is True:
        return _ACCESS_READS_WORLD
    if OPS[node.op].effects and not is_pure(node):
        return _ACCESS_WORLD
    return _ACCESS_NOTHING


def _union(parts: Iterable[Access]) -> Access:
    return reduce(or_, parts, _ACCESS_NOTHING)


_ACCESS_NOTHING = Access()
_ACCESS_WORLD = Access(writes=frozenset({WORLD}))
_ACCESS_READS_WORLD = Access(reads=frozenset({WORLD}))  # files, say: in order with what writes
