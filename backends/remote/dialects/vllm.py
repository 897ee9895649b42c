"""vLLM's API, as released in 0.32: /v1/completions takes and gives token ids.

Traps. A smaller priority goes first. max_tokens is at least 1, so that a warm-up costs a token.
Fields that are left out are taken from the model's generation_config.json. Prompt log-probabilities
skip the prefix cache: choices are scored token by token with `logprob_token_ids` instead.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from backends.base import Capability
from backends.engine_load import EngineLoad
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.remote.client import Client
from backends.remote.dialects import completions
from backends.remote.dialects.answer_fields import Fields
from backends.remote.dialects.identify import another_kind
from backends.remote.dialects.prometheus import MetricsPage
from backends.remote.dialects.token_dialect import ALWAYS
from backends.remote.token_mode.call import Call, Choice, Cost, Delta, Prompt, ServerFacts
from backends.tool_calls.format import with_spacing

_ABORT = "/inference/v1/abort_requests"
_NO_TAG = "Invalid grammar specification: 'triggers'"  # what llguidance says of xgrammar's tags


class VLLM:
    """One vLLM server."""

    name = "vLLM"
    capabilities: frozenset[Capability] = ALWAYS | {"shares_in_flight", "seed"}

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self._has_priorities = False
        self._has_abort = False
        self._has_guidance = False  # llguidance holds its answers: known when it refuses a tag
        self._adapters: frozenset[str] = frozenset()

    async def probe(self) -> ServerFacts:
        version = await self._version()
        card = await self._card()
        found: set[Capability] = set()
        if self._adapters:
            found.add("adapters")
        if await self._probe_call():
            found.add("cached_tokens")
        self._has_abort = await self._can_abort()
        length = Fields(card, "/v1/models").count("max_model_len")
        return ServerFacts(
            self._model, self.capabilities | found, length, card.get("root"), version
        )

    async def tokenize(self, text: str) -> list[int] | None:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        try:
            answer = await self._client.post("/tokenize", body, is_safe=True)
        except RequestRejected:  # a proxy may not pass it on
            return None
        return Fields(answer, "/tokenize").ids("tokens")

    def check(self, call: Call) -> None:
        if call.structure is not None:
            is_held = call.structure.tag is not None
            call.structure.check(f"vLLM at {self._root}", is_held)
        if call.sampling.speculate is not None:
            self._refuse("speculate", "the server's start says whether it guesses; leave it out")
        if call.adapter is not None and call.adapter not in self._adapters:
            known = ", ".join(sorted(self._adapters)) or "none"
            self._refuse(f"adapter {call.adapter!r}", f"it has {known}; see --lora-modules")

    def must_stream(self, call: Call) -> bool:  # noqa: ARG002 - a TokenDialect
        return False

    async def run(self, call: Call) -> AsyncGenerator[Delta, None]:
        """A structural tag in xgrammar's form is refused before anything is written."""
        try:
            async for delta in self._run(call):
                yield delta
        except RequestRejected as error:
            if self._has_guidance or call.structure is None or _NO_TAG not in str(error):
                raise
            self._has_guidance = True
            async for delta in self._run(call):
                yield delta

    def _run(self, call: Call) -> AsyncGenerator[Delta, None]:
        return completions.deltas(self._client, self.body(call), call, takes_text=False)

    async def warm_up(self, prompt: Prompt) -> Cost:
        body = {**self._prompt_fields(prompt), "max_tokens": 1, "temperature": 0.0}
        answer = await self._client.post(completions.PATH, body, is_safe=True)
        return completions.cost_of(answer, completions.PATH, len(prompt.ids))

    async def abort(self, call_id: str) -> None:
        """Where the server takes no aborts, a closed connection is one."""
        if self._has_abort:
            await self._client.post(_ABORT, {"request_ids": [f"cmpl-{call_id}-0"]}, is_safe=True)

    async def score(self, prompt: Prompt, choices: Sequence[Choice]) -> tuple[list[float], Cost]:
        """One request for each place where choices may go on; they find the context computed."""
        places = _next_tokens([choice.ids for choice in choices])
        found = await asyncio.gather(*(self._score(prompt, *place) for place in places.items()))
        at = dict(zip(places, (logprobs for logprobs, _ in found), strict=True))
        scores = [
            sum(at[tuple(ids[:place])][token] for place, token in enumerate(ids))
            for _, ids in choices
        ]
        return scores, sum((cost for _, cost in found), Cost())

    async def load(self) -> EngineLoad:
        page = MetricsPage(await self._client.get_text("/metrics"))
        return EngineLoad(
            int(page.total("vllm:num_requests_running") or 0),
            int(page.total("vllm:num_requests_waiting") or 0),
            None,
            page.most("vllm:kv_cache_usage_perc"),
        )

    def body(self, call: Call) -> dict[str, Any]:
        """What POST /v1/completions is sent."""
        return {
            **self._prompt_fields(call),
            **completions.sampling_fields(call),
            **_grammar(call, self._has_guidance),
        }

    def _prompt_fields(self, prompt: Prompt) -> dict[str, Any]:
        fields = completions.prompt_fields(prompt, self._model)
        fields["add_special_tokens"] = False
        if self._has_priorities and prompt.priority:
            fields["priority"] = -prompt.priority
        return fields

    async def _score(
        self, prompt: Prompt, before: tuple[int, ...], after: Sequence[int]
    ) -> tuple[dict[int, float], Cost]:
        ids = [*prompt.ids, *before]
        body = {
            **self._prompt_fields(prompt),
            "prompt": ids,
            "request_id": uuid4().hex,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            "logprob_token_ids": list(after),
            "return_tokens_as_token_ids": True,
        }
        answer = await self._client.post(completions.PATH, body, is_safe=True)
        choice = Fields(answer, completions.PATH).first("choices")
        (place,) = completions.scores_of(choice, len(after) + 1)
        logprobs = dict(place.top)
        if missing := [token for token in after if token not in logprobs]:
            raise EngineError(
                f"{self._root} gave no log-probability of token {missing[0]}: this vLLM may be too "
                "old for logprob_token_ids, which select needs"
            )
        return logprobs, completions.cost_of(answer, completions.PATH, len(ids))

    async def _version(self) -> str:
        try:
            return Fields(await self._client.get("/version"), "/version").text("version")
        except EngineUnavailable:
            raise
        except EngineError as error:
            raise await another_kind(self._client, self.name) from error

    async def _card(self) -> Mapping[str, Any]:
        """The model's entry; notes its adapters."""
        listed = Fields(await self._client.get("/v1/models"), "/v1/models").items("data")
        cards = [Fields(card, "/v1/models").value for card in listed]
        self._adapters = frozenset(card["id"] for card in cards if card.get("parent") is not None)
        for card in cards:
            if card.get("id") == self._model:
                return card
        names = ", ".join(str(card.get("id")) for card in cards)
        raise EngineUnavailable(f"{self._root} serves {names}, not {self._model}")

    async def _probe_call(self) -> bool:
        """One token of one prompt: are priorities taken, and are cached tokens told?"""
        body = {
            "model": self._model,
            "prompt": [0],
            "max_tokens": 1,
            "temperature": 0.0,
            "priority": -1,
            "return_token_ids": True,
        }
        try:
            answer = await self._client.post(completions.PATH, body, is_safe=True)
            self._has_priorities = True
        except RequestRejected as refusal:
            if "priorit" not in str(refusal).lower():
                raise EngineUnavailable(f"{self.name} refuses token ids: {refusal}") from refusal
            body = {name: value for name, value in body.items() if name != "priority"}
            answer = await self._client.post(completions.PATH, body, is_safe=True)
        fields = Fields(answer, completions.PATH)
        choice = fields.first("choices")
        if choice.value.get("token_ids") is None:
            raise EngineUnavailable(
                f"{self._root} returns no token ids: update vLLM, or make the engine with the "
                "option tokenizer='server', which sends messages and not tokens"
            )
        return completions.usage_of(fields)[0] is not None

    async def _can_abort(self) -> bool:
        try:
            await self._client.post(_ABORT, {"request_ids": []}, is_safe=True)
        except EngineError:  # 403 without --enable-scale-out, 404 in older ones
            return False
        return True

    def _refuse(self, what: str, remedy: str) -> None:
        raise RequestRejected(f"{what} cannot be had from vLLM at {self._root}: {remedy}")

    @property
    def _root(self) -> str:
        return self._client.endpoint.root


def _grammar(call: Call, has_guidance: bool) -> dict[str, Any]:
    sampling = call.sampling
    if call.structure is not None:
        if has_guidance:
            lark = call.structure.lark
            return {"structured_outputs": {"grammar": lark}} if lark is not None else {}
        tag = call.structure.tag
        return {"structured_outputs": {"structural_tag": tag}} if tag is not None else {}
    if sampling.schema is not None:
        return {"structured_outputs": {"json": with_spacing(json.loads(sampling.schema))}}
    if sampling.choices is not None:
        return {"structured_outputs": {"choice": list(sampling.choices)}}
    return {"structured_outputs": {"regex": sampling.regex}} if sampling.regex is not None else {}


def _next_tokens(choices: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """The tokens that may follow each beginning of a choice."""
    found: dict[tuple[int, ...], list[int]] = {}
    for before, token in _places(choices):
        after = found.setdefault(before, [])
        if token not in after:
            after.append(token)
    return found


def _places(choices: Sequence[Sequence[int]]) -> Iterator[tuple[tuple[int, ...], int]]:
    for ids in choices:
        for place, token in enumerate(ids):
            yield tuple(ids[:place]), token
