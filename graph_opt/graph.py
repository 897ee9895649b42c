"""The graph of primitives: immutable, in SSA form, topological, and checked when made.

A `Graph` that exists is well formed (`verify.py`); `str(graph)` is its whole content (`text.py`).
There is no run state here: the plan and the run are separate things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from graph_opt.errors import GraphError

if TYPE_CHECKING:
    import networkx as nx

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that is the value of another node; in text `%name`, read as a stream `~%name`.

    Of a stream the items of a list are taken in pieces, in order, as they become available.
    """

    name: str
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """A part of a prompt that the engine spells: a chat turn (`@user`) or a space (`@sp`); or a
    word on the part behind it: `@chunks` says that its KV is reused wherever it stands."""

    word: str


SPACE, CHUNKS = Marker("sp"), Marker("chunks")
OF_NEXT_PART = (SPACE, CHUNKS)  # no cut comes between these and the part behind them


Arg: TypeAlias = "Ref | Marker | Json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the user's code a node comes from."""

    call: str  # the component called, nested calls as "outer/inner"
    file: str
    line: int
    variable: str = ""  # of a program, that the node writes: "answer", or "answer[1]" of a fork


@dataclass(frozen=True, slots=True)
class Node:
    """One primitive; its first output names it."""

    outputs: tuple[str, ...]
    op: str
    args: tuple[Arg, ...] = ()
    attrs: Mapping[str, Json] = field(default_factory=dict)
    after: tuple[str, ...] = ()  # names of nodes that must be finished first
    bodies: tuple[Graph, ...] = ()  # closed; which args are their params: `ops.Op.params_from`
    origin: Origin | None = field(default=None, compare=False)
    _is_sound: bool = field(default=False, init=False, repr=False, compare=False)  # see verify

    def __hash__(self) -> int:
        return hash((self.outputs, self.op))

    @property
    def name(self) -> str:
        return self.outputs[0]

    @property
    def body(self) -> Graph | None:
        """The only body, if there is just one."""
        return self.bodies[0] if len(self.bodies) == 1 else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values read, in the order of the args, with repeats."""
        return tuple(arg.name for arg in self.args if isinstance(arg, Ref))


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order and the values returned. The name is a label, not compared."""

    name: str = field(compare=False)
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    _producers: dict[str, Node] = field(init=False, repr=False, compare=False)
    _children: dict[str, tuple[Node, ...]] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The verifier and the printer read graphs, so they import this module, and it them late.
        from graph_opt.verify import verify

        verify(self.nodes, self.outputs)
        producers = {value: node for node in self.nodes for value in node.outputs}
        object.__setattr__(self, "_producers", producers)
        object.__setattr__(self, "_children", None)

    def __str__(self) -> str:
        from graph_opt.text import to_text

        return to_text(self, origins=False)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Notebooks show the drawing."""
        from graph_opt.draw import to_svg

        return {"text/plain": str(self), "image/svg+xml": to_svg(self)}

    @property
    def params(self) -> tuple[Node, ...]:
        """The `input` nodes, in order."""
        return tuple(node for node in self.nodes if node.op == "input")

    def __contains__(self, value: object) -> bool:
        return value in self._producers

    def node(self, name: str) -> Node:
        """The node of this name (its first output)."""
        found = self._producers.get(name)
        if found is None or found.name != name:
            raise GraphError(f"graph {self.name!r} has no node %{name}")
        return found

    def producer(self, value: str) -> Node:
        """The node that makes this value, which may be any of its outputs."""
        found = self._producers.get(value)
        if found is None:
            raise GraphError(f"graph {self.name!r} has no value %{value}")
        return found

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The nodes that read this value, in order."""
        children = self.children(self.producer(value))
        return tuple(child for child in children if value in child.inputs)

    def parents(self, node: Node) -> tuple[Node, ...]:
        """The nodes that must come before, by data or control, each once."""
        names = [self._producers[value].name for value in node.inputs]
        return tuple(self._producers[name] for name in dict.fromkeys((*names, *node.after)))

    def children(self, node: Node) -> tuple[Node, ...]:
        """The nodes that must come later, by data or control, in order, each once."""
        if self._children is None:
            object.__setattr__(self, "_children", self._build_children())
        assert self._children is not None, "built above"
        return self._children[node.name]

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph for networkx: nodes by name, an edge for each value read and each `after`.

        A node has the attributes op, engine_kind, outputs, args, attrs, origin, and bodies (a tuple
        of such graphs). An edge has kind ("data", "stream" or "control") and value; its key is the
        value, "" for control. Imports networkx, which `import teola` does not.
        """
        from graph_opt.to_networkx import to_networkx

        return to_networkx(self)

    def _build_children(self) -> dict[str, tuple[Node, ...]]:
        lists: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for parent in self.parents(node):
                lists[parent.name].append(node)
        return {name: tuple(nodes) for name, nodes in lists.items()}
