"""What a server lets its clients ask for."""

from dataclasses import dataclass
from enum import StrEnum


class PriorityRule(StrEnum):
    """What becomes of a client's `priority`, and of the `place` of its queries."""

    ALLOW = "allow"
    LOWER = "lower"  # up to 0: its own work may go behind that of others, and not before it; places
    # order the work of one client
    IGNORE = "ignore"  # passed over, with a warning
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ClientRules:
    """By default nobody can keep the others waiting."""

    is_exact: bool = False  # lossy answers are refused, whatever an engine can
    priority: PriorityRule = PriorityRule.LOWER
    parses_special: bool = False  # a prompt's markup is markup, unless its request says otherwise
    any_model: bool = False  # an unknown name of a model is the engine of that kind
    takes_policy: bool = False  # an engine goes by the policy that its client names
    tenant_header: str | None = None  # the header that names a request's tenant

    def parsed(self, asked: bool | None) -> bool:
        """Whether the markup of a prompt is markup; `asked` is what its request says."""
        return self.parses_special if asked is None else asked


DEFAULT_RULES = ClientRules()
ALL_ALLOWED = ClientRules(priority=PriorityRule.ALLOW)
