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
    from frontend_dsl.agents.agent_tools import AgentTool
    from frontend_dsl.agents.approval import approve
    from frontend_dsl.agents.memory import Recall, Summary, Window
    from frontend_dsl.agents.results import AgentResult, Budget
    from frontend_dsl.chat import Chat
    from frontend_dsl.contextual import contextualize
    from frontend_dsl.pieces import assistant, gen, select, system, user
    from frontend_dsl.query_expansion import expand_queries, fuse, hybrid_search
    from frontend_dsl.semantic import Input, semantic
    from frontend_dsl.semantic_outputs import Output, Outputs
    from frontend_dsl.semantic_variable import Variable, variable
    from frontend_dsl.state import State
    from frontend_dsl.state_program import ProgramResult
    from frontend_dsl.synthesis import synthesize
    from frontend_dsl.web_search import WebSearch
    from graph_opt.objective import LATENCY, THROUGHPUT
    from graph_opt.pipeline import PASSES
    from teola import mcp, metrics, teams, transforms
    from teola._program import program
    from teola.evaluation import aevaluate, evaluate
    from teola.fakes import fake
    from teola.network import deny_network
    from teola.resuming import aresume, resume, runs
    from teola.telemetry.otel import Otel
    from teola.viewer.reading import read_trace
    from teola.virtual import run_virtually
else:  # loaded when they are first used: many apps need none of them
    _LATE = {
        "Agent": "frontend_dsl.agents.agent",
        "AgentResult": "frontend_dsl.agents.results",
        "AgentTool": "frontend_dsl.agents.agent_tools",
        "Budget": "frontend_dsl.agents.results",
        "Chat": "frontend_dsl.chat",
        "Input": "frontend_dsl.semantic",
        "LATENCY": "graph_opt.objective",
        "Otel": "teola.telemetry.otel",
        "Output": "frontend_dsl.semantic_outputs",
        "Outputs": "frontend_dsl.semantic_outputs",
        "PASSES": "graph_opt.pipeline",
        "ProgramResult": "frontend_dsl.state_program",
        "Recall": "frontend_dsl.agents.memory",
        "State": "frontend_dsl.state",
        "Summary": "frontend_dsl.agents.memory",
        "THROUGHPUT": "graph_opt.objective",
        "Variable": "frontend_dsl.semantic_variable",
        "WebSearch": "frontend_dsl.web_search",
        "Window": "frontend_dsl.agents.memory",
        "aevaluate": "teola.evaluation",
        "approve": "frontend_dsl.agents.approval",
        "aresume": "teola.resuming",
        "assistant": "frontend_dsl.pieces",
        "contextualize": "frontend_dsl.contextual",
        "deny_network": "teola.network",
        "evaluate": "teola.evaluation",
        "expand_queries": "frontend_dsl.query_expansion",
        "fake": "teola.fakes",
        "fuse": "frontend_dsl.query_expansion",
        "gen": "frontend_dsl.pieces",
        "hybrid_search": "frontend_dsl.query_expansion",
        "mcp": "teola.mcp",
        "metrics": "teola.metrics",
        "program": "teola._program",
        "read_trace": "teola.viewer.reading",
        "resume": "teola.resuming",
        "run_virtually": "teola.virtual",
        "runs": "teola.resuming",
        "select": "frontend_dsl.pieces",
        "semantic": "frontend_dsl.semantic",
        "synthesize": "frontend_dsl.synthesis",
        "system": "frontend_dsl.pieces",
        "teams": "teola.teams",
        "transforms": "teola.transforms",
        "user": "frontend_dsl.pieces",
        "variable": "frontend_dsl.semantic_variable",
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
    "LATENCY",
    "LLM",
    "PASSES",
    "THROUGHPUT",
    "Agent",
    "AgentResult",
    "AgentTool",
    "App",
    "Budget",
    "Chat",
    "Doc",
    "Embedder",
    "Index",
    "Input",
    "Message",
    "Otel",
    "Output",
    "Outputs",
    "ProgramResult",
    "Recall",
    "Reranker",
    "State",
    "Store",
    "Summary",
    "Variable",
    "WebSearch",
    "Window",
    "aevaluate",
    "app",
    "approve",
    "aresume",
    "assistant",
    "attempt",
    "cond",
    "contextualize",
    "deny_network",
    "enumerate",
    "errors",
    "evaluate",
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
    "metrics",
    "program",
    "prompt",
    "read_trace",
    "resume",
    "run_virtually",
    "runs",
    "select",
    "semantic",
    "sorted",
    "split",
    "synthesize",
    "system",
    "teams",
    "tool",
    "transforms",
    "user",
    "value",
    "variable",
    "zip",
]
