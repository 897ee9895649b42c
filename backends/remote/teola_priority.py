"""Which priorities a teola server takes from its clients; its models say by which rule."""

from collections.abc import Mapping
from typing import Any


def rule_of(card: Mapping[str, Any] | None) -> str:
    """The rule in a model's card; a server without one takes all."""
    return str((card or {}).get("client_priority", "allow"))


def sendable(rule: str, priority: int) -> int:
    """What may be asked for in the place of this priority."""
    if rule == "lower":
        return min(priority, 0)
    return priority if rule == "allow" else 0
