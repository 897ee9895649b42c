"""The bounds of a request's fields, at every door: each is far above what a model can use, and
low enough that no request takes a noticeable time of an engine's thread or of others' memory."""

from collections.abc import Mapping

from backends.errors import RequestRejected

MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_STOP_TOKEN_IDS = 256
MAX_BIASES = 1024
MAX_CHOICES = 1024
MAX_CHOICES_CHARS = 65_536  # of all choices together
MAX_SCHEMA_CHARS = 262_144
MAX_LEVELS = 200  # of a JSON value: as deep as a request's body over HTTP
MAX_REGEX_CHARS = 16_384
MAX_TOOLS = 128
MAX_TOOLS_CHARS = 262_144  # of all tools together, as JSON
MAX_NAME_CHARS = 1024  # of an adapter, a cache_salt
MAX_PLACE_CHARS = 256  # of a name in what is said of a query
MAX_PLACE_S = 1e9  # of a time there
MAX_TOLD = 4096  # kept contexts that one request speaks of
MAX_PARTS = 65_536  # of a prompt
MAX_COUNT = 2**31 - 1  # of tokens
SEED_END = 2**64  # seeds go from -SEED_END to SEED_END


def check_size(field: str, size: int, most: int, unit: str) -> None:
    """Raises RequestRejected naming field, size and bound."""
    if size > most:
        raise RequestRejected(f"{field} has {size} {unit}; at most {most} are allowed")


def check_levels(field: str, value: object) -> None:
    """Raises RequestRejected for a JSON value nested deeper than MAX_LEVELS, or one that holds
    itself. It looks without recursion: where Python's own limit is met inside an encoder, objects
    collected just then cannot run their finalizers."""
    left = [(value, 0)]
    while left:
        value, level = left.pop()
        if level > MAX_LEVELS:
            raise RequestRejected(f"{field} is nested deeper than {MAX_LEVELS} levels")
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            left.extend((item, level + 1) for item in value)
