"""Text mode at a server that shows its tokens: vLLM, SGLang and teola's own.

It also scores given texts (`select`) and tells its load. The server tokenises the context and each
choice by itself, as token mode does with a tokenizer of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from backends.base import Request, Result
from backends.engine_load import EngineLoad
from backends.errors import RequestRejected
from backends.llm.requests.inputs import choices_of, score_of
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.dialects.answer_fields import Fields
from backends.remote.dialects.completions import cost_of
from backends.remote.dialects.token_dialect import TokenDialect
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.messages import Prompt, content_parts, read_prompt
from backends.remote.plan_named import plan_named
from backends.remote.text_context import TextContext, as_texts, context_of, kept
from backends.remote.token_mode.call import Choice
from backends.remote.token_mode.call import Prompt as TokenPrompt
from backends.remote.url import RemoteURL

_ENCODE = "/v1/encode"


class OpenChatLLM(ChatLLM):
    """Runs select too."""

    def __init__(
        self,
        url: RemoteURL,
        options: RemoteLLMOptions,
        client: Client,
        connect: Callable[[], Awaitable[TokenDialect]],
    ) -> None:
        """`connect` gives the server's routes for token ids, over the same client."""
        super().__init__(url, options, client)
        self._connect = connect
        self._scorer: TokenDialect | None = None
        self._connecting = asyncio.Lock()
        self._info = replace(self._info, capabilities=self._info.capabilities | {"select"})

    async def load(self) -> EngineLoad:
        """How busy the server is. Raises EngineError where it does not answer."""
        return await (await self._connect()).load()

    async def _select(self, request: Request) -> Result:
        choices, score = choices_of(request), score_of(request)
        parent = context_of(request, self._owner)
        if parent is None or not parent.parts:
            raise RequestRejected("select needs a context with some text; prefill it")
        if parent.tools is not None:
            raise RequestRejected(
                "select on a conversation with tools needs the tokens of their markup: make the "
                "engine with the option tokenizer, so that prompts are tokenised here"
            )
        dialect = await self._probed()
        ids = await self._context_ids(read_prompt(parent.parts))
        rows = [await self._choice(dialect, choice) for choice in choices]
        sums, cost = await dialect.score(self._token_prompt(request, parent, ids), rows)
        scores = [
            total / (len(row.ids) if score == "mean" else 1)
            for total, row in zip(sums, rows, strict=True)
        ]
        best = rows[scores.index(max(scores))]
        context = self._context(
            (*parent.parts, best.text), len(ids) + len(best.ids), request, parent
        )
        return Result((best.text, scores, context), cost.usage)

    async def _encode(self, request: Request) -> Result:
        if "fusion" not in self._info.capabilities:
            return await super()._encode(request)
        if unknown := sorted(request.attrs.keys() - {"adapter", "cache_salt", "fusion"}):
            raise RequestRejected(f"encode takes no attributes {unknown} here")
        parent = context_of(request, self._owner)
        prompt = read_prompt((*as_texts(parent.parts if parent else ()), *request.inputs[1:]))
        if not prompt.has_chunks:
            return Result((0,))
        body = {
            "model": kept(request, parent, "adapter") or self._model,
            "priority": request.priority,
            **_encodable(prompt),
        }
        if salt := kept(request, parent, "cache_salt"):
            body["cache_salt"] = salt
        if fusion := plan_named(request.attrs.get("fusion"), None):
            body["fusion"] = fusion
        answer = Fields(await self._client.post(_ENCODE, body, is_safe=True), _ENCODE)
        cost = cost_of(answer.value, _ENCODE, answer.object("usage").count("prompt_tokens") or 0)
        return Result((answer.count("num_encoded") or 0,), cost.usage)

    async def _probed(self) -> TokenDialect:
        async with self._connecting:
            if self._scorer is None:
                scorer = await self._connect()
                await scorer.probe()
                self._scorer = scorer
            return self._scorer

    async def _context_ids(self, prompt: Prompt) -> list[int]:
        where = "/tokenize"
        body: dict[str, Any] = {"model": self._model, **_tokenizable(prompt, self._goes_on)}
        return Fields(await self._client.post(where, body, is_safe=True), where).ids("tokens")

    @property
    def _goes_on(self) -> dict[str, bool]:
        """Fields that leave the last message open, as /tokenize has them."""
        fields = dict(self._server.goes_on or {})
        if self._url.scheme == "teola":
            fields.pop("continue_final_message", None)
        return {**fields, "add_generation_prompt": False}

    async def _choice(self, dialect: TokenDialect, text: str) -> Choice:
        ids = await dialect.tokenize(text) if text else []
        if not ids:
            raise RequestRejected(f"choice {text!r} has no token that {self._server.name} tells")
        return Choice(text, ids)

    @staticmethod
    def _token_prompt(request: Request, parent: TextContext, ids: list[int]) -> TokenPrompt:
        return TokenPrompt(
            id=request.id,
            ids=ids,
            priority=request.priority,
            place=request.place,
            adapter=parent.adapter,
            salt=parent.cache_salt or "",
        )


def _tokenizable(prompt: Prompt, goes_on: dict[str, bool]) -> dict[str, Any]:
    if not prompt.turns:
        return {"prompt": prompt.text}
    messages = [message.body for message in prompt.messages]
    is_open = prompt.messages != prompt.turns
    return {"messages": messages, **({"add_generation_prompt": True} if is_open else goes_on)}


def _encodable(prompt: Prompt) -> dict[str, Any]:
    if not prompt.turns:
        return {"prompt": content_parts(prompt.pieces)}
    return {"messages": [message.body for message in prompt.turns]}
