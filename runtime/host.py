"""What a running query offers to the parts of the scheduler that run one node for it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from backends.base import Result
from graph_opt.graph import Node
from runtime.layout import Layout
from runtime.scope import Scope


class Host(Protocol):
    """One query. All methods are called on its event loop."""

    @property
    def symbols(self) -> Mapping[str, Any]:
        """What the graph's names stand for: functions, types, constants."""

    def open_scope(
        self,
        layout: Layout,
        params: Sequence[Any],
        path: str,
        on_done: Callable[[list[Any]], None],
    ) -> None:
        """Start a body; `on_done` gets what it returns."""

    def finish(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        """The node is done: store its outputs and begin what waited for them."""

    def fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
        """The node failed, and the query with it."""

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

    def drain(self) -> None:
        """Begin everything that became ready; call it after a callback from outside."""
