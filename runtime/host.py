"""The interface of a running query for the ops that run its nodes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from backends.base import Result
from graph_opt.graph import Node
from runtime.prefix_orders import Order
from runtime.scope import Body, Scope, Through


class Host(Protocol):
    """One query. All methods are called on its event loop."""

    @property
    def symbols(self) -> Mapping[str, Any]:
        """What the graph's names stand for: functions, types, constants."""

    @property
    def order(self) -> Order:
        """Puts documents in the order in which earlier prompts of a head took them."""

    def expects(self, scope: Scope, node: Node, num_bodies: int) -> None:
        """Note how many bodies of the node there will be, where that is known."""

    def open_body(self, scope: Scope, node: Node, body: Body) -> None:
        """Start a body of the node, unless it stands behind a failure."""

    def chosen(self, scope: Scope, node: Node, branch: int) -> Through | None:
        """The node runs this branch: where its requests go first, if it has begun already."""

    def branch_done(self, scope: Scope, node: Node) -> None:
        """The branch that was chosen has ended."""

    def finish(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        """The node is done: store its outputs, close its stream, begin what waited for them."""

    def fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
        """The node failed, and with it what is around it; call `drain` after it, or be in it."""

    def guard(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        """Do a node's own work: whatever goes wrong in it is this node's failure."""

    def submit_piece(
        self,
        scope: Scope,
        node: Node,
        suffix: str,
        values: Mapping[str, Any],
        without: Collection[str],
        on_result: Callable[[Result], None],
    ) -> None:
        """Run an engine node on other values than the scope's, leaving out some attrs."""

    def piece_size(self, node: Node) -> int:
        """The most items that the node's engine runs efficiently in one batch."""

    def num_slots(self, engine: str) -> int:
        """How many batches the engine runs at once."""

    def room(self, engine: str) -> int:
        """How many items the engine runs at once, in all batches."""

    def in_turn(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        """Go on with the node's own work when everything that is ready has begun."""

    def later(
        self, scope: Scope, node: Node, delay_s: float, tell: Callable[[], None]
    ) -> Callable[[], None]:
        """Call `tell` after a time, unless the node is stopped or what this returns is called."""

    def drain(self) -> None:
        """Begin everything that became ready; call it after a callback from outside."""
