"""A query whose values fail one by one: a segment of an `async def` app.

A node that fails, or that reads what failed, is lost; all others go on, as in a program in which
only who asks for a value sees why it is not there. Effects are different: none runs that stands
later in the program than a failure. A node is lost by the failure that is first in program order
among those of the nodes it reads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from graph_opt.graph import Node
from graph_opt.ops import has_effects
from runtime.errors import QueryError
from runtime.scope import Scope
from runtime.stopping import stop

OnError = Callable[
    [str, QueryError], None
]  # a name that the graph returns, and why it has no value


@dataclass(frozen=True, slots=True, order=True)
class Loss:
    """Why a node has no value."""

    index: int  # of the node that failed, in program order
    error: QueryError = field(compare=False)


class SeparateValues:
    """Keeps what is lost of a query's own graph; what fails in a body is its node's failure."""

    def __init__(self, root: Scope, on_error: OnError) -> None:
        self.root = root
        self._on_error = on_error
        self._graph = root.layout.graph
        self._begun: set[str] = set()
        self._lost: dict[str, Loss] = {}  # by node
        self._waiting: dict[str, Node] = {}  # lost, but by which failure is not known yet

    @property
    def first_error(self) -> QueryError | None:
        """The first failure in program order, if there was any."""
        return min(self._lost.values()).error if self._lost else None

    def may_begin(self, node: Node) -> bool:
        """Whether a node whose turn it is runs; else it is lost: see `settle`."""
        if self._lost and self._losses(node):
            self._waiting[node.name] = node
            return False
        self._begun.add(node.name)
        return True

    def lose(self, node: Node, error: QueryError) -> list[Node]:
        """The node failed; the nodes that are ready now that it has ended."""
        return self._lose(node, Loss(self._place(node), error))

    def settle(self) -> list[Node]:
        """End what is lost once all it reads has ended; the nodes that are ready then."""
        ready: list[Node] = []
        while known := [node for node in self._waiting.values() if self._is_known(node)]:
            for node in known:
                del self._waiting[node.name]
                ready += self._lose(node, min(self._losses(node)))
        return ready

    def _place(self, node: Node) -> int:
        """Where in the program it fails; an input that an earlier graph failed to give, where it
        is read first."""
        readers = self._graph.children(node) if node in self._graph.params else ()
        return min(self.root.layout.index[at.name] for at in readers or (node,))

    def _is_known(self, node: Node) -> bool:
        return all(map(self.root.has_ended, self._read(node)))

    def _lose(self, node: Node, loss: Loss) -> list[Node]:
        self._lost[node.name] = loss
        for name in node.outputs:
            if name in self._graph.outputs:
                self._on_error(name, loss.error)
        for reader in self._graph.children(node):
            if reader.name in self._begun and not self.root.has_ended(reader):
                self._stop(reader, node)
        return self.root.lose(node, had_begun=node.name in self._begun)

    def _stop(self, reader: Node, node: Node) -> None:
        """Stop a node that began beside one that is lost, if it reads that."""
        if any(read.name == node.name for read in self._read(reader)):
            stop(self.root, reader, is_alone=True)
            self._waiting[reader.name] = reader

    def _losses(self, node: Node) -> list[Loss]:
        losses = [self._lost[read.name] for read in self._read(node) if read.name in self._lost]
        if has_effects(node):
            index = self.root.layout.index[node.name]
            losses += (loss for loss in self._lost.values() if loss.index < index)
        return losses

    def _read(self, node: Node) -> Iterator[Node]:
        return map(self._graph.producer, node.inputs)
