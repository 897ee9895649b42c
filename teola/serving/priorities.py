"""The priorities of clients: whoever may raise its own can keep all others waiting."""

from starlette.types import Scope

from teola.serving.api_errors import invalid
from teola.serving.client_rules import PriorityRule
from teola.serving.warnings_header import warn


def granted(scope: Scope, rule: PriorityRule, priority: int) -> int:
    """What the client of a request gets who asks for this priority. Raises ApiError."""
    if rule == PriorityRule.ALLOW or not priority:
        return priority
    if rule == PriorityRule.IGNORE:
        warn(scope, "priority: without effect on this server")
        return 0
    if rule == PriorityRule.LOWER and priority < 0:
        return priority
    takes = "above 0" if rule == PriorityRule.LOWER else "but 0"
    why = f"priority: this server takes none {takes} from clients (its --client-priority)"
    raise invalid("priority", why, "unsupported_parameter")
