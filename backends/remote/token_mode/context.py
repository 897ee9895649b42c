"""A context as token ids that the client keeps: immutable, and cheap to extend and to fork."""

from collections.abc import Iterable, Sequence

from backends.llm.requests.open_turn import Open
from backends.llm.requests.prompt_encoder import PromptEncoder


class TokenContext:
    """Its own ids after those of its parent, which all that go on from there share.

    It belongs to no server: every engine with the same tokenizer can go on from it.
    """

    __slots__ = (
        "__weakref__",
        "_own",
        "_parent",
        "adapter",
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
    ) -> None:
        self._parent = parent
        self._own = tuple(own)
        self.prompts = prompts  # whose ids these are
        before = parent.num_tokens if parent is not None else 0
        self.num_tokens = before + len(self._own)
        self.turn = turn  # the chat turn that is open after the last token
        self.adapter = adapter  # None: the base model
        self.salt = salt  # the tenant that may go on from here; "": all

    @property
    def ids(self) -> list[int]:
        """All token ids, in a new list."""
        pieces: list[Sequence[int]] = []
        at: TokenContext | None = self
        while at is not None:
            pieces.append(at._own)
            at = at._parent
        return [token for piece in reversed(pieces) for token in piece]

    def extended(self, own: Iterable[int], turn: Open) -> "TokenContext":
        """This context with more tokens; costs as much as they are."""
        return TokenContext(self.prompts, self, own, turn, self.adapter, self.salt)

    def release(self) -> None:
        """Nothing to give up: no server holds anything for it."""

    def __repr__(self) -> str:
        return f"TokenContext({self.num_tokens} tokens)"
