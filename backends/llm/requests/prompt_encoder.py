"""Parts of a prompt to token ids, one part at a time."""

from collections.abc import Sequence

from backends.base import Part, Role, Tokens, Turn
from backends.llm.chat import ChatTemplate
from backends.llm.tokenizer import Tokenizer


class PromptEncoder:
    """A part's ids depend on the part, the open turn and whether anything came before: never on
    how a prompt is cut into calls."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self._template = template
        closing = tokenizer.encode_markup(template.end_of_turn)[:1]
        ends = [i for i in closing if i in tokenizer.special_ids]
        self.stop_ids = frozenset((*tokenizer.eos_ids, *ends))

    def encode(
        self, parts: Sequence[Part], ids: Sequence[int], turn: Role | None
    ) -> tuple[list[int], Role | None]:
        """All ids, `ids` first, and the turn that is open after them. Raises RequestRejected."""
        new, turn = self.encode_more(parts, turn, is_start=not ids)
        return [*ids, *new], turn

    def encode_more(
        self, parts: Sequence[Part], turn: Role | None, *, is_start: bool
    ) -> tuple[list[int], Role | None]:
        """The ids of `parts` alone, which `is_start` says begin a sequence, and the turn that is
        open after them. Raises RequestRejected."""
        out: list[int] = []
        for part in parts:
            if isinstance(part, Turn):
                out += self.tokenizer.encode_markup(self._template.markup(turn, part.role))
                turn = part.role
            elif isinstance(part, Tokens):
                out += part.ids
            elif part:
                out += self._start(is_start and not out) + self.tokenizer.encode_text(part)
        return out, turn

    def _start(self, is_start: bool) -> list[int]:
        bos = self.tokenizer.bos_id
        return [bos] if self.tokenizer.add_bos and is_start and bos is not None else []
