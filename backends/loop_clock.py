"""What kind of clock an event loop has."""

import asyncio


def is_virtual(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop's clock jumps to the next timer (`runtime.clock`): whatever then waits for a
    thread or a socket waits in vain."""
    return bool(getattr(loop, "is_virtual", False))
