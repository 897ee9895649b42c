"""An adapter as the engine knows it by name, whether its weights are in memory or only on disk."""

from dataclasses import dataclass, field
from pathlib import Path

from backends.llm.kv.page_table import PageTable
from backends.llm.lora.weights import LoadedAdapter


@dataclass(slots=True, eq=False)
class Adapter:
    """`AdapterPool` alone changes it."""

    name: str
    folder: Path
    digest: str  # of its files when it was loaded first; names its prefixes in the radix tree
    num_pages: int  # of the KV pool, that its weights are worth
    loaded: LoadedAdapter | None = None  # None: on disk only
    num_users: int = 0  # sequences that run with it; it is never evicted under them
    is_known: bool = True  # False from `unload` on; goes when its last user does
    table: PageTable = field(default_factory=PageTable)  # the pages its weights pay with

    def __repr__(self) -> str:
        return f"Adapter({self.name!r})"
