"""What a query, or a primitive of it, is served for."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["latency", "throughput"]
