"""A `call` whose function is another app: that runs as a session of its own, inside the query."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

Function = Callable[..., Coroutine[Any, Any, Any]]


class Nested:
    """What stands for such a function in one run. A class, not a protocol: each call is asked
    whether its function is one, and a protocol answers in 10 us."""

    __slots__ = ()

    def at(self, path: str, engines: Sequence[str]) -> Function:
        """The function for the call at a place of the run, as `q3.answers[2].research`; `engines`
        are those that the app may use, by the names that the query has for them."""
        raise NotImplementedError
