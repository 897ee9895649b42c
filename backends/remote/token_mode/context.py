"""A context as token ids that the client keeps: immutable, and cheap to extend and to fork."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from backends.llm.requests.open_turn import Open
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.remote.token_mode.call import ChunkAt


class TokenContext:
    """Its own ids after those of its parent, which all that go on from there share.

    It belongs to no server: every engine with the same tokenizer can go on from it.
    """

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_own",
        "_parent",
        "adapter",
        "fusion",
        "kept",
        "num_tokens",
        "prompts",
        "salt",
        "turn",
    )

    num_tokens: int

    def __init__(
        self,
        prompts: PromptEncoder,
        parent: "TokenContext | None",
        own: Iterable[int],
        turn: Open,
        adapter: str | None = None,
        salt: str = "",
        fusion: str | None = None,
        chunks: Sequence[ChunkAt] = (),
    ) -> None:
        """`chunks` are those among its own ids, at their places in the whole."""
        self._parent = parent
        self._own = tuple(own)
        self.prompts = prompts  # whose ids these are
        before = parent.num_tokens if parent is not None else 0
        self.num_tokens = before + len(self._own)
        self.turn = turn  # the chat turn that is open after the last token
        self.adapter = adapter  # None: the base model
        self.salt = salt  # the tenant that may go on from here; "": all
        self.fusion = fusion  # how a server reuses the KV of the chunks; None: all is exact
        self._chunks = tuple(chunks)
        # By server that keeps contexts: the longest kept one that this one goes on from, or itself
        self.kept: dict[Hashable, Any] = {} if parent is None else dict(parent.kept)

    @property
    def ids(self) -> list[int]:
        """All token ids, in a new list."""
        return [token for context in self._line for token in context._own]

    @property
    def chunks(self) -> list[ChunkAt]:
        """All chunks that may be reused, in their order."""
        return [chunk for context in self._line for chunk in context._chunks]

    @property
    def own_chunks(self) -> Sequence[ChunkAt]:
        """Those behind what it goes on from."""
        return self._chunks

    @property
    def _line(self) -> Iterable["TokenContext"]:
        """Those that it goes on from, and itself."""
        found: list[TokenContext] = []
        at: TokenContext | None = self
        while at is not None:
            found.append(at)
            at = at._parent
        return reversed(found)

    def extended(self, own: Iterable[int], turn: Open) -> "TokenContext":
        """This context with more tokens; costs as much as they are."""
        return TokenContext(self.prompts, self, own, turn, self.adapter, self.salt, self.fusion)

    def release(self) -> None:
        """Servers keep nothing for it any more. Its ids stay."""
        self.kept = {}

    def __repr__(self) -> str:
        return f"TokenContext({self.num_tokens} tokens)"
