"""What a fused prompt reads instead of computing it."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import NamedTuple

from backends.llm.kv.page_table import PageTable


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A part of a prompt: the last tokens of a context but for its padding, with their KV."""

    ids: tuple[int, ...]
    table: PageTable  # of the context; the engine's thread alone looks inside
    start: int  # where the first of `ids` stands in that context
    num_first: int = 0  # of its tokens, which are computed again


class Link(NamedTuple):
    """Tokens [start, end) of a prompt; the first of them stands at `source_start` of `source`."""

    start: int
    end: int
    source: PageTable
    source_start: int

    @property
    def num_tokens(self) -> int:
        return self.end - self.start

    def after(self, num_tokens: int) -> "Link":
        """What is left of it behind a prompt's first `num_tokens`. It starts at an even place: the
        kernels keep the values of two tokens in one word, and write a lone one's neighbour too."""
        start = max(self.start, num_tokens)
        start += start % 2
        return Link(
            start, max(start, self.end), self.source, self.source_start + start - self.start
        )


def link_of(part: Encoded, at: int, num_prompt: int) -> Link:
    """Where the part's first token stands at `at`. A prompt's last two tokens are computed: one for
    its logits, one so that there is a prefill."""
    link = Link(at, min(at + len(part.ids), num_prompt - 2), part.table, part.start)
    return link.after(at + part.num_first)


def fresh_runs(links: Items[Link], start: int, num_tokens: int) -> Iterator[tuple[int, int]]:
    """The next `num_tokens` from `start` on that no link brings, as stretches [first, end)."""
    for link in links:
        if link.start < start or not num_tokens:
            continue
        end = min(link.start, start + num_tokens)
        if end > start:
            yield start, end
            num_tokens -= end - start
        start = link.end
    if num_tokens:
        yield start, start + num_tokens
