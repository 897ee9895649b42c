"""The op table: what each op takes and gives, which kind of engine runs it, and what it may touch.

What a pass or a scheduler has to know about an op is a field here; neither tests op names for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    def body(self) -> GraphLike | None: ...


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table."""

    name: str
    engine_kind: str | None = None  # None: inline, done by the runtime itself
    num_outputs: int = 1
    min_args: int = 0
    max_args: int | None = None  # None: any number
    required_attrs: tuple[str, ...] = ()
    pure: bool = True  # same inputs and attrs, same outputs; attrs and body may say no
    effects: bool = False  # changes something outside the graph; attrs and body may say no
    elementwise: int | None = None  # the arg whose items may arrive in micro-batches


_TABLE = (
    Op("input", max_args=0, required_attrs=("type",)),
    Op("const", max_args=0, required_attrs=("value",)),
    # LLM. A context is the token state of one sequence; reading it twice forks it.
    Op("context", max_args=0, required_attrs=("engine",)),
    Op("prefill", "llm", min_args=2, required_attrs=("engine",)),  # context, parts...
    Op("decode", "llm", 2, min_args=1, max_args=1, required_attrs=("engine",)),  # -> text, context
    Op("parse", min_args=1, max_args=1, required_attrs=("type",)),  # text -> a value of a type
    # Retrieval.
    Op("embed", "embedder", min_args=1, max_args=1, required_attrs=("engine",), elementwise=0),
    Op(  # docs, vectors or null -> index
        "ingest",
        "store",
        min_args=1,
        max_args=2,
        required_attrs=("engine",),
        pure=False,
        effects=True,
        elementwise=0,
    ),
    Op("search", "store", min_args=2, max_args=3, required_attrs=("engine",)),  # index, query, vec
    Op("rerank", "reranker", min_args=2, max_args=2, required_attrs=("engine",), elementwise=1),
    # Python functions and tools.
    Op("call", "python", required_attrs=("fn",), pure=False, effects=True),
    # Plain values.
    Op("map", min_args=1, elementwise=0),  # list, captures...
    Op("get", min_args=1, max_args=1, required_attrs=("path",)),
    Op("join", min_args=1, max_args=1),
    Op("format"),
    Op("flatten", min_args=1, max_args=1),
    Op("pack"),
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


WORLD = "*"  # one name for all that impure calls touch: nobody knows what it is


def is_pure(node: NodeLike) -> bool:
    """Whether equal inputs give equal outputs, so that two equal nodes may become one."""
    if node.op == "call":
        return node.attrs.get("pure") is True
    if node.op == "decode":
        return not node.attrs.get("temperature") or node.attrs.get("seed") is not None
    if node.body is not None:
        return all(map(is_pure, node.body.nodes))
    return OPS[node.op].pure


def has_effects(node: NodeLike) -> bool:
    """Whether running the node changes something outside the graph: never drop such a node."""
    return bool(access(node).writes)


def reads_state(node: NodeLike) -> bool:
    """Whether the answer depends on outside state: a search of whatever the store holds by then."""
    return bool(access(node).reads)


def access(node: NodeLike) -> Access:
    """What the node, or any node of its body, reads and writes outside the graph."""
    if node.body is not None:
        return _union(map(access, node.body.nodes))
    if node.op == "ingest":
        return Access(writes=frozenset({str(node.attrs["engine"])}))
    if node.op == "search" and node.args[0] is None:
        return Access(reads=frozenset({str(node.attrs["engine"])}))
    if OPS[node.op].effects and not is_pure(node):
        return Access(writes=frozenset({WORLD}))
    return Access()


def _union(parts: Iterable[Access]) -> Access:
    all_parts = tuple(parts)
    reads = frozenset[str]().union(*(part.reads for part in all_parts))
    writes = frozenset[str]().union(*(part.writes for part in all_parts))
    return Access(reads, writes)
