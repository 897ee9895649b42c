"""A function's syntax tree, the names that it binds, and what its other names stand for."""

import ast
import builtins
import inspect
import io
import linecache
import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

MISSING: Any = object()


@lru_cache(maxsize=256)
def parsed(code: CodeType) -> Function | None:
    """The tree of a function, with the lines of its file; None where there is no source."""
    node = _parsed_lambda(code) if code.co_name == "<lambda>" else _parsed_def(code)
    return node if node is not None and _is_source_of(node, code) else None


def _parsed_def(code: CodeType) -> Function | None:
    try:
        lines, first = inspect.getsourcelines(code)
        is_inside = lines[0][:1].isspace()
        tree = ast.parse("".join(["if 1:\n", *lines] if is_inside else lines))
    except (OSError, TypeError, SyntaxError, IndexError, ValueError):
        return None
    ast.increment_lineno(tree, first - (2 if is_inside else 1))
    return next((node for node in ast.walk(tree) if isinstance(node, _DEF)), None)


def _is_source_of(node: Function, code: CodeType) -> bool:
    """Whether the code came from this text: a file may have been changed since it was read."""
    statement = node if not isinstance(node, ast.Lambda) else _alone(node)
    try:
        made = compile(ast.Module([statement], []), "<check>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    codes = (one for one in made.co_consts if isinstance(one, CodeType))
    return any(_words(one) == _words(code) for one in codes)


def _alone(node: ast.Lambda) -> ast.stmt:
    return ast.copy_location(ast.Expr(node), node)


def _words(code: CodeType) -> tuple[object, ...]:
    """The names and constants of a function, wherever it stands."""
    names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    constants = [_words(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return code.co_name, frozenset(names), tuple(constants)


_DEF = (ast.FunctionDef, ast.AsyncFunctionDef)


def _parsed_lambda(code: CodeType) -> ast.Lambda | None:
    """Of the lambdas on a line, the one whose body the code came from."""
    places = {(line, column) for line, _, column, _ in code.co_positions() if line and column}
    found = [
        node
        for node in _lambdas("".join(linecache.getlines(code.co_filename)))
        if node.lineno == code.co_firstlineno
        and (node.body.lineno, node.body.col_offset) <= min(places, default=(0, 0))
        and max(places, default=(1 << 30, 0)) <= (node.body.end_lineno, node.body.end_col_offset)
    ]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=8)
def _lambdas(source: str) -> list[ast.Lambda]:
    try:
        return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]
    except (SyntaxError, ValueError):
        return []


def bound_in(node: ast.AST) -> Iterator[str]:
    """The names that anything inside a node binds, each as often as it does."""
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
            case ast.MatchMapping(rest=name) if name:
                yield name
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=name)
                | ast.MatchAs(name=name)
                | ast.MatchStar(name=name)
            ) if name and inner is not node:
                yield name


def blocks(node: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    """The blocks of a statement."""
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body


def names_outside(function: FunctionType, tree: Function) -> Mapping[str, Any]:
    """What the names that a function does not bind itself stand for; its imports among them."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    free = {name: content_of(cell) for name, cell in cells}
    imported = dict(_imported(tree))
    return ChainMap(imported, free, function.__globals__, vars(builtins))


def attribute(owner: Any, name: str) -> Any:
    """An attribute, where asking for it runs no code of a user's."""
    is_ours = type(owner).__module__.startswith("frontend_dsl.")
    is_known = is_ours or isinstance(owner, (ModuleType, type, io.IOBase))
    return getattr(owner, name, MISSING) if is_known or is_logger(owner) else MISSING


def is_logger(value: Any) -> bool:
    """Whether it is a `logging.Logger`, without loading logging for it."""
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(value, logging.Logger)


def _imported(tree: Function) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or module, sys.modules.get(module, MISSING)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            source = sys.modules.get(node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, getattr(source, alias.name, MISSING)


def content_of(cell: Any) -> Any:
    """What a closure holds; MISSING if that is not bound yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
