"""The tenant of a request's prefixes: the one it names, or its context's."""

from typing import Protocol

from backends.base import Request
from backends.errors import RequestRejected
from backends.request_limits import MAX_NAME_CHARS, check_size


class Salted(Protocol):
    """A context."""

    @property
    def num_tokens(self) -> int: ...

    @property
    def salt(self) -> str: ...


def choose_salt(request: Request, parent: Salted | None) -> str:
    """Raises RequestRejected where KV of one tenant would be read by another."""
    salt = request.attrs.get("cache_salt")
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise RequestRejected(f"cache_salt must be a text with at least a character, not {salt!r}")
    check_size("cache_salt", len(salt or ""), MAX_NAME_CHARS, "characters")
    if parent is None or not parent.num_tokens:
        return salt or ""
    if salt is not None and salt != parent.salt:
        raise RequestRejected(
            "this context was made with another cache_salt, and its KV is for that one alone: "
            "prefill the whole prompt with this salt"
        )
    return parent.salt
