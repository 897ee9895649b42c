"""Token ids back to the text that recordings have: what a template writes between turns becomes
<|role|>, whoever wrote it and however the prompt was cut."""

from collections.abc import Sequence
from typing import get_args

from backends.errors import RequestRejected
from backends.llm.chat import ChatTemplate, Role
from backends.llm.tokenizer import Tokenizer

_ROLES: tuple[Role, ...] = get_args(Role)


class PromptText:
    """Of one tokenizer and template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._bos = tokenizer.token(tokenizer.bos_id) if tokenizer.add_bos else ""
        self._openings = _markups(template, (None,))
        self._turns = _markups(template, _ROLES)

    def __call__(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids, with_markup=True)
        for markup, role in self._openings:
            if text.startswith(markup):
                text = f"<|{role}|>{text[len(markup) :]}"
                break
        else:
            text = text.removeprefix(self._bos)
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
