"""What a query, or a primitive of it, is served for."""

from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["latency", "throughput"]

LATENCY: Final = "latency"  # somebody waits for it
THROUGHPUT: Final = "throughput"  # in bulk, after all that somebody waits for
