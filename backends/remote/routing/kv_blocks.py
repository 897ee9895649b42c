"""The prefix cache of a server as its KV events tell: which blocks of token ids it holds.

It is complete if no event was missed since the server was started or cleared its cache. Events are
those of vLLM 0.32 and SGLang 0.5: BlockStored, BlockRemoved, AllBlocksCleared, each a map or, from
older servers, an array.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_FIELDS = {  # of events that are arrays: after the name of the event
    "BlockStored": (
        "block_hashes",
        "parent_block_hash",
        "token_ids",
        "block_size",
        "lora_id",
        "medium",
        "lora_name",
        "extra_keys",
    ),
    "BlockRemoved": ("block_hashes", "medium"),
    "AllBlocksCleared": (),
}
_ON_DEVICE = (None, "GPU", "gpu")  # blocks elsewhere have to be brought back first


class KVBlocks:
    """Blocks by the server's hashes, found by their token ids and those before them."""

    def __init__(self) -> None:
        self.is_complete = False
        self.block_size = 0  # ids in a block; 0: not known yet
        self._keys: dict[Any, int] = {}  # the server's hash of a block -> ours
        self._held: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def match(self, keys: Sequence[int]) -> int:
        """How many ids the server holds, of those whose blocks have these keys."""
        held = self._held
        num = next((i for i, key in enumerate(keys) if key not in held), len(keys))
        return num * self.block_size

    def reset(self, *, is_complete: bool) -> None:
        """Begin anew: all is gone, or events were missed."""
        self._keys.clear()
        self._held.clear()
        self.is_complete = is_complete

    def apply(self, event: Any) -> None:
        """Raises KeyError, TypeError or ValueError for an event that is none."""
        name, fields = _read(event)
        if name == "AllBlocksCleared":
            self.reset(is_complete=True)
        elif fields.get("medium") not in _ON_DEVICE:
            return
        elif name == "BlockStored":
            self._store(fields)
        elif name == "BlockRemoved":
            for block in map(_hashable, fields["block_hashes"]):
                self._held.discard(self._keys.pop(block, 0))

    def _store(self, fields: Mapping[str, Any]) -> None:
        size, ids = int(fields["block_size"]), fields["token_ids"]
        parent = _hashable(fields["parent_block_hash"])
        if parent is None:
            key = _root_of(fields)
        elif parent in self._keys:
            key = self._keys[parent]
        else:
            return  # behind a block that we never heard of
        self.block_size = size
        for number, block in enumerate(map(_hashable, fields["block_hashes"])):
            key = _key(key, ids[number * size : (number + 1) * size])
            self._keys[block] = key
            self._held.add(key)


def block_keys(
    ids: Sequence[int], size: int, adapter: str | None, salt: str | None
) -> Sequence[int]:
    """Our keys of the whole blocks that these ids begin with."""
    keys, key = [], _root(adapter, salt)
    for start in range(0, len(ids) - size + 1, size) if size else ():
        key = _key(key, ids[start : start + size])
        keys.append(key)
    return keys


def _read(event: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(event, Mapping):
        return event["type"], event
    name, *values = event
    return name, dict(zip(_FIELDS[name], values, strict=False))


def _hashable(block: Any) -> Any:
    return bytes(block) if isinstance(block, (bytearray, list)) else block


def _root_of(fields: Mapping[str, Any]) -> int:
    """Extra keys of the first block: the adapter's name, the salt, and what is no text."""
    adapter = fields.get("lora_name")
    extra = (fields.get("extra_keys") or [None])[0] or ()
    others = [key for key in extra if key != adapter]
    if len(others) > 1 or any(not isinstance(key, str) for key in others):
        return hash(repr(extra))  # images and the like, which no prompt of ours has
    return _root(adapter, others[0] if others else None)


def _root(adapter: str | None, salt: str | None) -> int:
    return hash((adapter, salt or None))


def _key(before: int, ids: Sequence[int]) -> int:
    return hash((before, tuple(ids)))
