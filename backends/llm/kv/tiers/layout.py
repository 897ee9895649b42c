"""What KV is made by and how its bytes lie: pages of another layout are never read."""

from typing import Protocol


class HasLayout(Protocol):
    """A model."""

    @property
    def layout(self) -> str: ...
