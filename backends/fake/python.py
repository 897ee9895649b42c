"""Runs Python functions on the loop itself, after a stated latency: for virtual time."""

from typing import Any

from backends.base import Request, Result, Usage
from backends.fake.engine import FakeEngine

ONE_CALL = Usage(num_items=1)


class FakePython(FakeEngine):
    """Like the real Python engine, without threads: what runs is the function itself."""

    kind = "python"

    async def answer(self, request: Request) -> Result:
        names: tuple[str, ...] = tuple(request.attrs.get("kwargs", ()))
        split = len(request.inputs) - len(names)
        kwargs: dict[str, Any] = dict(zip(names, request.inputs[split:], strict=True))
        value = request.attrs["fn"](*request.inputs[:split], **kwargs)
        return Result((value,), ONE_CALL)
