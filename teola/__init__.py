"""teola: LLM applications as graphs of primitives, run fast on models you host."""

from teola import _siblings  # isort: skip  # noqa: F401  (must run before the siblings are imported)

from backends.documents import Doc
from frontend_dsl.app import App
from frontend_dsl.components import LLM, Embedder
from frontend_dsl.functions import flatten, join, load, split
from frontend_dsl.functions import map_ as map
from frontend_dsl.prompt import prompt
from frontend_dsl.retrieval import Reranker, Store
from frontend_dsl.tools import tool
from teola import errors
from teola._app import app

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "App",
    "Doc",
    "Embedder",
    "Reranker",
    "Store",
    "app",
    "errors",
    "flatten",
    "join",
    "load",
    "map",
    "prompt",
    "split",
    "tool",
]
