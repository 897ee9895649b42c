"""teola: LLM applications as graphs of primitives, run fast on models you host."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from teola import _siblings  # isort: skip  # noqa: F401  (must run before the siblings are imported)

from backends.documents import Doc
from frontend_dsl.app import App
from frontend_dsl.breaks import value
from frontend_dsl.components import LLM, Embedder
from frontend_dsl.control import cond, loop
from frontend_dsl.control import map_ as map
from frontend_dsl.functions import flatten, join, load, split
from frontend_dsl.messages import Message
from frontend_dsl.pairs import enumerate_ as enumerate
from frontend_dsl.pairs import zip_ as zip
from frontend_dsl.prompt import prompt
from frontend_dsl.recovery import attempt, first
from frontend_dsl.retrieval import Index, Reranker, Store
from frontend_dsl.selection import filter_ as filter
from frontend_dsl.selection import sorted_ as sorted
from frontend_dsl.tools import tool
from teola import errors
from teola._app import app

if TYPE_CHECKING:
    from frontend_dsl.agents.agent import Agent
    from frontend_dsl.chat import Chat
    from frontend_dsl.contextual import contextualize
    from frontend_dsl.pieces import assistant, gen, system, user
    from frontend_dsl.query_expansion import expand_queries, fuse, hybrid_search
    from frontend_dsl.state import State
    from frontend_dsl.state_program import ProgramResult
    from frontend_dsl.synthesis import synthesize
    from frontend_dsl.web_search import WebSearch
    from graph_opt.pipeline import PASSES
    from teola import mcp, teams
    from teola._program import program
    from teola.fakes import fake
    from teola.network import deny_network
    from teola.virtual import run_virtually
else:  # loaded when they are first used: many apps need none of them
    _LATE = {
        "Agent": "frontend_dsl.agents.agent",
        "Chat": "frontend_dsl.chat",
        "PASSES": "graph_opt.pipeline",
        "ProgramResult": "frontend_dsl.state_program",
        "State": "frontend_dsl.state",
        "WebSearch": "frontend_dsl.web_search",
        "assistant": "frontend_dsl.pieces",
        "contextualize": "frontend_dsl.contextual",
        "deny_network": "teola.network",
        "expand_queries": "frontend_dsl.query_expansion",
        "gen": "frontend_dsl.pieces",
        "fake": "teola.fakes",
        "fuse": "frontend_dsl.query_expansion",
        "hybrid_search": "frontend_dsl.query_expansion",
        "program": "teola._program",
        "mcp": "teola.mcp",
        "run_virtually": "teola.virtual",
        "synthesize": "frontend_dsl.synthesis",
        "system": "frontend_dsl.pieces",
        "user": "frontend_dsl.pieces",
        "teams": "teola.teams",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module 'teola' has no attribute {name!r}")
        module = import_module(_LATE[name])
        is_module = _LATE[name] == f"teola.{name}"
        found = globals()[name] = module if is_module else getattr(module, name)
        return found

    def __dir__() -> list[str]:
        return [*globals(), *_LATE]


__version__ = "0.1.0"

__all__ = [
    "LLM",
    "PASSES",
    "Agent",
    "App",
    "Chat",
    "Doc",
    "Embedder",
    "Index",
    "Message",
    "ProgramResult",
    "Reranker",
    "State",
    "Store",
    "WebSearch",
    "app",
    "assistant",
    "attempt",
    "cond",
    "contextualize",
    "deny_network",
    "enumerate",
    "errors",
    "expand_queries",
    "fake",
    "filter",
    "first",
    "flatten",
    "fuse",
    "gen",
    "hybrid_search",
    "join",
    "load",
    "loop",
    "map",
    "mcp",
    "program",
    "prompt",
    "run_virtually",
    "sorted",
    "split",
    "synthesize",
    "system",
    "teams",
    "tool",
    "user",
    "value",
    "zip",
]
