"""What an agent remembers from one call to the next."""

from collections import deque
from typing import Protocol, runtime_checkable

from backends.documents import Doc
from frontend_dsl.ask import ask, check_count, check_llm
from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.components import LLM, Component
from frontend_dsl.functions import join
from frontend_dsl.retrieval import SearchMode, Store
from graph_opt.tokens import num_tokens

SUMMARIZE = (
    "Summarize the conversation for somebody who goes on with it. Keep names, numbers, decisions "
    "and open questions. Write no more than a short paragraph."
)
SAID_BEFORE = "Summary of what was said before: "
REMEMBERED = "What may be of use from earlier conversations:\n"

Turns = list[tuple[str, str]]  # role and text


@runtime_checkable
class Memory(Protocol):
    """What an agent's `memory=` is. Calls of one agent that run side by side share it, and are kept
    in the order in which they end."""

    async def recall(self, task: str) -> tuple[str, Turns]:
        """What goes behind the instructions, and the turns before the task."""

    async def keep(self, task: str, answer: str) -> None:
        """Remember an exchange."""

    def components(self) -> tuple[Component, ...]:
        """Those whose engines it uses."""


class Window:
    """The last `turns` exchanges, word by word: `memory=tl.Window(8)`."""

    def __init__(self, turns: int) -> None:
        check_count("tl.Window", "turns", turns, 1)
        self._exchanges: deque[tuple[str, str]] = deque(maxlen=turns)

    async def recall(self, task: str) -> tuple[str, Turns]:  # noqa: ARG002
        return "", _turns(self._exchanges)

    async def keep(self, task: str, answer: str) -> None:
        self._exchanges.append((task, answer))

    def components(self) -> tuple[Component, ...]:
        return ()

    def clear(self) -> None:
        """Forget everything."""
        self._exchanges.clear()


class Summary:
    """Everything, in short: when the exchanges have more than `after_tokens` tokens, `llm` writes a
    summary of all but the last one."""

    def __init__(self, llm: LLM, after_tokens: int = 1000) -> None:
        check_llm("tl.Summary", llm)
        check_count("tl.Summary", "after_tokens", after_tokens, 1)
        self._llm = llm
        self._after_tokens = after_tokens
        self._summary = ""
        self._exchanges: list[tuple[str, str]] = []

    @property
    def text(self) -> str:
        """The summary so far."""
        return self._summary

    async def recall(self, task: str) -> tuple[str, Turns]:  # noqa: ARG002
        about = f"{SAID_BEFORE}{self._summary}" if self._summary else ""
        return about, _turns(self._exchanges)

    async def keep(self, task: str, answer: str) -> None:
        self._exchanges.append((task, answer))
        if num_tokens([text for each in self._exchanges for text in each]) <= self._after_tokens:
            return
        before, old = self._summary, self._exchanges[:-1]
        if not old:
            return
        summary = await self._summarized(before, old)
        if self._summary is before and self._exchanges[: len(old)] == old:  # nobody was first
            self._summary, self._exchanges = summary, self._exchanges[len(old) :]

    async def _summarized(self, summary: str, old: list[tuple[str, str]]) -> str:
        said = "\n".join(f"{role}: {text}" for role, text in _turns(old))
        before = f"{SAID_BEFORE}{summary}\n\n" if summary else ""
        run = run_of_async_app("tl.Summary")
        value = ask(self._llm, "summary", SUMMARIZE, f"{before}{said}")
        return str(await run.resolve(value))

    def components(self) -> tuple[Component, ...]:
        return (self._llm,)

    def clear(self) -> None:
        """Forget everything."""
        self._summary, self._exchanges = "", []


class Recall:
    """What is like the task: exchanges are kept in `store`, and the `k` that are nearest to a new
    task are read again, also in another process."""

    def __init__(self, store: Store, k: int = 4) -> None:
        check_count("tl.Recall", "k", k, 1)
        self._store = store
        self._k = k

    async def recall(self, task: str) -> tuple[str, Turns]:
        run = run_of_async_app("tl.Recall")
        if not await run.resolve(self._store.count()):
            return "", []
        mode: SearchMode = "bm25" if self._store.embedder is None else "vector"
        found = await run.resolve(join(self._store.search(task, k=self._k, mode=mode), "- {text}"))
        return f"{REMEMBERED}{found}", []

    async def keep(self, task: str, answer: str) -> None:
        run = run_of_async_app("tl.Recall")
        await run.resolve(self._store.index([Doc(f"{task}\n{answer}")]))

    def components(self) -> tuple[Component, ...]:
        embedder = self._store.embedder
        return (self._store,) if embedder is None else (self._store, embedder)


def _turns(exchanges: "deque[tuple[str, str]] | list[tuple[str, str]]") -> Turns:
    roles = ("user", "assistant")
    return [turn for each in [*exchanges] for turn in zip(roles, each, strict=True)]
