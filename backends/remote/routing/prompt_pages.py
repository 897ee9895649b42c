"""A prompt as a chain of pages: prompts that begin alike have the same first pages.

A page is so many token ids of a context, or bytes of text; its key is a hash of it and of all that
stands before it, adapter and cache salt included.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.base import Context, Request, Tokens, Turn
from backends.documents import Doc
from backends.remote.routing.kv_blocks import block_keys

PAGE_IDS = 32
PAGE_BYTES = 128


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request gives to read."""

    keys: tuple[int, ...] = ()  # of whole pages: those of ids, then those of text
    ids: Sequence[int] = ()
    num_bytes: int = 0  # of the text behind the ids
    adapter: str | None = None
    salt: str | None = None
    _blocks: dict[int, Sequence[int]] = field(default_factory=dict, compare=False)

    def block_keys(self, size: int) -> Sequence[int]:
        """The keys of its blocks of so many ids, for `KVBlocks`; computed once for all caches."""
        if size not in self._blocks:
            self._blocks[size] = block_keys(self.ids, size, self.adapter, self.salt)
        return self._blocks[size]

    @property
    def num_ids(self) -> int:
        return len(self.ids)

    def num_tokens(self, tokens_per_byte: float) -> float:
        return self.num_ids + self.num_bytes * tokens_per_byte

    def tokens_of_pages(self, num_pages: int, tokens_per_byte: float) -> float:
        """The tokens in the first so many pages."""
        num_id_pages = self.num_ids // PAGE_IDS
        if num_pages <= num_id_pages:
            return float(num_pages * PAGE_IDS)
        return self.num_ids + (num_pages - num_id_pages) * PAGE_BYTES * tokens_per_byte


def prompt_of(requests: Sequence[Request]) -> Prompt:
    """The prompt of an LLM request, which goes alone; of a batch of others their size."""
    request = requests[0]
    if request.op not in ("prefill", "decode", "generate", "select"):
        return Prompt(num_bytes=sum(len(text) for each in requests for text in _texts(each.inputs)))
    context, parts = split(request)
    ids: Sequence[int] = getattr(context, "ids", None) or ()
    text = b"".join(_encoded((*_texts_of_context(context), *parts)))
    adapter, salt = _kept_apart_by(request, context)
    keys = tuple(_keys(hash((adapter, salt)), ids, text))
    return Prompt(keys, ids, len(text), adapter, salt)


def context_of(request: Request) -> Context | None:
    """The context that a request goes on from."""
    first = request.inputs[0] if request.inputs else None
    return first if isinstance(first, Context) else None


def split(request: Request) -> tuple[Context | None, Sequence[Any]]:
    """The context of an LLM request, and the parts behind it."""
    if request.op == "generate":
        return None, request.inputs
    return context_of(request), request.inputs[1:]


def _kept_apart_by(request: Request, context: Context | None) -> tuple[str | None, str | None]:
    """The adapter and the cache salt."""
    adapter = request.attrs.get("adapter") or getattr(context, "adapter", None)
    salt = getattr(context, "salt", None) or getattr(context, "cache_salt", None)
    return adapter, request.attrs.get("cache_salt") or salt or None


def _texts_of_context(context: Context | None) -> Sequence[Any]:
    if getattr(context, "ids", None) is not None:
        return ()
    text = getattr(context, "text", None)
    return getattr(context, "parts", ()) if text is None else (text,)


def _encoded(parts: Sequence[Any]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Turn):
            yield f"<|{part.role}|>".encode()
        elif isinstance(part, Tokens):
            yield b"".join(token.to_bytes(4, "little") for token in part.ids)
        elif isinstance(part, str):
            yield part.encode("utf-8", "replace")


def _keys(root: int, ids: Sequence[int], text: bytes) -> Iterator[int]:
    key = root
    end = len(ids) - len(ids) % PAGE_IDS
    for start in range(0, end, PAGE_IDS):
        key = hash((key, tuple(ids[start : start + PAGE_IDS])))
        yield key
    key = hash((key, tuple(ids[end:])))
    for start in range(0, len(text) - PAGE_BYTES + 1, PAGE_BYTES):
        key = hash((key, text[start : start + PAGE_BYTES]))
        yield key


def _texts(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        yield value.encode("utf-8", "replace")
    elif isinstance(value, Doc):
        yield value.text.encode("utf-8", "replace")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
