"""The mutable state of one running copy of a graph: the app's own, or a map body for one item."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.base import Context
from graph_opt.graph import Node
from runtime.layout import Layout


class Scope:
    """Values by name, and what is still to come.

    Owns the values that its nodes make and drops each after its last reader, releasing contexts.
    Parameters belong to whoever passed them and are never released here.
    """

    def __init__(
        self,
        layout: Layout,
        params: Sequence[Any],
        path: str,
        depth: int,
        on_done: Callable[[list[Any]], None],
    ) -> None:
        self.layout = layout
        self.path = path  # "" for the app's graph, else "hits[2]."
        self.depth = depth  # of the map node that this body hangs on, else 0
        self.on_done = on_done
        self.values: dict[str, Any] = {}
        self.finish_reasons: dict[str, str] = {}  # decode node -> why it stopped
        self.waits = dict(layout.indegree)
        self.uses = dict(layout.uses)
        self.num_unfinished = len(layout.nodes)
        self._params = dict(zip((n.name for n in layout.graph.params), params, strict=True))

    def ready_at_start(self) -> list[Node]:
        """The nodes that wait for nothing, in graph order."""
        return [node for node in self.layout.graph.nodes if not self.waits[node.name]]

    def finish(self, node: Node, outputs: Sequence[Any]) -> list[Node]:
        """Store a node's outputs; the nodes that became ready, in graph order."""
        for name, value in zip(node.outputs, outputs, strict=True):
            if self.uses[name]:
                self.values[name] = value
            elif name not in self._params:
                release(value)
        for name in set(node.inputs):
            self._read(name)
        self.num_unfinished -= 1
        ready = []
        for follower in self.layout.followers[node.name]:
            self.waits[follower] -= 1
            if not self.waits[follower]:
                ready.append(self.layout.nodes[follower])
        return ready

    def param(self, name: str) -> Any:
        """The value passed for a parameter."""
        return self._params[name]

    def results(self) -> list[Any]:
        """What the graph returns, once every node is finished."""
        return [self.values[name] for name in self.layout.graph.outputs]

    def release_all(self) -> None:
        """Drop every value the scope still owns."""
        for name, value in self.values.items():
            if name not in self._params:
                release(value)
        self.values.clear()

    def _read(self, name: str) -> None:
        self.uses[name] -= 1
        if not self.uses[name]:
            value = self.values.pop(name)
            if name not in self._params:
                release(value)


def release(value: Any) -> None:
    """Give a context's KV back; other values need nothing."""
    if isinstance(value, Context):
        value.release()


def bind(layout: Layout, inputs: Mapping[str, Any]) -> list[Any]:
    """The app's inputs in the order of the graph's parameters, defaults filled in."""
    return [
        inputs[node.name] if node.name in inputs else node.attrs["default"]
        for node in layout.graph.params
    ]
