"""The bounds of a request's fields, at every door: each is far above what a model can use, and
low enough that no request takes a noticeable time of an engine's thread or of others' memory."""

from backends.errors import RequestRejected

MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_STOP_TOKEN_IDS = 256
MAX_BIASES = 1024
MAX_CHOICES = 1024
MAX_CHOICES_CHARS = 65_536  # of all choices together
MAX_SCHEMA_CHARS = 262_144
MAX_REGEX_CHARS = 16_384
MAX_TOOLS = 128
MAX_TOOLS_CHARS = 262_144  # of all tools together, as JSON
MAX_NAME_CHARS = 1024  # of an adapter, a cache_salt
MAX_PLACE_CHARS = 256  # of a name in what is said of a query
MAX_PLACE_S = 1e9  # of a time there
MAX_PARTS = 65_536  # of a prompt
MAX_COUNT = 2**31 - 1  # of tokens
SEED_END = 2**64  # seeds go from -SEED_END to SEED_END


def check_size(field: str, size: int, most: int, unit: str) -> None:
    """Raises RequestRejected naming field, size and bound."""
    if size > most:
        raise RequestRejected(f"{field} has {size} {unit}; at most {most} are allowed")
