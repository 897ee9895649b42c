"""An adapter: its weights, and how the engine knows it by name.

The weights are what is added to the four fused projections of each layer:

    fused qkv, adapters on q and v:    a = [A_q]      b = [s_q B_q     0   ]
                                           [A_v]          [   0        0   ]
                                                          [   0     s_v B_v]

The scale is folded into b, so that a projection's delta is `(x @ a.T) @ b.T` (arXiv 2106.09685).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backends.llm.kv.page_table import PageTable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to one fused projection."""

    a: "Tensor"  # [R, in], float32
    b: "Tensor"  # [out, R], float32

    def of(self, x: "Tensor") -> "Tensor":
        """x [T, in] -> [T, out], in float32."""
        return (x.float() @ self.a.T) @ self.b.T


@dataclass(frozen=True, slots=True)
class LayerDeltas:
    """One layer; None: that projection stays as it is."""

    qkv: Delta | None = None
    out: Delta | None = None
    gate_up: Delta | None = None
    down: Delta | None = None

    def deltas(self) -> Iterator[Delta]:
        every = (self.qkv, self.out, self.gate_up, self.down)
        return (delta for delta in every if delta is not None)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedAdapter:
    """All of an adapter's weights, on the model's device. A model may keep its own form of them for
    as long as this object lives."""

    layers: tuple[LayerDeltas, ...]  # [L]
    digest: str  # of the files it was read from

    @property
    def num_bytes(self) -> int:
        tensors = (
            x for layer in self.layers for delta in layer.deltas() for x in (delta.a, delta.b)
        )
        return sum(tensor.nbytes for tensor in tensors)


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
