"""One call and its answer over HTTP: sent, again where the server says how, read and checked."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from backends.base import Result
from backends.errors import (
    AnswerInvalid,
    ContentRefused,
    EngineError,
    EngineUnavailable,
    RequestRejected,
)
from backends.remote.answer_form import Form, check_answer
from backends.remote.client import Client
from backends.remote.dialects.text_dialect import TextDialect, Written
from backends.remote.drafts import Draft, Drafts
from backends.remote.errors import was_never_sent
from backends.remote.servers import TextServer
from backends.remote.teola_priority import sendable
from backends.remote.text_call import TextCall
from backends.remote.tool_answer import ToolAnswer, whole_answer

_MOST_TRIES = 4  # of one call, each written in another way as the server asked for
_FILTERED = ("content_filter", "content_policy_violation", "content management policy")


class TextExchange:
    """With one endpoint. A call that is cancelled closes its connection."""

    def __init__(self, client: Client, server: TextServer) -> None:
        self._client = client
        self._server = server
        self.priority_sign = 1  # 0: the server takes none
        self.priority_rule = "allow"
        self.takes_places = False  # and tells how it serves
        self._aborts: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits for aborts that are under way; the client stays open."""
        await asyncio.gather(*self._aborts, return_exceptions=True)

    async def answer(
        self, dialect: TextDialect, call: TextCall, emit: Callable[[str], None] | None
    ) -> tuple[Result, int | None]:
        written, drafts = await self._exchanged(dialect, call, emit)
        try:
            return _result(call, written.form, drafts), drafts.prompt_tokens
        except EngineError as error:
            url = self._client.endpoint.url_of(written.path)
            error.args = (f"POST {url}: {error}",)
            raise

    async def _exchanged(
        self, dialect: TextDialect, call: TextCall, emit: Callable[[str], None] | None
    ) -> tuple[Written, Drafts]:
        """Sends the call, again where the server says how it wants it written."""
        for num_tries in range(1, _MOST_TRIES + 1):
            priority = sendable(self.priority_rule, call.priority * self.priority_sign)
            asked = replace(call, priority=priority)
            if not self.takes_places:
                asked = replace(asked, place=None, is_heard=False)
            written = dialect.write(asked, is_stream=emit is not None)
            try:
                return written, await self._sent(dialect, call, written, emit)
            except RequestRejected as error:
                refusal = str(error)
                if any(word in refusal for word in _FILTERED):
                    raise ContentRefused(refusal) from error
                if num_tries == _MOST_TRIES or not self._learn(dialect, asked, written, refusal):
                    raise
        raise AssertionError("the last try returns or raises")

    def _learn(self, dialect: TextDialect, call: TextCall, written: Written, refusal: str) -> bool:
        if call.priority and self._server.priority and "priority" in refusal.lower():
            self.priority_sign = 0  # vLLM, unless it schedules by priority
            return True
        return dialect.learn(refusal, call, written.body)

    async def _sent(
        self,
        dialect: TextDialect,
        call: TextCall,
        written: Written,
        emit: Callable[[str], None] | None,
    ) -> Drafts:
        drafts = Drafts()
        try:
            if emit is None:
                answer = await self._client.post(written.path, written.body, is_safe=False)
                self._read(dialect, written, answer, drafts)
            else:
                stream = self._stream if call.toolset is None else self._stream_turn
                await stream(dialect, written, drafts, emit)
        except asyncio.CancelledError:
            self._abort_at_server(call.id)
            raise
        except EngineUnavailable as error:
            if not was_never_sent(error):
                self._abort_at_server(call.id)
            raise
        return drafts

    def _read(self, dialect: TextDialect, written: Written, event: Any, drafts: Drafts) -> str:
        try:
            return dialect.read(event, drafts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            where = f"POST {self._client.endpoint.url_of(written.path)}"
            raise EngineError(f"{where}: the answer has another form: {error!r}") from error

    async def _stream(
        self,
        dialect: TextDialect,
        written: Written,
        drafts: Drafts,
        emit: Callable[[str], None],
    ) -> None:
        unwrapping = written.form.unwrapping()
        async with self._client.stream(written.path, written.body) as events:
            async for event in events:
                if new := unwrapping.feed(self._read(dialect, written, event, drafts)):
                    emit(new)
        draft = drafts.of(0)
        if draft.calls or draft.refusal or draft.finish is None:
            return
        try:
            rest = unwrapping.end()
        except (KeyError, ValueError):  # told when the whole text is read
            return
        if rest:
            emit(rest)

    async def _stream_turn(
        self,
        dialect: TextDialect,
        written: Written,
        drafts: Drafts,
        emit: Callable[[str], None],
    ) -> None:
        """With tools: told as the canonical turn."""
        unwrapping, answer = written.form.unwrapping(), ToolAnswer(emit)
        async with self._client.stream(written.path, written.body) as events:
            async for event in events:
                new = unwrapping.feed(self._read(dialect, written, event, drafts))
                answer.feed(new, drafts.of(0))
        draft = drafts.of(0)
        if draft.refusal or draft.finish is None:
            return
        with suppress(KeyError, ValueError):  # told when the whole text is read
            answer.feed("" if draft.calls else unwrapping.end(), draft)
        answer.end(draft)
        drafts.told = answer.text

    def _abort_at_server(self, id: str) -> None:
        """A closed connection is enough for most servers, and for SGLang takes seconds."""
        if self._server.abort_path:
            task = asyncio.get_running_loop().create_task(self._post_abort(id))
            self._aborts.add(task)
            task.add_done_callback(self._aborts.discard)

    async def _post_abort(self, id: str) -> None:
        try:
            body = {self._server.request_id: id}
            await self._client.post(self._server.abort_path, body, is_safe=True, timeout_s=5)
        except EngineError:  # it is gone, or the request is: nothing is left to stop
            return


def _result(call: TextCall, form: Form, drafts: Drafts) -> Result:
    stops: list[str | int] = [*call.sampling.stop, *call.sampling.stop_token_ids]
    outputs, samples = [], []
    for draft in drafts.in_order(call.sampling.n):
        sample = draft.sample(stops)
        content = _output(draft, form, is_whole=not sample.tool_calls)
        if sample.finish_reason == "stop":
            check_answer(call, content)
        is_turn = call.toolset is not None
        outputs.append(drafts.told or whole_answer(content, draft) if is_turn else content)
        samples.append(sample)
    served, fusion = drafts.served, drafts.fusion
    return Result(tuple(outputs), drafts.usage, None, tuple(samples), fusion=fusion, served=served)


def _output(draft: Draft, form: Form, is_whole: bool) -> str:
    """The text as it was asked for; beside tool calls it is taken as it is."""
    if not is_whole:
        return draft.whole_text
    unwrapping = form.unwrapping()
    try:
        return unwrapping.feed(draft.whole_text) + unwrapping.end()
    except (KeyError, ValueError) as error:
        cut = "; it was cut short: raise max_tokens" if draft.finish == "length" else ""
        raise AnswerInvalid(f"the answer {draft.whole_text[:80]!r} is no JSON{cut}") from error
