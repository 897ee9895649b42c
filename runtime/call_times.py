"""How long each tool takes: what is learnt of it in this process.

The history of Continuum (arXiv 2511.02230), by which it says how long the KV of an agent is worth
keeping while its tool runs.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from graph_opt.graph import Node

WEIGHT = 0.25  # of the newest call
MAX_TOOLS = 1024


class CallTimes:
    """Seconds from a call's submission to its end, by the function that is called."""

    def __init__(self) -> None:
        self._means: OrderedDict[str, float] = OrderedDict()  # least recently called first

    def expected_s(self, tool: str) -> float | None:
        """Seconds that a call is expected to take; None before the first."""
        return self._means.get(tool)

    def note(self, tool: str, seconds: float) -> None:
        """A call took so long."""
        mean = self._means.setdefault(tool, seconds)
        self._means[tool] = mean + WEIGHT * (seconds - mean)
        self._means.move_to_end(tool)
        if len(self._means) > MAX_TOOLS:
            self._means.popitem(last=False)


def tool_of(node: Node, symbols: Mapping[str, Any]) -> str:
    """What a call calls, under the same name in all apps."""
    name = str(node.attrs["fn"])
    function = symbols.get(name)
    names = (getattr(function, each, None) for each in ("__module__", "__qualname__", "__name__"))
    return ".".join([name, *(each for each in names if isinstance(each, str))])
