"""What a server takes from its clients: bytes, items, connections and time."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults keep a server answering under any client; raise one where yours need more."""

    max_body_bytes: int = 16 * MIB
    max_body_items: int = 2**18  # of all lists and objects of a body; each of these counts as eight
    max_connections: int = 1024
    header_timeout_s: float = 10.0  # from the first byte of a request, or the connection
    body_timeout_s: float = 30.0
    write_timeout_s: float = 60.0  # that a client may leave an answer unread


DEFAULT_LIMITS = Limits()
