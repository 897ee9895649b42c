"""Token ids back to the text that recordings have: what a template writes between turns becomes
<|role|>, whoever wrote it and however the prompt was cut."""

from collections.abc import Sequence
from typing import get_args
from weakref import WeakKeyDictionary

from backends.base import Role
from backends.errors import RequestRejected
from backends.llm.sequence.sequence import LLMContext
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # a context that was cut within a character
_ROLES: tuple[Role, ...] = get_args(Role)


class PromptText:
    """Of one tokenizer and template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._is_exact = tokenizer.bytes_of.is_exact  # texts of pieces join to that of the whole
        self._known: WeakKeyDictionary[LLMContext, str] = WeakKeyDictionary()
        self._bos = tokenizer.token(tokenizer.bos_id) if tokenizer.add_bos else ""
        self._openings = _markups(template, (None,))
        self._turns = _markups(template, _ROLES)

    def of_context(self, context: LLMContext | None) -> str:
        """Remembered while the context lives: many requests may continue one."""
        if context is None:
            return ""
        text = self._known.get(context)
        if text is None:
            text = self._known[context] = self(context.ids)
        return text

    def after(self, context: LLMContext | None, ids: Sequence[int]) -> str:
        """Of a whole prompt that begins with a context."""
        before = self.of_context(context)
        if context is None or not before or not self._is_exact or before.endswith(_BROKEN):
            return self(ids)
        return before + self._with_turns(ids[context.num_tokens :])

    def __call__(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids, with_markup=True)
        for markup, role in self._openings:
            if text.startswith(markup):
                text = f"<|{role}|>{text[len(markup) :]}"
                break
        else:
            text = text.removeprefix(self._bos)
        return self._marked(text)

    def _with_turns(self, ids: Sequence[int]) -> str:
        return self._marked(self._tokenizer.decode(ids, with_markup=True)) if ids else ""

    def _marked(self, text: str) -> str:
        for markup, role in self._turns:
            text = text.replace(markup, f"<|{role}|>")
        return text


def _markups(template: ChatTemplate, befores: Sequence[Role | None]) -> list[tuple[str, Role]]:
    """Longest first, so that one which begins with another is seen."""
    found: dict[str, Role] = {}
    for before in befores:
        for role in _ROLES:
            try:
                markup = template.markup(before, role)
            except RequestRejected:
                continue
            if markup:
                found[markup] = role
    return sorted(found.items(), key=lambda item: -len(item[0]))
