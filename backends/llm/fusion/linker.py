"""Brings the KV of chunks to a prompt that begins to run. On the engine's thread."""

from typing import Any

from backends.llm.fusion.link import Link
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.model.step_model import StepModel
from backends.llm.sequence.sequence import Sequence


class Linker:
    """Of one model and its KV memory."""

    def __init__(self, cache: KVCache, model: StepModel[Any], kv: Any) -> None:
        self._cache = cache
        self._model = model
        self._kv = kv

    def begin(self, sequence: Sequence) -> None:
        """Fill the pages of everything that the sequence links. Where there is no room for all of
        it, or a source was lost, the tokens are computed: exactly, and later."""
        table = sequence.table
        known = max(table.num_computed, sequence.num_known)
        self._cache.match_tree(table, sequence.ids[: sequence.num_cacheable])
        if not sequence.was_preempted:
            sequence.num_cached += max(0, table.num_computed - known)
        kept = [link.after(table.num_computed) for link in sequence.wanted_links]
        links = tuple(link for link in kept if link.num_tokens > 0 and _is_there(link))
        sequence.links = ()
        if links and self._cache.reserve(table, links[-1].end):
            links = tuple(filter(_is_there, links))  # room may have cost a source
            for link in links:
                self._bring(link, table)
            sequence.links, table.is_private = links, table.is_private or bool(links)
        sequence.num_fused = sum(link.num_tokens for link in sequence.links)
        sequence.skip_linked()

    def _bring(self, link: Link, table: PageTable) -> None:
        source, num_tokens = link.source, link.num_tokens
        places = source.pages, link.source_start, table.pages, link.start
        self._model.link(self._kv, *places, num_tokens)


def _is_there(link: Link) -> bool:
    source = link.source
    return not source.is_released and source.num_computed >= link.source_start + link.num_tokens
