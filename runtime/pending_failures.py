"""The failures of one query that wait for what stands before them in the program.

A failure ends its query, or its body, when nothing that stands earlier can fail any more
(`failures.py`). Each end of a node may be what one of them waited for.
"""

from collections.abc import Callable, Sequence
from functools import partial

from graph_opt.graph import Node
from runtime.failures import Failure, FailureKey, error_at, top_of
from runtime.host import Host
from runtime.scope import Scope
from runtime.separate_values import SeparateValues


class PendingFailures:
    """Of the failures that end the same scope, the first in program order."""

    def __init__(
        self,
        host: Host,
        root: Scope,
        separate: SeparateValues | None,
        go_on: Callable[[Sequence[Node]], None],
    ) -> None:
        """`go_on` gets the nodes of `root` that a loss made ready."""
        self._host = host
        self._root = root
        self._separate = separate
        self._go_on = go_on
        self._failures: dict[FailureKey, Failure] = {}
        self._unsettled: dict[FailureKey, None] = {}  # those to look at again

    def add(self, scope: Scope, node: Node, error: Exception) -> None:
        """The node failed: stop what stands later."""
        top, _ = top_of(scope, node)
        failure = Failure(error_at(scope, node, error), scope, node, top, self._is_alone(top))
        failure.stop_later()
        self._failures[failure.key] = failure
        self._unsettled[failure.key] = None

    def look_again(self, scope: Scope, node: Node) -> None:
        """Something ended that a failure may have waited for."""
        top, top_node = top_of(scope, node)
        key = (top, top_node.name if self._is_alone(top) else "")
        if key in self._failures:
            self._unsettled[key] = None

    def settle(self) -> bool:
        """End what the next failure ends before which nothing can fail; whether there was one."""
        while self._unsettled:
            key, _ = self._unsettled.popitem()
            failure = self._failures[key]
            if failure.top.is_closed:  # by what is around it
                del self._failures[key]
            elif failure.is_first():
                del self._failures[key]
                self._take(failure)
                return True
        return False

    def clear(self) -> None:
        """Forget all: the query has ended."""
        self._failures.clear()
        self._unsettled.clear()

    def _is_alone(self, top: Scope) -> bool:
        return self._separate is not None and top is self._root

    def _take(self, failure: Failure) -> None:
        top, above = failure.top, failure.top.above
        failure.end()
        if failure.is_alone:
            assert self._separate is not None, "else nothing fails alone"
            self._go_on(self._separate.lose(failure.top_node, failure.error))
            return
        assert top.body.on_error is not None, "the top takes failures"
        if above is None:
            top.body.on_error(failure.error)
        else:
            on_error = partial(top.body.on_error, failure.error)
            self._host.guard(above.scope, above.node, on_error)
