"""`POST /tokenize` and `POST /detokenize`, with vLLM's fields."""

from functools import cached_property
from typing import Any

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.base import Part
from backends.errors import EngineError
from backends.request_limits import MAX_TOOLS
from teola.serving.api_errors import from_engine, invalid
from teola.serving.chat_message import Message, conversation
from teola.serving.fields import Fields, TokenId, read
from teola.serving.parsed_prompt import marked
from teola.serving.prompt_parts import PromptPart, parts_of
from teola.serving.served import Served
from teola.serving.served_engines import engines_of
from teola.serving.tokenizing import HasTokenizer
from teola.serving.tool_fields import ToolFields, tool_attrs


class TokenizeFields(Fields):
    """A text, or the messages of a chat."""

    derived = ("parts",)

    model: str | None = None
    prompt: str | list[PromptPart] | None = None
    messages: list[Message] | None = Field(None, min_length=1)
    add_generation_prompt: bool = True
    continue_final_message: bool = False  # the last message stays open
    tools: list[ToolFields] | None = Field(None, max_length=MAX_TOOLS)
    add_special_tokens: bool = True  # what a prompt has before it that begins a sequence
    parse_special: bool | None = None  # the prompt's markup is markup; left out: the server's rule

    @model_validator(mode="after")
    def _one_prompt(self) -> "TokenizeFields":
        if (self.prompt is None) == (self.messages is None):
            raise invalid("prompt", "give either prompt or messages")
        if self.tools and self.messages is None:
            raise invalid("tools", "tools stand in a chat: give messages")
        return self

    @cached_property
    def parts(self) -> list[Part]:
        if self.messages is None:
            return parts_of(self.prompt or "")
        opens_answer = self.add_generation_prompt and not self.continue_final_message
        return conversation(self.messages, opens_answer, has_tools=bool(self.tools))

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the prompt: its tools, as a chat has them."""
        functions = [tool.function for tool in self.tools or ()]
        return tool_attrs(functions, None, True, self.messages or ())


class DetokenizeFields(Fields):
    """Token ids."""

    model: str | None = None
    tokens: list[TokenId]


async def tokenize(request: Request) -> Response:
    """The ids that the engine computes for a prompt."""
    fields = await read(request, TokenizeFields)
    engines = engines_of(request)
    served = engines.find("llm", fields.model)
    served.check_can((), fields.attrs)
    is_parsed = fields.messages is None and engines.rules.parsed(fields.parse_special)
    parts = marked(fields.parts) if is_parsed else fields.parts
    try:
        with served.tokenizing.admission.admitted(1):
            ids = await served.tokenizing.encode(
                _tokenizer(served), parts, fields.attrs, is_start=fields.add_special_tokens
            )
    except EngineError as error:
        raise from_engine(error, "prompt" if fields.messages is None else "messages") from error
    body = {"tokens": ids, "count": len(ids), "max_model_len": served.max_context_tokens}
    return JSONResponse(body)


async def detokenize(request: Request) -> Response:
    """The text of token ids."""
    fields = await read(request, DetokenizeFields)
    served = engines_of(request).find("llm", fields.model)
    try:
        with served.tokenizing.admission.admitted(1):
            text = await served.tokenizing.decode(_tokenizer(served), fields.tokens)
    except EngineError as error:
        raise from_engine(error, "tokens") from error
    return JSONResponse({"prompt": text})


async def tokenizer_info(request: Request) -> Response:
    """The LLM's markup and its chat template."""
    served = engines_of(request).find("llm", None)
    return JSONResponse({"model": served.name, **_tokenizer(served).tokenizer_info()})


def _tokenizer(served: Served) -> HasTokenizer:
    if not isinstance(served.engine, HasTokenizer):
        why = f"{served.name} does not show its tokenizer"
        raise invalid("model", why, "unsupported_parameter")
    return served.engine
