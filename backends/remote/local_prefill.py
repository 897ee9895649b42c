"""Which requests an engine at a server answers itself."""

from backends.base import EngineInfo, Request


def is_local(request: Request, info: EngineInfo) -> bool:
    """A prefill that makes a context of the client's and asks no server."""
    if request.op != "prefill" or request.attrs.get("ahead"):
        return False
    return "warm_up" in info.capabilities or "prefill" not in info.capabilities
