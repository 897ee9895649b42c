"""The embedded engine's core on an emulated model: its planner, radix cache and pages are real."""

from collections.abc import Mapping
from random import Random
from typing import Any

from backends.base import Request, ToolCall
from backends.emulated import made_up
from backends.emulated.options import EmulatedLLMOptions
from backends.emulated.prompt_text import PromptText
from backends.emulated.recording import Recording, Said
from backends.emulated.roofline import Roofline
from backends.emulated.scripts import FreeScript, GrammarScript, Script, Scripts
from backends.emulated.step_model import RooflineModel
from backends.emulated.texts import Texts
from backends.emulated.timeline import StepTimer
from backends.emulated.tool_texts import ToolTexts, as_model_writes
from backends.emulated.traces import read_trace
from backends.errors import RequestRejected
from backends.llm.core import LLMCore
from backends.llm.live_requests import Finished
from backends.llm.requests.open_turn import tools_of
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.sequence.generation import Generation
from backends.llm.sequence.group import Group
from backends.llm.sequence.sequence import Sequence
from backends.tool_calls.format import written_text
from backends.tool_calls.tools import Toolset
from backends.tool_calls.turn import ToolTurn


class EmulatedCore(LLMCore):
    """A step takes the time of `roofline` on `timer`; each request's output is known when it is
    prepared: from the recording, or else made up."""

    def __init__(
        self,
        roofline: Roofline,
        texts: Texts,
        options: EmulatedLLMOptions,
        kv_tokens: int,
        timer: StepTimer,
        recording: Recording | None = None,
    ) -> None:
        tokenizer = texts.tokenizer
        model = RooflineModel(roofline, tokenizer.vocab_size, timer)
        prompts = PromptEncoder(tokenizer, texts.template)
        self._scripts = Scripts()
        self._tool_texts = ToolTexts()
        super().__init__(
            model,
            prompts,
            options.of_core(),
            kv_tokens,
            timer,
            sampler=self._scripts.results,
            note_context=self._tool_texts.note,
        )
        self._timer = timer
        self._tokenizer = tokenizer
        self._prompt_text = PromptText(tokenizer, texts.template)
        self._end_id = min(prompts.stop_ids, default=None)
        self._output_tokens = options.output_tokens
        self._lengths = None if options.lengths is None else read_trace(options.lengths)
        self._recording = recording

    @property
    def num_preemptions(self) -> int:
        return self.planner.num_preemptions

    def prepare(self, request: Request) -> Group:
        """Also writes what each of its sequences will say. Any thread may call."""
        if request.attrs.get("logprobs") is not None:
            raise RequestRejected("an emulated engine has no logprobs: leave the attribute out")
        group = super().prepare(request)
        first = group.live[0]
        tool_prompts = [self._tool_texts.prompt(request, sequence) for sequence in group.live]
        if first.generation is not None:
            prompt = tool_prompts[0] or self._prompt_text.after(first.parent, first.ids)
            for number, sequence in enumerate(group.live):
                self._write(sequence, prompt, request, number)
        elif first.scoring is not None:
            self._score(group, request)
        return group

    def step(self) -> Finished:
        finished = super().step()
        if not self.has_work:
            self._timer.rest()
        return finished

    def _write(self, sequence: Sequence, prompt: str, request: Request, number: int) -> None:
        attrs, generation = _attrs_of(request, number), sequence.generation
        assert generation is not None, f"{sequence} is not a decode"
        said = self._recording.said(prompt, attrs) if self._recording is not None else None
        if said is not None:
            script = self._recorded(sequence, generation, said)
        else:
            numbers = made_up.seeded(prompt, attrs.get("temperature"), attrs.get("seed"), number)
            length = self._output_tokens or self._length_of(request, prompt, numbers)
            script = self._made_up(sequence, generation, prompt, attrs, numbers, length)
        self._scripts.give(sequence, script)

    def _length_of(self, request: Request, prompt: str, numbers: Random) -> int:
        """Of a made-up text. One from a trace is another one in each query."""
        if self._lengths is None:
            return numbers.randint(*made_up.LENGTHS)
        query = request.place.query if request.place is not None else ""
        return made_up.seeded(query, prompt).choice(self._lengths).output_tokens

    def _recorded(self, sequence: Sequence, generation: Generation, said: Said) -> Script:
        """Of the recorded text in full, whatever its length in this tokenizer's tokens."""
        tools = tools_of(sequence.turn)
        text = said.text
        if tools is not None:
            text = as_model_writes(text, self._prompts.format_of(tools))
        tokens = self._tokenizer.encode_text(text) if text else []
        room = self.max_context_tokens - sequence.num_prompt
        if generation.matcher is not None:
            generation.max_new = min(room, max(generation.max_new, 2 * len(tokens) + 8))
            return self._grammar_script(generation, text)
        is_cut = said.finish == "length" and tokens
        wanted = len(tokens) if is_cut else max(generation.max_new, len(tokens) + 1)
        generation.max_new = min(room, wanted)
        return FreeScript(tokens, self._end_id)

    def _made_up(
        self,
        sequence: Sequence,
        generation: Generation,
        prompt: str,
        attrs: Mapping[str, Any],
        numbers: Random,
        length: int,
    ) -> Script:
        tools = tools_of(sequence.turn)
        if generation.matcher is not None and tools is not None and tools.is_call_required:
            return self._grammar_script(generation, self._call(tools, prompt, numbers))
        has_form = tools is None or generation.sampling.grammar is not None
        if generation.matcher is not None and has_form:
            text = made_up.text_in_form(prompt, attrs, numbers) or ""
            return self._grammar_script(generation, text)
        sampling = generation.sampling
        most = generation.max_new
        wanted = length
        if sampling.ignore_eos:
            wanted = most
        wanted = min(most, max(wanted, sampling.min_tokens + 1))
        tokens = self._tokenizer.encode_text(made_up.words(prompt, numbers, wanted))[:wanted]
        if wanted < most:  # the last one is the end
            tokens = tokens[:-1]
        if generation.matcher is not None:
            return self._grammar_script(generation, self._tokenizer.decode(tokens))
        return FreeScript(tokens, None if sampling.ignore_eos else self._end_id)

    def _call(self, tools: Toolset, prompt: str, numbers: Random) -> str:
        """Of one of the tools that the choice allows, in the model's format."""
        tool = numbers.choice(tools.callable)
        arguments = made_up.text_in_form(prompt, {"schema": tool.parameters}, numbers) or "{}"
        turn = ToolTurn("", (ToolCall("", tool.name, arguments),))
        return written_text(self._prompts.format_of(tools), turn)

    def _grammar_script(self, generation: Generation, text: str) -> Script:
        assert generation.matcher is not None, "without a grammar"
        assert self._end_id is not None, "grammars need an end"
        vocab_size = self.model.config.vocab_size
        return GrammarScript(text, generation.matcher, self._end_id, self._tokenizer, vocab_size)

    def _score(self, group: Group, request: Request) -> None:
        parent, choices = group.live[0].parent, list(request.inputs[1])
        assert parent is not None, "a select has a context"
        prompt, kind = self._prompt_text.of_context(parent), request.attrs.get("score") or "mean"
        scores = None
        if self._recording is not None:
            scores = self._recording.choice_scores(prompt, choices, kind)
        for number, sequence in enumerate(group.live):
            if scores is None:
                logprob = made_up.logprob(prompt, choices[number])
            else:
                num_scored = len(sequence.ids) - parent.num_tokens
                logprob = scores[number] / (num_scored if kind == "sum" else 1)
            self._scripts.give_score(sequence, logprob)


def _attrs_of(request: Request, number: int) -> Mapping[str, Any]:
    """Of one sample, as a decode of its own would have them."""
    seed = request.attrs.get("seed")
    return request.attrs if seed is None else {**request.attrs, "seed": seed + number}
