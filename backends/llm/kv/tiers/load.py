"""One transfer of pages from lower tiers into pages of the pool."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Load:
    """Filled by the transfer thread until `is_done`; taken into the tree by the engine's."""

    keys: list[bytes]
    pages: list[int]  # of the pool, reserved for it: no other reader or writer
    num_host: int = 0  # pages that came, in order of `keys`: those of the host ...
    num_disk: int = 0  # ... and those of the disk; fewer than all where some were lost
    is_done: bool = False  # the worker is finished with it
    is_taken: bool = False  # what came is in the tree
    is_credited: bool = False

    @property
    def num_pages(self) -> int:
        return self.num_host + self.num_disk

    def credit(self) -> int:
        """Pages that the first caller may count as found in a lower tier."""
        is_first = self.is_taken and not self.is_credited
        self.is_credited |= self.is_taken
        return self.num_pages if is_first else 0
