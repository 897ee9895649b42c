"""A joined text that knows its items: the parts of a prompt whose KV can be read elsewhere.

Of an item all that depends on its place (`{i}`, a score), the separators and what is too short are
plain text. So a chunk of the same item is the same text at each place of each prompt, and what
stands before the first is the same for all items.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from string import Formatter

from backends.base import Chunk

MIN_CHUNK_BYTES = 64  # about a page of KV: less is computed as fast as it is read
_OF_PLACE = ("i", "score")


class ChunkedText(str):
    """A text and the parts that it consists of."""

    __slots__ = ("parts",)
    parts: tuple[str, ...]  # some of them are Chunks

    def __new__(cls, parts: Sequence[str]) -> "ChunkedText":
        text = super().__new__(cls, "".join(parts))
        text.parts = tuple(parts)
        return text

    def behind(self, space: str) -> Sequence[str]:
        """The parts behind a space, which is no part of a chunk."""
        if not space or not self.parts:
            return self.parts
        first, *others = self.parts
        return (space, *self.parts) if isinstance(first, Chunk) else (space + first, *others)


def chunked(template: str, separator: str, items: Sequence[Callable[[str], str]]) -> ChunkedText:
    """The template once for each item, which is what fills a part of a template."""
    pieces: list[tuple[str, bool]] = []
    for number, fill in enumerate(items):
        pieces += [(separator, False)] if number else []
        pieces += [(fill(part), is_own) for part, is_own in _parts_of(template)]
    return ChunkedText(list(_merged(pieces)))


def _merged(pieces: Sequence[tuple[str, bool]]) -> Iterator[str]:
    """The first own text is a chunk however short: chunks are computed behind what precedes it,
    which is then the same for all items."""
    plain, least = "", 1
    for text, is_own in pieces:
        if is_own and len(text.encode("utf-8", "replace")) >= least:
            if plain:
                yield plain
            yield Chunk(text)
            plain, least = "", MIN_CHUNK_BYTES
        else:
            plain += text
    if plain:
        yield plain


@cache
def _parts_of(template: str) -> Sequence[tuple[str, bool]]:
    """The template in parts, and whether each is the item's own wherever that stands: its fields,
    with the words beside them."""
    found: list[tuple[str, bool]] = []
    is_behind_own = False
    for words, field, spec, conversion in Formatter().parse(template):
        name = "i" if field is None else field.partition(".")[0].partition("[")[0]
        is_own = name not in _OF_PLACE
        found.append((words.replace("{", "{{").replace("}", "}}"), is_behind_own or is_own))
        if field is not None:
            shown = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            found.append((f"{{{shown}}}", is_own))
            is_behind_own = is_own
    return tuple(_grouped(found))


def _grouped(parts: Sequence[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    text, of = "", True
    for part, is_own in parts:
        if is_own != of and text:
            yield text, of
            text = ""
        text, of = text + part, is_own
    if text:
        yield text, of
