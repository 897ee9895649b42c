"""What the span of a primitive is called and says before it runs, by the GenAI conventions.

| op | span | openinference.span.kind |
|---|---|---|
| decode, generate | `chat {model}` | LLM |
| prefill, encode, select | `prefill {model}` ... | LLM |
| embed | `embeddings {model}` | EMBEDDING |
| search | `retrieval {engine}` | RETRIEVER |
| rerank | `rerank {model}` | RERANKER |
| call | `execute_tool {function}` | TOOL |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from graph_opt.errors import GraphError
from graph_opt.graph import Graph, Node
from graph_opt.paths import walk
from graph_opt.text import parse
from teola.engine_facts import EngineFacts

Attributes: TypeAlias = "dict[str, str | int | float | bool | list[str]]"

_OPERATIONS = {
    "decode": "chat",
    "generate": "chat",
    "embed": "embeddings",
    "search": "retrieval",
    "call": "execute_tool",
}
_KINDS = {"embedder": "EMBEDDING", "reranker": "RERANKER", "llm": "LLM", "python": "TOOL"}
_REQUEST = {
    "max_tokens": int,
    "temperature": float,
    "top_p": float,
    "top_k": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "seed": int,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The same for all spans of one node of a plan."""

    name: str
    attributes: Attributes
    is_remote: bool  # a server does the work


@lru_cache(maxsize=64)
def graph_of(text: str) -> Graph | None:
    """The graph of a trace; None where this version cannot read it."""
    try:
        return parse(text)
    except GraphError:
        return None


@lru_cache(maxsize=64)
def _nodes(text: str) -> Mapping[str, Node]:
    graph = graph_of(text)
    return {} if graph is None else {path: node for path, node, _ in walk(graph)}


def shape_of(op: str, engine: str, facts: EngineFacts, graph_text: str, path: str) -> Shape:
    """`path` is the node's in the plan."""
    return _shape(op, engine, tuple(facts.items()), graph_text, path)


@lru_cache(maxsize=4096)
def _shape(
    op: str, engine: str, items: tuple[tuple[str, str], ...], graph_text: str, path: str
) -> Shape:
    facts = dict(items)
    node = _nodes(graph_text).get(path)
    attrs = {} if node is None else node.attrs
    operation = _OPERATIONS.get(op, op)
    model = facts.get("model", "")
    about: Attributes = {
        "gen_ai.operation.name": operation,
        "openinference.span.kind": _kind(op, facts),
        "teola.op": op,
        "teola.engine": engine,
    }
    if "kind" in facts and facts["kind"] != "python":
        about["gen_ai.provider.name"] = facts.get("provider", "_OTHER")
    subject = model
    if op == "call":
        subject = str(attrs.get("fn", "")).removeprefix("@")
        about |= {"gen_ai.tool.name": subject, "gen_ai.tool.type": "function", "tool.name": subject}
    elif facts.get("kind") == "store":
        subject = engine
        about["gen_ai.data_source.id"] = engine
    elif model:
        about |= _of_model(model, facts)
    if facts.get("kind") == "llm":
        about |= _asked(attrs)
    about |= _place(facts)
    return Shape(f"{operation} {subject}".strip(), about, "server" in facts)


def _kind(op: str, facts: EngineFacts) -> str:
    if op == "search":
        return "RETRIEVER"
    return _KINDS.get(facts.get("kind", ""), "CHAIN")


def _of_model(model: str, facts: EngineFacts) -> Attributes:
    about: Attributes = {"gen_ai.request.model": model}
    names = {"llm": "llm.model_name", "embedder": "embedding.model_name"}
    about[names.get(facts["kind"], "reranker.model_name")] = model
    if facts["kind"] == "llm":
        about["llm.system"] = facts.get("provider", "_OTHER")
    return about


def _asked(attrs: Mapping[str, Any]) -> Attributes:
    """The parameters of the request."""
    found: Attributes = {
        f"gen_ai.request.{name}": kind(attrs[name])
        for name, kind in _REQUEST.items()
        if isinstance(attrs.get(name), int | float)
    }
    stop = attrs.get("stop")
    if stop:
        found["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else [*stop]
    if isinstance(n := attrs.get("n"), int) and n > 1:
        found["gen_ai.request.choice.count"] = n
    if "schema" in attrs:
        found["gen_ai.output.type"] = "json"
    return found


def _place(facts: EngineFacts) -> Attributes:
    return server_attributes(facts["server"]) if "server" in facts else {}


def server_attributes(netloc: str) -> Attributes:
    """Of `host:port`."""
    host, colon, port = netloc.rpartition(":")
    if colon and port.isdigit():
        return {"server.address": host, "server.port": int(port)}
    return {"server.address": netloc}
