"""A server reuses all chunks of a prompt by one plan."""

from backends.errors import RequestRejected


def plan_named(named: object, before: str | None) -> str | None:
    """The plan that a request names, else that of the context it goes on from. Raises
    RequestRejected for two plans."""
    if named is None:
        return before
    if not isinstance(named, str) or not named:
        raise RequestRejected(f"fusion must name a plan, not {named!r}")
    if before is not None and named != before:
        raise RequestRejected(
            f"this context was made with fusion {before!r}, and a server reuses all chunks of a "
            f"prompt by one plan: prefill the whole prompt with {named!r}"
        )
    return named
