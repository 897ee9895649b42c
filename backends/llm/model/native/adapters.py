"""LoRA adapters in the kernels' panels, packed once per adapter and kept while it is in use."""

import ctypes
from weakref import WeakKeyDictionary

import numpy as np

from backends.llm.lora.adapter import Delta, LoadedAdapter
from backends.native.library import DeltaStruct, Format
from backends.native.packing import Packed, pack_values

_PARTS = ("qkv", "out", "gate_up", "down")  # in the order of the kernels' `Projection`


class PackedAdapters:
    """Of one model; `full` is its format of unquantised weights."""

    def __init__(self, full: Format) -> None:
        self._full = full
        self._packed: WeakKeyDictionary[LoadedAdapter, _PackedAdapter] = WeakKeyDictionary()

    def address(self, adapter: LoadedAdapter) -> int:
        """Where its structures lie; good while the adapter lives."""
        return self._of(adapter).address

    def num_bytes(self, adapter: LoadedAdapter) -> int:
        """What the panels take beside the adapter's own tensors."""
        return self._of(adapter).num_bytes

    def _of(self, adapter: LoadedAdapter) -> "_PackedAdapter":
        if (packed := self._packed.get(adapter)) is None:
            packed = self._packed[adapter] = _PackedAdapter(adapter, self._full)
        return packed


class _PackedAdapter:
    def __init__(self, adapter: LoadedAdapter, full: Format) -> None:
        self._kept: list[Packed] = []
        self._structs = (DeltaStruct * (len(adapter.layers) * len(_PARTS)))()
        for i, layer in enumerate(adapter.layers):
            for j, part in enumerate(_PARTS):
                delta: Delta | None = getattr(layer, part)
                if delta is not None:
                    self._structs[i * len(_PARTS) + j] = self._pack(delta, full, part == "gate_up")

    @property
    def num_bytes(self) -> int:
        return sum(packed.data.nbytes for packed in self._kept)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._structs)

    def _pack(self, delta: Delta, full: Format, interleave: bool) -> DeltaStruct:
        padding = len(delta.a) % 2  # words hold two ranks in bfloat16
        a = np.pad(delta.a.cpu().numpy(), ((0, padding), (0, 0)))  # [R, in]
        b = np.pad(delta.b.cpu().numpy(), ((0, 0), (0, padding)))  # [out, R]
        halves = list(np.split(b, 2)) if interleave else [b]
        packed = (
            pack_values([a], full, None, interleave=False),
            pack_values(halves, full, None, interleave),
        )
        self._kept += packed
        return DeltaStruct(packed[0].struct, packed[1].struct)
