"""Which endpoint has the KV of a context: readers of it rather go there, though any may serve."""

from typing import Any
from weakref import WeakKeyDictionary

from backends.base import Context
from backends.remote.routing.endpoint import Endpoint


class Homes:
    """Contexts belong to the client and hold nothing at a server: a home is a preference."""

    def __init__(self) -> None:
        self._homes: WeakKeyDictionary[Context, tuple[Endpoint, int, int]] = WeakKeyDictionary()

    def computed(self, outputs: Any, endpoint: Endpoint) -> None:
        """The endpoint has computed these contexts."""
        for output in outputs if isinstance(outputs, (list, tuple)) else (outputs,):
            if isinstance(output, (list, tuple)):
                self.computed(output, endpoint)
            elif isinstance(output, Context):
                self._homes[output] = (endpoint, endpoint.epoch, output.num_tokens)

    def extended(self, parent: Context | None, outputs: Any) -> None:
        """The client went on from a context."""
        home = None if parent is None else self._homes.get(parent)
        for output in outputs:
            if home is not None and isinstance(output, Context):
                self._homes[output] = home

    def tokens_at(self, context: Context | None, endpoint: Endpoint) -> int:
        """How many tokens of the context the endpoint has."""
        found = None if context is None else self._homes.get(context)
        if found is None:
            return 0
        home, epoch, num_tokens = found
        return num_tokens if home is endpoint and epoch == endpoint.epoch else 0
