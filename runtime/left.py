"""The work that is left of a query, corrected while it runs.

The plan expects so many items of each map and one turn of each loop. A map that has its list says
how many there are; each body that opens beyond what was expected adds its work; a node that ends
takes its own off, and what bodies that never opened would have asked for. All requests of the query
share the number, so that engines order what runs and what waits by what is known now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from backends.place import Left
from graph_opt.graph import Node
from runtime.hints import Hint
from runtime.scope import Scope


@dataclass(slots=True)
class _Bodies:
    """Of one node."""

    turn_s: float
    num_expected: float
    num_opened: int = 0


class QueryLeft:
    """Keeps a `Left` true. Each call costs O(1)."""

    def __init__(self, hints: Mapping[str, Hint], now_s: float) -> None:
        work_s = next((hint.work_s for hint in hints.values()), 0.0)
        self.shared = Left(work_s, now_s)
        self._bodies: dict[tuple[int, str], _Bodies] = {}  # by scope and node

    def expects(self, scope: Scope, node: Node, count: float) -> None:
        """So many bodies of the node will have run in the end."""
        bodies = self._of(scope, node)
        self.shared.add((count - bodies.num_expected) * bodies.turn_s)
        bodies.num_expected = count

    def opened(self, scope: Scope, node: Node) -> None:
        """A body of the node begins."""
        bodies = self._bodies.get((id(scope), node.name)) or self._of(scope, node)
        bodies.num_opened += 1
        if bodies.num_opened > bodies.num_expected:
            self.expects(scope, node, bodies.num_opened)

    def ended(self, scope: Scope, node: Node) -> None:
        """The node has its outputs."""
        if node.bodies:
            num_opened = self._of(scope, node).num_opened
            self.expects(scope, node, num_opened)
            if (seen := scope.layout.seen.get(node.name)) is not None:
                seen.note_turns(num_opened)
            del self._bodies[id(scope), node.name]
        elif (hint := scope.layout.hints.get(node.name)) is not None and hint.turn_s:
            self.shared.add(-hint.turn_s)

    def _of(self, scope: Scope, node: Node) -> _Bodies:
        key = id(scope), node.name
        found = self._bodies.get(key)
        if found is None:
            hint = scope.layout.hints.get(node.name)
            turn_s, turns = (0.0, 0.0) if hint is None else (hint.turn_s, hint.turns)
            found = self._bodies[key] = _Bodies(turn_s, turns)
        return found
