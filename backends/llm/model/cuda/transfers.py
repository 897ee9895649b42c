"""What crosses between host and device in a step: one vector down, the tokens up, and an event."""

from typing import Protocol

import torch
from torch import Tensor

from backends.llm.model.batch import Ints
from backends.llm.model.cuda.step_plan import StepPlan


class Event(Protocol):
    """A place in the device's queue."""

    def record(self) -> None:
        """Here."""

    def synchronize(self) -> None:
        """Wait until all before it is done."""


class StepUpload:
    """A vector on the device that stays where it is, and two pinned ones on the host: the next
    step is laid out while the last one's copy may be under way."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.ints = torch.zeros(capacity, dtype=torch.int32, device=device)
        self._hosts = [_pinned(capacity, torch.int32, device) for _ in range(2)]
        self._copied = [event_on(device) for _ in range(2)]
        self._turn = 0

    def send(self, plan: StepPlan) -> Tensor:
        """The vector on the device that holds the plan; good until the next one is sent."""
        total = plan.sizes.total
        if total > len(self.ints):  # more rows than a step should have: it works, by a copy more
            own = torch.empty(total, dtype=torch.int32)
            plan.write(own.numpy())
            return own.to(self.ints.device)
        self._turn = 1 - self._turn
        host, copied = self._hosts[self._turn], self._copied[self._turn]
        copied.synchronize()
        plan.write(host.numpy())
        self.ints[:total].copy_(host[:total], non_blocking=True)
        copied.record()
        return self.ints


class TokenDownload:
    """Tokens on their way to the host."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._host = _pinned(capacity, torch.int64, device)
        self._done = event_on(device)
        self._num_tokens = 0
        self._device = device

    def start(self, tokens: Tensor) -> None:
        """Copy tokens [W] when all before is done."""
        self._num_tokens = len(tokens)
        if self._num_tokens > len(self._host):
            self._host = _pinned(2 * self._num_tokens, torch.int64, self._device)
        self._host[: self._num_tokens].copy_(tokens, non_blocking=True)
        self._done.record()

    def wait(self) -> Ints:
        """The tokens; blocks for nothing but the event."""
        self._done.synchronize()
        return self._host[: self._num_tokens].numpy().copy()


class _Done:
    """On a CPU everything is done when it is called."""

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


def event_on(device: torch.device) -> Event:
    """Of the device's current stream."""
    if device.type != "cuda":
        return _Done()
    event: Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    return event


def _pinned(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros(size, dtype=dtype, pin_memory=device.type == "cuda")
