"""SGLang's own API, as released in 0.5.23: POST /generate takes and gives token ids.

Traps. The scheduler aborts by prefix of the id. Chunks of a stream are cumulative unless the server
runs with --incremental-streaming-output. `ignore_eos` switches stop_token_ids off too, and stop
texts are looked for before min_new_tokens: both then end here. A seed counts only under
--enable-deterministic-inference. What is not sent is the server's preference, not neutral.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from backends.base import Capability
from backends.engine_load import EngineLoad
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.llm.requests.sampling import Sampling
from backends.remote.dialects.answer_fields import Fields
from backends.remote.dialects.identify import another_kind
from backends.remote.dialects.token_dialect import ALWAYS
from backends.remote.server_client import ServerClient
from backends.remote.token_mode.call import (
    Call,
    Choice,
    Cost,
    Delta,
    Prompt,
    ServerFacts,
    TokenScore,
)
from backends.remote.token_mode.tool_structure import ToolStructure
from backends.tool_calls.format import with_spacing

_UNLIKELY = float("-inf")  # JSON has no word for it: the server writes null
_REGEX_SIGNS = re.compile(r"[\\^$.|?*+()\[\]{}]")


class SGLang:
    """One SGLang server."""

    name = "SGLang"
    capabilities: frozenset[Capability] = ALWAYS | {"cached_tokens"}

    def __init__(self, client: ServerClient, model: str | None = None) -> None:
        self._client = client
        self._model = model
        self._is_incremental = False
        self._has_priorities = False
        self._low_is_first = False
        self._has_seeds = False
        self._has_adapters = False
        self._has_llguidance = False  # the grammars of the embedded engine

    async def probe(self) -> ServerFacts:
        info = await self._get("/server_info")
        card = await self._get("/model_info")
        if not card.get("is_generation", True):
            raise EngineUnavailable(f"{self._root} serves {card.get('model_path')!r}: no LLM")
        model = self._checked_name(card)
        self._is_incremental = bool(info.get("incremental_streaming_output"))
        self._has_priorities = bool(info.get("enable_priority_scheduling"))
        self._low_is_first = bool(info.get("schedule_low_priority_values_first"))
        self._has_seeds = bool(info.get("enable_deterministic_inference"))
        self._has_llguidance = info.get("grammar_backend") == "llguidance"
        self._has_adapters = bool(info.get("enable_lora") or info.get("lora_paths"))
        found: set[Capability] = set()
        if self._has_seeds:
            found.add("seed")
        if self._has_adapters:
            found.add("adapters")
        return ServerFacts(
            model,
            self.capabilities | found,
            await self._context_len(info),
            card.get("tokenizer_path") or card.get("model_path"),
            str(info.get("version", "")),
        )

    async def tokenize(self, text: str) -> list[int] | None:
        body = {"prompt": text, "add_special_tokens": False}
        try:
            answer = await self._client.post("/tokenize", body, is_safe=True)
        except RequestRejected:  # an older server has no such route
            return None
        return Fields(answer, "/tokenize").ids("tokens")

    def check(self, call: Call) -> None:
        sampling = call.sampling
        if sampling.speculate is not None:
            self._refuse("speculate", "the server's start says whether it guesses; leave it out")
        if call.seed is not None and not sampling.is_greedy and not self._has_seeds:
            self._refuse(
                "seed", "start the server with --enable-deterministic-inference, or leave it out"
            )
        if call.adapter is not None and not self._has_adapters:
            self._refuse("adapter", "start the server with --enable-lora and --lora-paths")
        if call.structure is not None:
            is_held = self._has_llguidance or call.structure.tag is not None
            call.structure.check(f"SGLang at {self._root}", is_held)
        if sampling.logprobs is not None and not _has_plain_logits(call):
            self._refuse(
                "logprobs",
                "it reports them after temperature, penalties, bias and grammar: leave those out, "
                "or logprobs",
            )

    def must_stream(self, call: Call) -> bool:
        sampling = call.sampling
        ends_are_off = _ignores_eos(sampling) and bool(sampling.stop_token_ids)
        return ends_are_off or bool(sampling.stop and sampling.min_tokens)

    async def run(self, call: Call) -> AsyncGenerator[Delta, None]:
        body = self.body(call)
        if not call.streams:
            yield self._delta(await self._client.post("/generate", body, is_safe=False), call, 0)
            return
        num_seen = 0
        async with self._client.stream("/generate", body) as events:
            async for event in events:
                delta = self._delta(event, call, 0 if self._is_incremental else num_seen)
                num_seen += len(delta.ids)
                yield delta

    async def warm_up(self, prompt: Prompt) -> Cost:
        body = {**self._prompt_fields(prompt), "sampling_params": {"max_new_tokens": 0}}
        answer = Fields(await self._client.post("/generate", body, is_safe=False), "/generate")
        return _cost(len(prompt.ids), answer.object("meta_info"))

    async def abort(self, call_id: str) -> None:
        await self._client.post("/abort_request", {"rid": call_id}, is_safe=True)

    async def score(self, prompt: Prompt, choices: Sequence[Choice]) -> tuple[list[float], Cost]:
        """The context once, then all choices together: siblings that come cold each compute it."""
        warm = await self.warm_up(prompt)
        found = await asyncio.gather(*(self._score(prompt, choice.ids) for choice in choices))
        costs = sum((cost for _, cost in found), Cost())
        # The choices find the context in the cache, which counts but once for the request.
        cached = min(costs.num_cached, warm.num_cached)
        return [sum(scores) for scores, _ in found], Cost(
            warm.num_computed + costs.num_computed, cached, 0
        )

    async def load(self) -> EngineLoad:
        answer = Fields(await self._client.get("/v1/loads?include=core"), "/v1/loads")
        ranks = [Fields(rank, "/v1/loads") for rank in answer.items("loads")]
        return EngineLoad(
            sum(rank.count("num_running_reqs") or 0 for rank in ranks),
            sum(rank.count("num_waiting_reqs") or 0 for rank in ranks),
            sum(rank.count("num_waiting_uncached_tokens") or 0 for rank in ranks),
            max((rank.number("token_usage") or 0.0 for rank in ranks), default=None),
        )

    def body(self, call: Call) -> dict[str, Any]:
        """What POST /generate is sent."""
        fields = {
            **self._prompt_fields(call),
            "sampling_params": self._sampling_params(call),
            "stream": call.streams,
        }
        if call.sampling.logprobs is not None:
            fields |= {
                "return_logprob": True,
                "logprob_start_len": -1,
                "top_logprobs_num": call.sampling.logprobs,
            }
        return fields

    def _prompt_fields(self, prompt: Prompt) -> dict[str, Any]:
        fields: dict[str, Any] = {"rid": prompt.id, "input_ids": list(prompt.ids)}
        if self._has_priorities:
            fields["priority"] = -prompt.priority if self._low_is_first else prompt.priority
        if prompt.adapter is not None:
            fields["lora_path"] = prompt.adapter
        if prompt.salt:
            fields["cache_salt"] = prompt.salt
        return fields

    def _sampling_params(self, call: Call) -> dict[str, Any]:
        sampling = call.sampling
        params: dict[str, Any] = {
            "max_new_tokens": call.max_new,
            "min_new_tokens": min(sampling.min_tokens, call.max_new),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": -1 if sampling.top_k is None else sampling.top_k,
            "min_p": sampling.min_p,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "repetition_penalty": sampling.repetition_penalty,
            "ignore_eos": _ignores_eos(sampling),
            "stop_token_ids": call.stop_ids,
        }
        if sampling.stop and not sampling.min_tokens:
            params["stop"] = list(sampling.stop)
        if sampling.logit_bias:
            params["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
        if call.seed is not None and self._has_seeds:
            params["sampling_seed"] = call.seed
        return params | self._grammar(call)

    def _grammar(self, call: Call) -> dict[str, str]:
        sampling = call.sampling
        if call.structure is not None:
            return self._structure(call.structure)
        if sampling.schema is not None and self._has_llguidance:
            return {"json_schema": json.dumps(with_spacing(json.loads(sampling.schema)))}
        if sampling.schema is not None:
            return {"json_schema": sampling.schema}
        if sampling.choices is not None:
            words = (_REGEX_SIGNS.sub(r"\\\g<0>", choice) for choice in sampling.choices)
            return {"regex": f"({'|'.join(words)})"}
        return {"regex": sampling.regex} if sampling.regex is not None else {}

    def _structure(self, structure: ToolStructure) -> dict[str, str]:
        """Lark for llguidance, which has no tags of this form."""
        if self._has_llguidance:
            lark = structure.lark
            return {"ebnf": f"%llguidance {{}}\n{lark}"} if lark is not None else {}
        return {"structural_tag": structure.tag} if structure.tag is not None else {}

    async def _score(self, prompt: Prompt, choice: Sequence[int]) -> tuple[list[float], Cost]:
        ids = [*prompt.ids, *choice]
        body = {
            **self._prompt_fields(prompt),
            "rid": uuid4().hex,
            "input_ids": ids,
            "sampling_params": {"max_new_tokens": 0},
            "return_logprob": True,
            "logprob_start_len": len(prompt.ids) - 1,
        }
        answer = Fields(await self._client.post("/generate", body, is_safe=False), "/generate")
        meta = answer.object("meta_info")
        last = meta.items("input_token_logprobs")[-len(choice) :]
        if [row[1] for row in last] != list(choice) or any(row[0] is None for row in last):
            raise EngineError(f"{self._root}: the log-probabilities are not those of the choice")
        return [row[0] for row in last], _cost(len(ids), meta)

    def _delta(self, event: Any, call: Call, num_seen: int) -> Delta:
        answer = Fields(event, f"{self._root}/generate")
        meta = answer.object("meta_info")
        finish, stop = self._finish(meta.value.get("finish_reason"), call)
        wants_scores = call.sampling.logprobs is not None
        return Delta(
            ids=answer.ids("output_ids", num_seen),
            scores=_scores(meta, num_seen) if wants_scores else (),
            finish=finish,
            stop=stop,
            num_cached=meta.count("cached_tokens"),
            num_decoded=meta.count("completion_tokens"),
        )

    def _finish(self, reason: Any, call: Call) -> tuple[Any, str | int | None]:
        if reason is None:
            return None, None
        kind, matched = reason.get("type"), reason.get("matched")
        if kind not in ("stop", "length"):
            raise EngineError(f"{self._root} ended the request: {reason.get('message') or kind}")
        is_ours = matched in call.sampling.stop or matched in call.sampling.stop_token_ids
        return kind, matched if is_ours else None

    async def _get(self, path: str) -> Mapping[str, Any]:
        try:
            return Fields(await self._client.get(path), path).value
        except EngineUnavailable:
            raise
        except EngineError as error:
            raise await another_kind(self._client, self.name) from error

    def _checked_name(self, card: Mapping[str, Any]) -> str:
        names = [card.get("served_model_name"), card.get("model_path")]
        known = [name for name in names if isinstance(name, str)]
        if self._model is not None and self._model not in known:
            raise EngineUnavailable(
                f"{self._root} serves {' also called '.join(dict.fromkeys(known))}, "
                f"not {self._model}"
            )
        return self._model or next(iter(known), "")

    async def _context_len(self, info: Mapping[str, Any]) -> int | None:
        cards = Fields(await self._client.get("/v1/models"), "/v1/models").items("data")
        lengths = [Fields(card, "/v1/models").count("max_model_len") for card in cards]
        lengths.append(Fields(info, "/server_info").count("max_total_num_tokens"))
        return min((length for length in lengths if length is not None), default=None)

    def _refuse(self, attr: str, remedy: str) -> None:
        raise RequestRejected(f"{attr} cannot be had from SGLang at {self._root}: {remedy}")

    @property
    def _root(self) -> str:
        return self._client.endpoint.root


def _ignores_eos(sampling: Sampling) -> bool:
    return sampling.ignore_eos and sampling.grammar is None


def _has_plain_logits(call: Call) -> bool:
    """Nothing changes logits before they are reported."""
    sampling = call.sampling
    form = sampling.grammar or call.structure
    changes = sampling.has_penalties or sampling.logit_bias or form or sampling.min_tokens
    return not changes and sampling.temperature in (0, 1)


def _scores(meta: Fields, num_seen: int) -> list[TokenScore]:
    rows = meta.items("output_token_logprobs")[num_seen:]
    tops = meta.value.get("output_top_logprobs") or []
    tops = [*tops[num_seen:], *([None] * len(rows))]
    return [
        TokenScore(token, _number(value), [(other, _number(lp)) for lp, other, *_ in top or ()])
        for (value, token, *_), top in zip(rows, tops, strict=False)
    ]


def _number(value: float | None) -> float:
    return _UNLIKELY if value is None else value


def _cost(num_prompt: int, meta: Fields) -> Cost:
    cached = min(meta.count("cached_tokens") or 0, num_prompt)
    return Cost(num_prompt - cached, cached)
