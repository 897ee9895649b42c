"""Which failure ends a query, or a body whose failures its node takes: the first in program order.

Program order is the order of the nodes in the graph, of the items of a map by place, and of the
turns of a loop by number. A failure stops all later work. Earlier work continues to its end, and
if it fails too, its failure replaces the later one. So a parallel run fails like a sequential one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from graph_opt.graph import Node
from runtime.errors import (
    HOW_TO_BOUND,
    NodeFailed,
    OutputInvalid,
    ParseError,
    QueryError,
    TookTooLong,
    ToolTimeout,
)
from runtime.item_streams import Place
from runtime.scope import Scope
from runtime.stopping import close, stop

FailureKey: TypeAlias = tuple[Scope, str]


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A failure that counts unless something that stands earlier fails too."""

    error: QueryError
    scope: Scope
    node: Node
    top: Scope  # what ends with it
    is_alone: bool = False  # only one node of `top` ends with it, see `separate_values.py`

    @property
    def top_node(self) -> Node:
        """The node of `top` that failed, or in whose bodies something did."""
        *_, (_, node, _) = self.way_up()
        return node

    @property
    def key(self) -> FailureKey:
        """Equal for failures of which only the first counts."""
        return self.top, self.top_node.name if self.is_alone else ""

    def way_up(self) -> Iterator[tuple[Scope, Node, Place]]:
        """From the failure to its top: each scope, its node on the way, the place of the body."""
        scope, node, place = self.scope, self.node, Place()
        while True:
            yield scope, node, place
            if scope is self.top:
                return
            above, place = scope.above, scope.body.place
            assert above is not None, "the top is above"
            scope, node = above.scope, above.node

    def stop_later(self) -> None:
        """Stop what stands later in the program, up to the top."""
        for scope, node, place in self.way_up():
            stop(scope, node, place, is_alone=self.is_alone and scope is self.top)

    def is_first(self) -> bool:
        """Whether nothing that stands earlier is still to end."""
        below: Scope | None = None
        for scope, node, _ in self.way_up():
            is_alone = self.is_alone and scope is self.top
            if not is_alone and scope.waits_before(scope.layout.index[node.name]):
                return False
            if any(c is not below and c.is_body_of(node) for c in scope.children):
                return False
            below = scope
        return True

    def end(self) -> None:
        """Stop and free all that ends with it."""
        if self.is_alone:
            stop(self.top, self.top_node, is_alone=True)
        else:
            close(self.top)


def top_of(scope: Scope, node: Node) -> tuple[Scope, Node]:
    """The innermost scope around the node that takes failures, and its node there."""
    while scope.body.on_error is None and (above := scope.above) is not None:
        scope, node = above.scope, above.node
    return scope, node


def error_at(scope: Scope, node: Node, error: Exception) -> QueryError:
    """What the caller gets: the cause, with the primitive and the line of the user's code."""
    if isinstance(error, QueryError):
        return error
    path = scope.path + node.name
    where = f"{node.origin.file}:{node.origin.line}" if node.origin else ""
    failure = NodeFailed(path, where, error)
    if isinstance(error, ParseError):
        text = node.inputs[0] if node.inputs else ""  # a prompt of constants has no inputs
        if scope.finish_reasons.get(text) == "length":
            problem = f"{error}; it ran into max_tokens before the end: {HOW_TO_BOUND}"
            error = ParseError(problem, text=error.text)
        failure = OutputInvalid(path, where, error)
    if isinstance(error, TookTooLong):
        failure = ToolTimeout(path, where, error)
    failure.__cause__ = error
    return failure
