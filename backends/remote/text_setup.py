"""Text mode for each scheme: which server, which dialects, what it is able to do."""

from dataclasses import dataclass

from backends.base import Capability
from backends.errors import ConfigError
from backends.remote import servers
from backends.remote.dialects.ollama import Ollama
from backends.remote.dialects.openai_chat import OpenAIChat
from backends.remote.dialects.openai_completions import OpenAICompletions
from backends.remote.dialects.openai_responses import OpenAIResponses
from backends.remote.dialects.text_dialect import TextDialect
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.servers import TextServer
from backends.remote.url import RemoteURL

_SERVERS: dict[str, TextServer] = {
    "openai": servers.OPENAI,
    "ollama": servers.OLLAMA,
    "sglang": servers.SGLANG,
    "vllm": servers.VLLM,
    "teola": servers.TEOLA,
}
_ALL: frozenset[Capability] = frozenset(
    ("generate", "fork", "decode_parts", "stream", "abort", "logprobs")
)


@dataclass(frozen=True, slots=True)
class TextSetup:
    """Dialects for prompts with turns and without."""

    chat: TextDialect
    plain: TextDialect


def server_of(url: RemoteURL) -> TextServer:
    return _SERVERS[url.scheme]


def check_options(url: RemoteURL, options: RemoteLLMOptions) -> None:
    """Raises ConfigError for options that this scheme has no use for."""
    for name in ("api", "limit_field"):
        default = RemoteLLMOptions.model_fields[name].default
        if url.scheme != "openai" and getattr(options, name) != default:
            raise ConfigError(f"{url.text}: {name} is an option of openai:// engines only")


def setup_of(url: RemoteURL, model: str, options: RemoteLLMOptions) -> TextSetup:
    """Dialects that write for `model`."""
    server = server_of(url)
    if url.scheme == "ollama":
        ollama = Ollama(model, options.context_len)
        return TextSetup(ollama, ollama)
    if options.api == "responses":
        responses = OpenAIResponses(model)
        return TextSetup(responses, responses)
    completions = OpenAICompletions(model, server)
    if options.api == "completions":
        return TextSetup(completions, completions)
    chat = OpenAIChat(model, server, _limit_field(url, options))
    return TextSetup(chat, completions if server.has_texts else chat)


def capabilities_of(url: RemoteURL, options: RemoteLLMOptions) -> frozenset[Capability]:
    """What the scheme and the options always give."""
    server = server_of(url)
    able = set(_ALL)
    if options.api != "completions" or url.scheme != "openai":
        able.add("structured")
    if options.api != "completions":
        able.add("tools")
    if server.counts_cached or is_openai_itself(url):
        able.add("cached_tokens")
    if server.is_seeded:
        able.add("seed")
    if server.adapter:
        able.add("adapters")
    if server.has_numbers and options.order == "policy":
        able.add("priorities")
    return frozenset(able)


def is_openai_itself(url: RemoteURL) -> bool:
    """Not a server that only speaks like it."""
    return all("//api.openai.com" in endpoint.root for endpoint in url.endpoints)


def _limit_field(url: RemoteURL, options: RemoteLLMOptions) -> str:
    """OpenAI's newer models refuse `max_tokens`; many other servers know nothing else."""
    if options.limit_field != "auto":
        return options.limit_field
    return "max_completion_tokens" if is_openai_itself(url) else "max_tokens"
