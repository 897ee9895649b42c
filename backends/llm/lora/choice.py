"""Which adapter a request runs with: the one it names, or the one its context was made with."""

from backends.base import Request
from backends.errors import RequestRejected
from backends.llm.lora.adapter import Adapter
from backends.llm.lora.pool import AdapterPool
from backends.llm.sequence.sequence import LLMContext


def choose_adapter(
    pool: AdapterPool, request: Request, parent: LLMContext | None
) -> Adapter | None:
    """None: the base model alone. Raises RequestRejected for an unknown name, and where KV of one
    adapter would be read with another's weights."""
    named = request.attrs.get("adapter")
    asked = pool.find(named) if named is not None else None
    if parent is None or not parent.ids:
        return asked
    made_with = parent.adapter
    if asked is not None and (made_with is None or made_with.digest != asked.digest):
        maker = (
            f"with adapter {made_with.name!r}" if made_with is not None else "without an adapter"
        )
        raise RequestRejected(
            f"this context was made {maker} and cannot go on with adapter {asked.name!r}, whose KV "
            "would be another: prefill the whole prompt with it"
        )
    return asked or _still_known(pool, made_with)


def _still_known(pool: AdapterPool, made_with: Adapter | None) -> Adapter | None:
    if made_with is None or made_with.is_known:
        return made_with
    found = pool.find(made_with.name)
    if found.digest != made_with.digest:
        raise RequestRejected(
            f"adapter {made_with.name!r} is another one now than when this context was made: "
            "prefill the prompt again"
        )
    return found
