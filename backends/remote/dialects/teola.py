"""teola's own server (`teola serve-engine`): OpenAI's /v1/completions with vLLM's token ids, a
prefill by max_tokens 0, and /v1/select.

A larger priority goes first. Its tokens come at the end of an answer, its text as it is written:
both are cut at stop strings there, as here. A closed connection stops a request at once.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from backends.base import Capability
from backends.engine_load import EngineLoad
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.llm.requests.sampling import Sampling
from backends.remote.client import Client
from backends.remote.dialects import completions
from backends.remote.dialects.answer_fields import Fields
from backends.remote.dialects.identify import another_kind, looks_like
from backends.remote.dialects.prometheus import MetricsPage
from backends.remote.dialects.token_dialect import ALWAYS
from backends.remote.place_fields import place_fields
from backends.remote.teola_priority import rule_of, sendable
from backends.remote.token_mode.call import Call, Choice, Cost, Delta, Prompt, ServerFacts
from backends.remote.token_mode.chunks import pieces_of

_SELECT = "/v1/select"
_ENCODE = "/v1/encode"
_FORESIGHT = "/v1/foresight"
_NEEDED = ("prefill", "fork", "token_ids")
_OPTIONAL: frozenset[Capability] = frozenset(
    ("structured", "seed", "cached_tokens", "select", "logprobs", "adapters", "fusion")
)


class Teola:
    """One teola server."""

    name = "teola"
    capabilities: frozenset[Capability] = ALWAYS | {
        "shares_in_flight",
        "seed",
        "cached_tokens",
        "next_use",  # where the server keeps contexts for its clients
        "fusion",  # prompts are planned before the server is asked: see TokenLLM
    }

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self._able: frozenset[str] = frozenset()
        self._priority_rule = "allow"
        self._takes_places = self._takes_guesses = False

    async def probe(self) -> ServerFacts:
        card = await self._card()
        able = card.get("capabilities")
        if not isinstance(able, list):
            raise EngineUnavailable(f"{self._root} runs a teola that is too old for teola://")
        if missing := [name for name in _NEEDED if name not in able]:
            raise EngineUnavailable(
                f"the engine of {self._model} at {self._root} does not offer {missing[0]}; make "
                "this one with the option tokenizer='server', which sends messages and not tokens"
            )
        self._able = frozenset(able)
        self._priority_rule = rule_of(card)
        self._takes_places = card.get("takes_places") is True
        self._takes_guesses = card.get("takes_guesses") is True
        lacks = _OPTIONAL - self._able
        if card.get("keeps_contexts") is not True:
            lacks |= {"next_use"}
        found = frozenset(name for name in _OPTIONAL if name in self._able)
        found |= {"guesses"} if self._takes_guesses else set()
        found |= {"policies"} if card.get("takes_policy") is True else set()
        length = Fields(card, "/v1/models").count("max_model_len")
        root = str(card.get("root") or "")
        return ServerFacts(
            self._model, (self.capabilities - lacks) | found, length, root.removeprefix("local:")
        )

    async def tokenize(self, text: str) -> list[int] | None:
        body = {"model": self._model, "prompt": text}
        try:
            answer = await self._client.post("/tokenize", body, is_safe=True)
        except EngineUnavailable:
            raise
        except EngineError:  # the engine does not show its tokenizer
            return None
        return Fields(answer, "/tokenize").ids("tokens")

    def check(self, call: Call) -> None:
        sampling = call.sampling
        if sampling.grammar is not None:
            self._check_able("structured", sampling.grammar.kind)
        if call.structure is not None:
            call.structure.check(f"teola's server at {self._root}", is_held=False)
        if sampling.logprobs is not None:
            self._check_able("logprobs", "logprobs")
        if call.adapter is not None:
            self._check_able("adapters", f"adapter {call.adapter!r}")
        if call.fusion is not None and call.chunks:
            self._check_able("fusion", f"fusion {call.fusion!r}")

    def must_stream(self, call: Call) -> bool:  # noqa: ARG002 - a TokenDialect
        return False

    def run(self, call: Call) -> AsyncGenerator[Delta, None]:
        return completions.deltas(self._client, self.body(call), call, takes_text=True)

    async def warm_up(self, prompt: Prompt) -> Cost:
        body = {**self._prompt_fields(prompt), **self._place(prompt), "max_tokens": 0}
        answer = await self._client.post(completions.PATH, body, is_safe=True)
        return completions.cost_of(answer, completions.PATH, len(prompt.ids))

    async def encode(self, prompt: Prompt) -> tuple[int, Cost]:
        """Compute the chunks' KV; how many were not there."""
        fields = self._prompt_fields(prompt)
        del fields["request_id"]
        body = {**fields, "prompt": list(pieces_of(prompt))}
        answer = Fields(await self._client.post(_ENCODE, body, is_safe=True), _ENCODE)
        num_tokens = answer.object("usage").count("prompt_tokens") or 0
        cost = completions.cost_of(answer.value, _ENCODE, num_tokens)
        return answer.count("num_encoded") or 0, cost

    async def tell(self, words: Mapping[str, Any]) -> None:
        """What is known of contexts that the server keeps, and of guesses."""
        await self._client.post(_FORESIGHT, {"model": self._model, **words}, is_safe=True)

    async def abort(self, call_id: str) -> None:
        """The closed connection has said it."""

    async def score(self, prompt: Prompt, choices: Sequence[Choice]) -> tuple[list[float], Cost]:
        self._check_able("select", "select")
        fields = self._prompt_fields(prompt)
        del fields["request_id"]
        texts = [choice.text for choice in choices]
        body = {**fields, **self._place(prompt), "choices": texts, "score": "sum"}
        answer = Fields(await self._client.post(_SELECT, body, is_safe=True), _SELECT)
        scores = answer.items("scores")
        if len(scores) != len(choices):
            raise EngineError(f"{self._root} scored {len(scores)} of {len(choices)} choices")
        cost = completions.cost_of(answer.value, _SELECT, len(prompt.ids))
        return scores, cost + Cost(sum(len(choice.ids) for choice in choices))

    async def load(self) -> EngineLoad:
        page = MetricsPage(await self._client.get_text("/metrics"))
        return EngineLoad(
            int(page.total("teola_num_requests_running") or 0),
            int(page.total("teola_num_requests_waiting") or 0),
        )

    def body(self, call: Call) -> dict[str, Any]:
        """What POST /v1/completions is sent."""
        fields = {
            **self._prompt_fields(call),
            **self._place(call, call.is_heard),
            **completions.sampling_fields(call),
            **_grammar(call.sampling),
        }
        if call.sampling.speculate is not None:
            fields["speculate"] = call.sampling.speculate
        return fields

    def _prompt_fields(self, prompt: Prompt) -> dict[str, Any]:
        fields = completions.prompt_fields(prompt, self._model)
        if prompt.fusion is not None and prompt.chunks:
            fields |= {"prompt": list(pieces_of(prompt)), "fusion": prompt.fusion}
        if prompt.contexts is not None:
            fields["contexts"] = prompt.contexts
        priority = sendable(self._priority_rule, prompt.priority)
        return {**fields, "priority": priority} if priority else fields

    def _place(self, prompt: Prompt, is_heard: bool = False) -> dict[str, Any]:
        """What an older server would refuse."""
        if not self._takes_places:
            return {}
        now_s = asyncio.get_running_loop().time()
        return place_fields(prompt.place, is_heard, now_s, tells_guess=self._takes_guesses)

    async def _card(self) -> Mapping[str, Any]:
        if await looks_like(self._client) != self.name:
            raise await another_kind(self._client, self.name)
        cards = Fields(await self._client.get("/v1/models"), "/v1/models").items("data")
        for card in cards:
            if self._model in (card.get("id"), card.get("root")) and card.get("kind") == "llm":
                return Fields(card, "/v1/models").value
        names = ", ".join(str(card.get("id")) for card in cards if card.get("kind") == "llm")
        raise EngineUnavailable(f"{self._root} serves {names or 'no LLM'}, not {self._model}")

    def _check_able(self, capability: str, what: str) -> None:
        if capability not in self._able:
            raise RequestRejected(
                f"{what} cannot be had from {self._model} at {self._root}: the engine behind that "
                f"server does not offer {capability}"
            )

    @property
    def _root(self) -> str:
        return self._client.endpoint.root


def _grammar(sampling: Sampling) -> dict[str, Any]:
    if sampling.schema is not None:
        schema = {"name": "answer", "schema": json.loads(sampling.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if sampling.choices is not None:
        return {"choices": list(sampling.choices)}
    return {"regex": sampling.regex} if sampling.regex is not None else {}
