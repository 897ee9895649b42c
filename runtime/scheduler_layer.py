"""What stands before an engine's scheduler and looks like it to queries."""

from typing import Generic, TypeVar

from runtime.job import Scheduler

S = TypeVar("S", bound=Scheduler)


class SchedulerLayer(Generic[S]):
    """The numbers of the scheduler behind it; `submit` and `cancel` are the layer's own."""

    def __init__(self, scheduler: S) -> None:
        self._scheduler = scheduler

    @property
    def name(self) -> str:
        return self._scheduler.name

    @property
    def batch_items(self) -> int:
        return self._scheduler.batch_items

    @property
    def num_slots(self) -> int:
        return self._scheduler.num_slots

    @property
    def num_jobs(self) -> int:
        return self._scheduler.num_jobs
