"""Which calls can take no text that holds a value of the run, and what calls give."""

import builtins
import re
import sys
from enum import Enum
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import PurePath
from types import FunctionType
from typing import Any, TypeGuard

from frontend_dsl.source_names import is_logger
from frontend_dsl.value import OR_BREAK
from frontend_dsl.where import is_users


class Kind(Enum):
    """What is certain of an expression."""

    UNKNOWN = 0
    VALUE = 1  # a symbolic value
    TEXT = 2  # a str that holds the marker of one
    FILE = 3  # an open file, or a path
    LOGGER = 4


WAY_OUT = f"do it in a tl.tool{OR_BREAK}"

_KEEPS_TEXT = {"strip", "lstrip", "rstrip", "format", "join", "__str__"}  # methods of str
_WRITES = {"write", "writelines", "write_text", "write_bytes"}
_LOGS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_LOGGER_NAME = re.compile(r"(?:.*_)?log(?:ger)?", re.IGNORECASE)
_READS_TEXT = {  # the built-in ones that read a text
    *("len", "list", "tuple", "set", "frozenset", "reversed", "enumerate", "iter", "zip", "map"),
    *("int", "float", "ord", "hash", "bytes", "open"),
}
_READS_TEXTS = {"sorted", "min", "max", "repr", "ascii"}  # and those that read texts in a list
_MODULES = {  # whose functions read, show, change or send what they are given
    *("json", "html", "base64", "hashlib", "binascii", "re", "logging", "warnings", "pprint"),
    *("pickle", "shlex", "unicodedata", "difflib", "csv", "subprocess", "urllib", "requests"),
    *("httpx", "aiohttp", "textwrap", "zlib", "rich", "loguru"),
}
_GIVE_VALUES = {
    *("join", "flatten", "load", "split", "map_", "filter_", "sorted_", "synthesize"),
    *("contextualize", "expand_queries", "fuse", "hybrid_search", "search"),
    *("variable",),
}
_VALUE_MAKERS = {
    "PromptFunction",
    "SemanticFunction",
    "Tool",
    "Reranker",
    "WebSearch",
}  # by name: they import this
_TRACE_FUNCTIONS = {"map_", "filter_", "sorted_", "loop"}


def refused_call(target: Any, kinds: set[Kind], inside: set[Kind]) -> str | None:
    """What a call does with such arguments, or with such things inside of them, that it cannot
    do, if there is such a thing."""
    direct, kinds = kinds, kinds | inside
    name, module = _name(target), _module(target)
    if not kinds & {Kind.VALUE, Kind.TEXT} or _is_dedent(target):
        return None
    if _is_builtin(target):
        if name == "print":
            return "print() runs once, while the app is traced, and would show"
        if name in ("isinstance", "type") and Kind.VALUE in direct:
            return f"{name}() asks for the type of"
        read = direct if name in _READS_TEXT else kinds if name in _READS_TEXTS else ()
        return f"{name}() reads" if Kind.TEXT in read else None
    owner = getattr(target, "__self__", None)
    if name in _WRITES and owner in (sys.stdout, sys.stderr):
        return f"{name}() shows"
    if is_logger(owner):
        return f"logging's {name}() shows"
    return f"{module.lstrip('_')}.{name}() reads" if _package(module) in _MODULES else None


def refused_method(owner: Kind, name: str, kinds: set[Kind], *, has_args: bool) -> str | None:
    """The same of a method, of an object of which only the kind is known."""
    if owner is Kind.FILE and name in _WRITES and Kind.TEXT in kinds:
        return f".{name}() writes"
    if owner is Kind.LOGGER and name in _LOGS and kinds & {Kind.VALUE, Kind.TEXT}:
        return f"logging's {name}() shows"
    if owner is not Kind.TEXT or not hasattr(str, name):
        return None
    strips_more = name.endswith("strip") and has_args
    return f".{name}() reads" if name not in _KEEPS_TEXT or strips_more else None


def result_of(target: Any, kinds: set[Kind]) -> Kind:
    """What a call gives, if that is certain."""
    if _is_ours(type(target)) and type(target).__name__ in _VALUE_MAKERS:
        return Kind.VALUE
    if _is_ours(target):
        return Kind.VALUE if _name(target) in _GIVE_VALUES else Kind.UNKNOWN
    if target is open or (isinstance(target, type) and issubclass(target, PurePath)):
        return Kind.FILE
    if _name(target) == "getLogger" and _module(target) == "logging":
        return Kind.LOGGER
    keeps = target is str or _is_dedent(target)
    return Kind.TEXT if keeps and kinds & {Kind.VALUE, Kind.TEXT} else Kind.UNKNOWN


def is_followed(target: Any) -> TypeGuard[FunctionType]:
    """Whether this is a plain function of the user's, which runs while the app is traced."""
    if not isinstance(target, FunctionType):
        return False
    kind = target.__code__.co_flags & (CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR)
    return not kind and is_users(target.__code__.co_filename)


def is_logger_name(name: str) -> bool:
    """Whether a variable or a field is called as loggers are: `log`, `self._logger`."""
    return _LOGGER_NAME.fullmatch(name) is not None


def traces_a_function(target: Any) -> bool:
    """Whether functions given to this one get symbolic values."""
    return _is_ours(target) and _name(target) in _TRACE_FUNCTIONS


def _is_builtin(target: Any) -> bool:
    return getattr(builtins, _name(target), None) is target


def _is_dedent(target: Any) -> bool:
    return _name(target) == "dedent" and _module(target) == "textwrap"


def _is_ours(target: Any) -> bool:
    return _module(target).startswith("frontend_dsl.")


def _package(module: str) -> str:
    """Its name, also where it is written in C, as `_warnings` is."""
    return module.partition(".")[0].lstrip("_")


def _module(target: Any) -> str:
    return str(getattr(target, "__module__", None) or "")


def _name(target: Any) -> str:
    return str(getattr(target, "__name__", None) or "")
