"""The proposer that an engine's options ask for."""

from collections.abc import Callable
from typing import Any

from backends.llm.kv.cache import KVCache
from backends.llm.model.step_model import StepModel
from backends.llm.options import LLMOptions
from backends.llm.speculation.draft import DraftProposer
from backends.llm.speculation.ngram import NgramProposer
from backends.llm.speculation.speculator import Speculator


def open_speculation(
    options: LLMOptions,
    cache: KVCache,
    draft: StepModel[Any] | None,
    vocab_size: int,
    clock: Callable[[], float],
) -> Speculator | None:
    """None where nothing is to be guessed. `draft` gets as many pages as the cache has."""
    if options.speculation == "off":
        return None
    if options.speculation == "ngram":
        return Speculator(NgramProposer(), cache, options.guesses)
    assert draft is not None, "speculation='draft' without a draft model"
    pool = cache.pool
    proposer = DraftProposer(
        draft, pool.num_pages, pool.page_size, options.max_running, vocab_size, clock
    )
    return Speculator(proposer, cache, options.guesses)
