"""The chat template with each set of tools that was used lately; thread safe."""

import threading
from collections import OrderedDict

from backends.errors import RequestRejected
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.plain_markup import PlainMarkup
from backends.llm.text.tokenizer import Tokenizer
from backends.llm.text.tool_template import ToolTemplate
from backends.tool_calls.tools import Toolset

MAX_TOOLSETS = 64  # a toolset takes some 20 renderings, and a few pages of text


class ToolTemplates:
    """Of one tokenizer and template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._known: OrderedDict[str, ToolTemplate] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tools: Toolset) -> ToolTemplate:
        """Raises RequestRejected for tools that this model's prompts cannot hold."""
        with self._lock:
            found = self._known.get(tools.key)
            if found is not None:
                self._known.move_to_end(tools.key)
                return found
        self._check(tools)
        made = ToolTemplate(self._template, tools.tools)
        with self._lock:
            self._known[tools.key] = made
            while len(self._known) > MAX_TOOLSETS:
                self._known.popitem(last=False)
        return made

    def _check(self, tools: Toolset) -> None:
        if self._template.is_empty:
            raise RequestRejected(
                "this model has no chat template, which tools need: use an instruct model"
            )
        plain = PlainMarkup(self._tokenizer, self._template.markup_texts).markers
        for token in (*map(self._tokenizer.token, self._tokenizer.markup_ids), *plain):
            if token and token in tools.key:
                raise RequestRejected(
                    f"tools: a name, description or schema holds {token!r}, which is markup of "
                    "this model: write it in another way"
                )
