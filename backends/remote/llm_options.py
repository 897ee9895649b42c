"""Options of remote LLM engines, beside those of all remote engines."""

from typing import Literal

from pydantic import Field

from backends.remote.options import RemoteOptions

Api = Literal["chat", "completions", "responses"]
LimitField = Literal["auto", "max_tokens", "max_completion_tokens"]


class RemoteLLMOptions(RemoteOptions):
    """All have working defaults."""

    api: Api = "chat"  # openai only
    limit_field: LimitField = "auto"  # openai: what the chat API calls the most tokens to write
    tokenizer: str | None = None  # catalog model, file, folder or Hub name; None: see `llm`
    order: Literal["policy", "class"] = "policy"  # vllm, sglang: what their priorities say
    context_len: int | None = Field(None, ge=1)  # tokens; ollama: the context that it makes
