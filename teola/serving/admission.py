"""Admission control: a bound on the requests that run or wait at one engine."""

from collections.abc import Iterator
from contextlib import contextmanager

from teola.serving.api_errors import ApiError


class Admission:
    """Refuses requests beyond the limit with 429."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_admitted = 0

    @contextmanager
    def admitted(self, count: int) -> Iterator[None]:
        """Raises ApiError: 429, or 400 for a request that can never be let in."""
        if count > self.limit:
            message = f"a request for {count} answers; this server takes {self.limit} at once"
            raise ApiError(400, message, code="invalid_value")
        if self.num_admitted + count > self.limit:
            message = f"the queue is full ({self.num_admitted} of {self.limit}); try again soon"
            raise ApiError(429, message, code="overloaded")
        self.num_admitted += count
        try:
            yield
        finally:
            self.num_admitted -= count
