"""Whether a prompt reads the KV of its chunks, as its real texts say.

The plan was chosen before the run (`graph_opt/passes/fuse_chunks.py`), by sizes that were guesses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import Chunk
from runtime.cost.sizes import num_tokens


def attrs_where_it_pays(attrs: Mapping[str, Any], inputs: Sequence[Any]) -> Mapping[str, Any]:
    """The attrs of a request, without `fusion` where that would save nothing.

    The first chunk stands where it was computed, right behind the prompt's prefix: it is an exact
    match and no saving. The others must have `fusion_from` tokens.
    """
    if "fusion" not in attrs:
        return attrs
    least, attrs = attrs.get("fusion_from", 1), _without(attrs, "fusion_from")
    moved = [part for part in inputs if isinstance(part, Chunk)][1:]
    return attrs if sum(map(num_tokens, moved)) >= least else _without(attrs, "fusion")


def _without(attrs: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key != name}
