"""A query whose values fail one by one: a segment of an `async def` app.

A node that fails, or that reads what failed, is lost; all others go on, as in a program in which
only who asks for a value sees why it is not there. Effects are different: none runs that stands
later in the program than a failure. A node is lost by the failure that is first in program order
among those of the nodes it reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from graph_opt.graph import Node
from graph_opt.ops import has_effects
from runtime.errors import QueryError, renewed
from runtime.outputs import Outputs
from runtime.scope import Scope
from runtime.stopping import stop

BEFORE = -1  # where something stands that is earlier than the graph


@dataclass(frozen=True, slots=True, order=True)
class Loss:
    """Why a node has no value."""

    index: int  # of the node that failed, in program order, or BEFORE
    error: QueryError = field(compare=False)


class SeparateValues:
    """Keeps what is lost of a query's own graph; what fails in a body is its node's failure."""

    def __init__(self, root: Scope, outputs: Outputs) -> None:
        self.root = root
        self._outputs = outputs
        before = outputs.failed_before
        self._before = [] if before is None else [Loss(BEFORE, before)]
        self._graph = root.layout.graph
        self._begun: set[str] = set()
        self._lost: dict[str, Loss] = {}  # by node
        self._effects: dict[int, QueryError] = {}  # lost ones, by place in the program
        self._waiting: dict[str, Node] = {}  # lost, but by which failure is not known yet

    def tell_effects(self) -> QueryError | None:
        """Tell of the effects that did not happen, each with an error of its own, at the end of
        all; the first failure in program order, if there was any."""
        if self._outputs.on_effect_error is not None:
            for index in sorted(self._effects):
                self._outputs.on_effect_error(self._effects[index])
        return min(self._lost.values()).error if self._lost else None

    def may_begin(self, node: Node) -> bool:
        """Whether a node whose turn it is runs; else it is lost: see `settle`."""
        if (self._lost or self._before) and self._losses(node):
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
                loss = min(self._losses(node))
                if has_effects(node):
                    loss = replace(loss, error=renewed(loss.error))
                ready += self._lose(node, loss)
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
        if has_effects(node):
            self._effects[self.root.layout.index[node.name]] = loss.error
        for name in node.outputs:
            if name in self._graph.outputs and self._outputs.on_error is not None:
                self._outputs.on_error(name, loss.error)
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
            losses += self._before
            earlier = (loss for loss in self._lost.values() if loss.index < index)
            losses += filter(self._counts, earlier)
        return losses

    def _counts(self, loss: Loss) -> bool:
        """Whether the caller does not know of it yet."""
        return not any(loss.error is told for told in self._outputs.seen)

    def _read(self, node: Node) -> Iterator[Node]:
        return map(self._graph.producer, node.inputs)
