"""How large a value will be, as far as that can be estimated before the run.

What cannot be known before the run has a default, stated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph_opt.graph import OF_NEXT_PART, Arg, Json, Marker, Node, Ref
from graph_opt.tokens import BYTES_PER_TOKEN

TEXT_TOKENS = 16.0  # of a text that is an input or that a tool returns
LIST_ITEMS = 8.0  # of a list
DOCUMENT_TOKENS = 1500.0  # of a loaded document
CHUNK_TOKENS = 200.0  # of a stored passage
DECODE_TOKENS = 64.0  # of a generated text, at most its max_tokens
TURN_TOKENS = 4.0  # of the markup that opens a chat turn


@dataclass(frozen=True, slots=True)
class Size:
    """A text of so many tokens, or a list: so many items of one size."""

    tokens: float = TEXT_TOKENS
    items: float | None = None  # of a list
    item: Size | None = None  # of a list
    schema: Json = None  # of a decoded value, as far as it is known
    cached: float = 0.0  # of a context: the tokens that a server is expected to hold

    @property
    def total(self) -> float:
        """All tokens in it."""
        return self.tokens if self.item is None else (self.items or 0.0) * self.item.total

    @property
    def num_items(self) -> float:
        """The items of a list; one for anything else."""
        return 1.0 if self.items is None else self.items

    def as_list(self) -> Size:
        """The same, where a reader takes a list of a value that is not known to be one."""
        return self if self.item is not None else list_of(LIST_ITEMS, self)


UNKNOWN = Size()


def list_of(items: float, item: Size) -> Size:
    return Size(0.0, items, item)


def num_tokens(text: str) -> float:
    return len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN


def size_of(arg: Arg, sizes: Mapping[str, Size]) -> Size:
    """The size of a value or a literal."""
    if isinstance(arg, Ref):
        return sizes.get(arg.name, UNKNOWN)
    if isinstance(arg, Marker):
        return Size(0.0 if arg in OF_NEXT_PART else TURN_TOKENS)
    if isinstance(arg, list):
        return list_of(float(len(arg)), largest(size_of(item, sizes) for item in arg))
    return Size(num_tokens(arg) if isinstance(arg, str) else 1.0)


def prompt_tokens(parts: Sequence[Arg], sizes: Mapping[str, Size]) -> float:
    """The tokens of a prompt's parts."""
    return sum(size_of(part, sizes).total for part in parts)


def decode_tokens(node: Node) -> float:
    """How many tokens a model will write."""
    most = node.attrs.get("max_tokens")
    return min(float(most), DECODE_TOKENS) if isinstance(most, (int, float)) else DECODE_TOKENS


def largest(sizes: Iterable[Size]) -> Size:
    """The size with the most tokens in it."""
    return max(sizes, key=lambda size: size.total, default=UNKNOWN)


def positive(value: Any, default: float) -> float:
    """A positive number that an attribute gives, else the default."""
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


def first_arg_size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    """The size rule of ops whose output is as large as their first argument."""
    return (args[0],)
