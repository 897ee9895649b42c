"""Conversations inside an app: each turn goes on from the context that the one before left."""

from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack, cast, overload

from frontend_dsl.ask import check_llm
from frontend_dsl.breaks import AsyncRun, run_of_async_app
from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.forms import form_of
from frontend_dsl.marked_texts import split_marks
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.sampling import Sampling
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from frontend_dsl.writing import prefill, write

T = TypeVar("T")

USE_ANSWER = "takes chat.answer(), a value of the app"


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A conversation at one point."""

    messages: tuple[Message, ...] = ()
    num_read: int = 0  # messages that the context holds
    context: Value | None = None


class Chat:
    """A conversation with a model, inside an app: `chat = tl.Chat(llm, system="Be brief.")`.

    The model keeps what it has read (tokens and KV), also across the breaks of an `async def` app:
    a turn only reads what is new. That is given back when the chat is closed or gone, and at the
    end of the app. Raises TraceError outside of an app.
    """

    def __init__(
        self, llm: LLM, *, system: str | None = None, messages: Sequence[Message] = ()
    ) -> None:
        check_llm("tl.Chat", llm)
        self._llm = llm
        self._home = tracing("tl.Chat").home
        first = () if system is None else (Message("system", system),)
        self._state = State((*first, *messages))
        self._is_closed = False
        self._undone: dict[State, State] = {}  # one that a failed turn led to -> the one before

    def __repr__(self) -> str:
        return f"Chat({self._llm!r}, {len(self._state.messages)} messages)"

    @property
    def messages(self) -> list[Message]:
        """What was said so far. A text that is known only when the app runs is a value of the app,
        until it was awaited."""
        return [replace(message, content=_known(message.content)) for message in self._messages]

    @property
    def _messages(self) -> tuple[Message, ...]:
        return self._state.messages

    def user(self, text: str) -> None:
        """Say something; the model reads it when it is asked."""
        self._check("chat.user()")
        self._state = replace(self._state, messages=(*self._messages, Message("user", text)))

    @overload
    def ask(
        self, text: str | None = None, **sampling: Unpack[Sampling]
    ) -> Coroutine[Any, Any, str]: ...
    @overload
    def ask(
        self, text: str | None = None, *, out: type[T], **sampling: Unpack[Sampling]
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def ask(
        self, text: str | None = None, *, out: Any, **sampling: Unpack[Sampling]
    ) -> Coroutine[Any, Any, Any]: ...
    def ask(
        self, text: str | None = None, *, out: Any = str, **sampling: Unpack[Sampling]
    ) -> Coroutine[Any, Any, Any]:
        """The real answer, in an `async def` app: `reply = await chat.ask("Why?")`.

        `text` is said first; `out` is the type of the answer. The model begins with the next
        break, so chats asked before it answer side by side. If it fails, the conversation is as it
        was before; raises as `await tl.value(...)` does.
        """
        run, before = run_of_async_app("chat.ask()", USE_ANSWER), self._state
        value = self.answer(text, out=out, **sampling)
        return self._told(run, value, before, self._state)

    def stream(self, text: str | None = None, **sampling: Unpack[Sampling]) -> AsyncIterator[str]:
        """The answer in pieces as it is written: `async for piece in chat.stream("Why?")`.

        Else like `ask`. Who leaves early does not stop the answer.
        """
        run, before = run_of_async_app("chat.stream()", USE_ANSWER), self._state
        value = self.answer(text, **sampling)
        return self._pieces(run, cast(Any, value), before, self._state)

    @overload
    def answer(self, text: str | None = None, **sampling: Unpack[Sampling]) -> str: ...
    @overload
    def answer(
        self, text: str | None = None, *, out: type[T], **sampling: Unpack[Sampling]
    ) -> T: ...
    @overload
    def answer(self, text: str | None = None, *, out: Any, **sampling: Unpack[Sampling]) -> Any: ...
    def answer(
        self, text: str | None = None, *, out: Any = str, **sampling: Unpack[Sampling]
    ) -> Any:
        """The answer as a value of the app, like what a prompt function gives."""
        tracer = self._check("chat.answer()")
        form = form_of(out, **sampling)
        if text is not None:
            self.user(text)
        if not self._messages or self._messages[-1].role != "user":
            problem = "there is nothing to answer: give a text, or say something by chat.user()"
            raise TraceError(problem, *user_frame())
        with tracer.call("answer"):
            parts = turn_parts(self._unread, (), tracer.given)
            written = write(tracer, "chat", self._llm, self._state.context, parts, form)
        tracer.hold(written.context)
        said = Message("assistant", cast(Any, written.text))
        messages = (*self._messages, said)
        self._state = State(messages, len(messages), written.context)
        return written.result

    @overload
    def fork(self) -> "Chat": ...
    @overload
    def fork(self, n: int) -> "list[Chat]": ...
    def fork(self, n: int | None = None) -> "Chat | list[Chat]":
        """A conversation that begins as this one, or `n` of them; they share what was read.

        Made in the function of a tl.map, it belongs to that function.
        """
        if n is None:
            return self._copy(self._check("chat.fork()", inner=True))
        tracer = self._check("chat.fork()")
        if n > 1:
            self._read(tracer)
        return [self._copy(tracer) for _ in range(n)]

    def close(self) -> None:
        """Give back what the model keeps. The messages stay; nothing can be said any more."""
        self._is_closed = True
        self._state = replace(self._state, num_read=0, context=None)

    @property
    def _unread(self) -> tuple[Message, ...]:
        return self._messages[self._state.num_read :]

    def _copy(self, tracer: Tracer) -> "Chat":
        copy = Chat.__new__(Chat)
        copy._llm, copy._home, copy._state = self._llm, tracer.home, self._state
        copy._is_closed, copy._undone = False, self._undone
        return copy

    def _read(self, tracer: Tracer) -> None:
        """Let the model read what was said, once for all forks."""
        if not self._unread or self._unread[-1].role != "user":
            return
        with tracer.call("fork"):
            *parts, _ = turn_parts(self._unread, (), tracer.given)  # the model's turn comes later
            context = prefill(tracer, "chat", self._llm, self._state.context, parts)
        tracer.hold(context)
        self._state = State(self._messages, len(self._messages), context)

    async def _told(self, run: AsyncRun, value: Any, before: State, after: State) -> Any:
        try:
            return await run.resolve(value)
        except Exception:
            self._undo(before, after)
            raise

    async def _pieces(
        self, run: AsyncRun, value: Value, before: State, after: State
    ) -> AsyncIterator[str]:
        try:
            async for piece in run.texts(value):
                yield piece
        except Exception:
            self._undo(before, after)
            raise

    def _undo(self, before: State, after: State) -> None:
        """Go back behind a failed turn, and behind those that it was the base of."""
        self._undone[after] = before
        while self._state in self._undone:
            self._state = self._undone[self._state]

    def _check(self, what: str, *, inner: bool = False) -> Tracer:
        """The tracer, which must be that of the app or body that made the chat, or `inner`, of a
        body in it."""
        tracer = tracing(what)
        if self._is_closed:
            raise TraceError(f"{what} comes after chat.close()", *user_frame())
        homes = [around.home for around in tracer.around()] if inner else [tracer.home]
        if not any(home is self._home for home in homes):
            problem = (
                f"{what} goes on with a conversation of another app, of another run, or from "
                "outside of this tl.map, tl.cond or tl.loop: make a chat.fork() here"
            )
            raise TraceError(problem, *user_frame())
        return tracer


def _known(content: Any) -> Any:
    """A text with what is known of it by now."""
    pieces = [content] if isinstance(content, Value) else split_marks(content)
    real = [_real(piece) if isinstance(piece, Value) else piece for piece in pieces]
    return "".join(real) if all(isinstance(piece, str) for piece in real) else content


def _real(value: Value) -> Any:
    pending = value._pending
    return pending.real if pending is not None and pending.is_there else value
