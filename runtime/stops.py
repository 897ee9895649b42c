"""The nodes of a running copy of a graph that a failure has stopped."""

from dataclasses import dataclass, field

from runtime.item_streams import Place

NOTHING = 1 << 60
EVERYTHING = -1


@dataclass(slots=True)
class Stops:
    """A node that is stopped may still have bodies that go on: those before its place."""

    index: int = NOTHING  # this node of the graph is stopped, and all later ones
    place: Place = ()
    nodes: dict[str, Place] = field(default_factory=dict)  # single nodes that are stopped

    def has(self, name: str, index: int) -> bool:
        """Whether the node is stopped."""
        return index >= self.index or name in self.nodes

    def has_body(self, name: str, index: int, place: Place) -> bool:
        """Whether the body at a place of the node is stopped."""
        if name in self.nodes and place > self.nodes[name]:
            return True
        return (index, place) > (self.index, self.place)
