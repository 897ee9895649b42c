"""The LLM at a server."""

from collections.abc import Mapping
from typing import Any

from backends.base import Engine
from backends.options import read_options
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.url import RemoteURL


def make(url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    """In text mode: the server writes the template and keeps the tokens."""
    settings = read_options(RemoteLLMOptions, f"llm {url.text!r}", options)
    (endpoint,) = url.endpoints
    return ChatLLM(url, settings, Client(endpoint, settings))
