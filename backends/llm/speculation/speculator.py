"""Fits guesses into steps, last, and only into capacity that nothing else uses.

Only steps of decodes alone get guesses, as many as the token budget and the free pages allow; a
step with a chunk of a prompt uses its rows for the prompt. No sequence is preempted for a guess.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from backends.llm.kv.cache import KVCache
from backends.llm.model.batch import Run
from backends.llm.model.step_model import StepModel
from backends.llm.options import LLMOptions
from backends.llm.planner.planner import Step
from backends.llm.speculation.controller import SpeculationController
from backends.llm.speculation.ngram import NgramProposer
from backends.llm.speculation.proposer import Ask, Proposer
from backends.llm.stats import SpeculationStats


@dataclass(slots=True)
class _Decodes:
    """A step of decodes alone, as it was before guesses."""

    num_keys: int
    num_accepted: int  # by its sequences, ever
    is_measured: bool  # False: some requests asked for guesses
    catch_up_s: float = 0.0


class Speculator:
    """The guesses of one engine: at most `most` for a sequence in a step."""

    def __init__(self, proposer: Proposer, cache: KVCache, most: int) -> None:
        self.proposer = proposer
        self.controller = SpeculationController()
        self._cache = cache
        self._most = most
        self._stats = SpeculationStats()
        self._decodes: _Decodes | None = None  # of the step that runs

    @property
    def stats(self) -> SpeculationStats:
        """What came of them so far."""
        return replace(self._stats, is_on=int(self.controller.is_on))

    def extend(self, step: Step) -> None:
        """Put guesses behind the decodes of a planned step."""
        self._decodes = None
        if not step.runs or not all(map(_is_decode, step.runs)):
            return
        pays = self.controller.wants_guesses(len(step.runs))
        is_free = pays or self.controller.is_resting  # else this step is to be measured without
        rooms = [_room(run, pays, is_free) for run in step.runs]
        self._decodes = _Decodes(
            step.num_keys, _num_accepted(step), is_measured=pays or not any(rooms)
        )
        places = [i for i, room in enumerate(rooms) if room and step.budget > 0]
        if places:
            most = min(self._most, step.budget)
            asks = [Ask(step.runs[i].sequence, min(rooms[i], most)) for i in places]
            found = self.proposer.propose(asks)
            self._decodes.catch_up_s = self.proposer.catch_up_s
            for i, guesses in zip(places, found, strict=True):
                self._add(step, i, guesses)

    def note(self, step: Step, elapsed_s: float) -> None:
        """The step ran, `elapsed_s` from before `extend` on, and its tokens were taken."""
        decodes = self._decodes
        if decodes is None:
            return
        num_guesses = sum(len(run.guesses) for run in step.runs)
        num_accepted = _num_accepted(step) - decodes.num_accepted
        self._stats.decode_steps += 1
        self._stats.guessed_steps += num_guesses > 0
        self._stats.guessed_tokens += num_guesses
        self._stats.accepted_tokens += num_accepted
        if decodes.is_measured:
            shape = len(step.runs), decodes.num_keys
            elapsed_s -= decodes.catch_up_s
            self.controller.note_catch_up(decodes.catch_up_s)
            if num_guesses:
                self.controller.note_guessed(*shape, num_accepted, elapsed_s)
            else:
                self.controller.note_plain(*shape, elapsed_s)

    def _add(self, step: Step, place: int, guesses: list[int]) -> None:
        run = step.runs[place]
        num_known, table = len(run.sequence.ids), run.sequence.table
        guesses = guesses[: step.budget]
        if not self._cache.lengthen(table, num_known + len(guesses)):
            guesses = guesses[: len(table.pages) * self._cache.pool.page_size - num_known]
        num_guesses = len(guesses)
        step.runs[place] = run._replace(
            num_tokens=1 + num_guesses, num_logits=1 + num_guesses, guesses=tuple(guesses)
        )
        step.budget -= num_guesses
        step.num_tokens += num_guesses
        step.num_keys += num_guesses * num_known + num_guesses * (num_guesses + 1) // 2
        assert run.sequence.generation is not None, "guesses of what is not generated"
        run.sequence.generation.num_guessed += num_guesses


def _is_decode(run: Run) -> bool:
    return run.sequence.generation is not None and run.num_tokens == run.num_logits == 1


def _room(run: Run, pays: bool, is_free: bool) -> int:
    """Guesses that a decode may have: none of its last token, which ends it right or wrong."""
    generation = run.sequence.generation
    assert generation is not None, "a decode without a generation"
    wish = generation.sampling.speculate
    is_wanted = pays if wish is None else wish and is_free
    if not is_wanted or generation.matcher is not None or generation.sampling.has_penalties:
        return 0
    return max(0, generation.max_new - run.sequence.num_output - 1)


def _num_accepted(step: Step) -> int:
    return sum(run.sequence.generation.num_accepted for run in step.runs if run.sequence.generation)


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
    from backends.llm.speculation.draft import DraftProposer

    pool = cache.pool
    proposer = DraftProposer(
        draft, pool.num_pages, pool.page_size, options.max_running, vocab_size, clock
    )
    return Speculator(proposer, cache, options.guesses)
