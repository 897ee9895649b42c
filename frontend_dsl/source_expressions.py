"""What is certain of the expressions of a function: which are values, and texts that hold some."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from types import FunctionType
from typing import Any, NoReturn

from frontend_dsl.errors import SymbolicError
from frontend_dsl.source_names import MISSING, Function, attribute, bound_in, names_outside
from frontend_dsl.source_rules import (
    WAY_OUT,
    Kind,
    is_followed,
    is_logger_name,
    refused_call,
    refused_method,
    result_of,
    traces_a_function,
)
from frontend_dsl.where import short_path

Names = dict[str, Kind]
ResultOf = Callable[[FunctionType, Mapping[str, Kind]], Kind]  # of a call with such arguments


class Expressions(ABC):
    """`names` says what is certain of each name at the place that the walk has reached."""

    def __init__(self, function: FunctionType, tree: Function, result_of: ResultOf) -> None:
        self.names: Names = {}
        self._result_of = result_of
        self._file = short_path(function.__code__.co_filename)
        self._outside = names_outside(function, tree)
        bound = list(bound_in(tree))
        self._local = set(bound)
        self.bound_once = {name for name in bound if bound.count(name) == 1}
        self.functions: dict[str, ast.FunctionDef] = {}  # those inside of it, by name
        self.values_alone: set[str] = set()  # texts with nothing else in them

    @abstractmethod
    def function(self, node: ast.FunctionDef, names: Names) -> None:
        """Check a nested function, of whose names this is certain."""

    def kind(self, node: ast.expr) -> Kind:
        """What is certain of an expression. Raises SymbolicError for one that cannot be."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, Kind.UNKNOWN)
            case ast.JoinedStr(values=values):
                return text_if([self.kind(value) for value in values])
            case ast.FormattedValue(value=value):
                return self.kind(value)
            case ast.BinOp():
                return self.operation(node)
            case ast.Compare(left=left, ops=ops, comparators=others):
                is_read = any(not isinstance(op, (ast.Is, ast.IsNot)) for op in ops)
                if Kind.TEXT in [self.kind(one) for one in (left, *others)] and is_read:
                    is_in = isinstance(ops[0], (ast.In, ast.NotIn))
                    self.refuse(node, "`in` reads" if is_in else "a comparison reads")
                return Kind.UNKNOWN
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.truth(operand)
                return Kind.UNKNOWN
            case ast.BoolOp(values=[*tested, last]):
                for value in tested:
                    self.truth(value)
                self.kind(last)
                return Kind.UNKNOWN
            case ast.Call():
                return self.call(node)
            case ast.Attribute(value=value):
                return self.kind(value) if self.kind(value) is Kind.VALUE else Kind.UNKNOWN
            case ast.Subscript():
                return self.subscript(node)
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                self.truth(test)
                one, other = self.kind(then), self.kind(otherwise)
                return one if one is other else Kind.UNKNOWN
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                self.names[name] = self.kind(value)
                return self.names[name]
            case ast.Lambda(body=body):
                self.nested(body, self.inside(node))
                return Kind.UNKNOWN
            case _:
                self.children(node)
                return Kind.UNKNOWN

    def truth(self, node: ast.expr) -> None:
        """What an expression is, where Python asks whether it is empty."""
        if self.kind(node) is Kind.TEXT and self.may_be_empty(node):
            self.refuse(node, "a test of whether it is empty reads")

    def may_be_empty(self, node: ast.expr) -> bool:
        """Whether a text that holds values may have nothing else in it."""
        match node:
            case ast.JoinedStr(values=values):
                words = [str(value.value) for value in values if isinstance(value, ast.Constant)]
                return not "".join(words).strip()
            case ast.Call(func=ast.Attribute(value=value, attr="strip" | "lstrip" | "rstrip")):
                return self.may_be_empty(value)
            case ast.Name(id=name):
                return name in self.values_alone
            case _:
                return False

    def children(self, node: ast.AST) -> None:
        """The expressions right inside; what a comprehension binds is its own."""
        bound = set(bound_in(node))
        outer, self.names = self.names, {n: k for n, k in self.names.items() if n not in bound}
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.kind(child)
            elif not isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                self.children(child)
        self.names = {name: kind for name, kind in outer.items() if name not in bound}

    def nested(self, body: ast.expr, names: Names) -> Kind:
        outer, self.names = self.names, names
        kind = self.kind(body)
        self.names = outer
        return kind

    def inside(
        self, function: ast.FunctionDef | ast.Lambda, of_params: Kind = Kind.UNKNOWN
    ) -> Names:
        """What is certain inside a nested function: of names that nobody binds again."""
        mine = set(bound_in(function))
        outer = {n: k for n, k in self.names.items() if n in self.bound_once and n not in mine}
        return outer | {arg.arg: of_params for arg in function.args.args}

    def operation(self, node: ast.BinOp) -> Kind:
        kinds = [self.kind(node.left), self.kind(node.right)]
        if isinstance(node.op, ast.Mod) and is_text(node.left):
            return text_if([*kinds, *self.arguments([node.right], None)])
        if isinstance(node.op, ast.Div) and Kind.FILE in kinds:
            return Kind.FILE
        keeps = isinstance(node.op, (ast.Add, ast.Mult, ast.Mod))
        return Kind.TEXT if keeps and Kind.TEXT in kinds else Kind.UNKNOWN

    def subscript(self, node: ast.Subscript) -> Kind:
        kind, key = self.kind(node.value), self.kind(node.slice)
        if kind is Kind.TEXT:
            self.refuse(node, "a slice or an index reads")
        if key is Kind.TEXT and isinstance(node.ctx, ast.Load):
            self.refuse(node, "a look-up reads")
        return Kind.VALUE if kind is Kind.VALUE else Kind.UNKNOWN

    def call(self, node: ast.Call) -> Kind:
        target = self.resolve(node.func)
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        kinds = set(self.arguments(given, target))
        if target is MISSING and isinstance(node.func, ast.Attribute):
            return self.method(node, node.func, kinds)
        if target is MISSING:
            self.kind(node.func)
            return Kind.UNKNOWN
        refused = refused_call(target, {self.kind(arg) for arg in given}, kinds)
        if refused is not None:
            self.refuse(node, refused)
        return self.follow(node, target) if is_followed(target) else result_of(target, kinds)

    def follow(self, node: ast.Call, target: FunctionType) -> Kind:
        """What a plain function of the user's gives; it is checked as if it stood here."""
        code = target.__code__
        given = list(takewhile(lambda arg: not isinstance(arg, ast.Starred), node.args))
        pairs = [*zip(code.co_varnames[: code.co_argcount], given, strict=False)]
        pairs += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
        kinds = {name: self.kind(arg) for name, arg in pairs}
        known = {name: kind for name, kind in kinds.items() if kind is not Kind.UNKNOWN}
        return self._result_of(target, known) if known else Kind.UNKNOWN

    def method(self, node: ast.Call, func: ast.Attribute, kinds: set[Kind]) -> Kind:
        owner = self.owner(func.value)
        refused = refused_method(owner, func.attr, kinds, has_args=bool(node.args))
        if refused is not None:
            self.refuse(node, refused)
        if is_text(func.value) and func.attr in ("format", "join"):
            return text_if(kinds)
        return owner if owner in (Kind.TEXT, Kind.FILE) else Kind.UNKNOWN

    def owner(self, node: ast.expr) -> Kind:
        kind = self.kind(node)
        name = str(getattr(node, "attr", None) or getattr(node, "id", ""))  # `self.log`, or `log`
        is_unknown = kind is Kind.UNKNOWN and self.resolve(node) is MISSING
        return Kind.LOGGER if is_unknown and is_logger_name(name) else kind

    def arguments(self, given: Iterable[ast.expr], target: Any) -> Iterator[Kind]:
        """The kinds of arguments, and of what stands in those that are lists, tuples or dicts."""
        for arg in given:
            match arg:
                case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                    yield from self.arguments(items, target)
                case ast.Dict(keys=keys, values=values):
                    yield from self.arguments([*filter(None, keys), *values], target)
                case ast.Lambda(body=body) if traces_a_function(target):
                    self.nested(body, self.inside(arg, Kind.VALUE))
                case ast.Name(id=name) if name in self.functions and traces_a_function(target):
                    inner = self.functions[name]
                    self.function(inner, self.inside(inner, Kind.VALUE))
                case ast.Starred(value=value):
                    yield self.kind(value)
                case _:
                    yield self.kind(arg)

    def resolve(self, node: ast.expr) -> Any:
        """The object that a name, or a dotted name, stands for outside of the function."""
        match node:
            case ast.Name(id=name) if name not in self._local:
                return self._outside.get(name, MISSING)
            case ast.Attribute(value=value, attr=name):
                owner = self.resolve(value)
                return MISSING if owner is MISSING else attribute(owner, name)
            case _:
                return MISSING

    def refuse(self, node: ast.expr, what: str) -> NoReturn:
        problem = f"{what} a text or value that is known only when the app runs; {WAY_OUT}"
        raise SymbolicError(problem, self._file, node.lineno)


def text_if(kinds: Iterable[Kind | None]) -> Kind:
    """What is made of texts and such things: a text, if any is one."""
    return Kind.TEXT if {Kind.TEXT, Kind.VALUE} & set(kinds) else Kind.UNKNOWN


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a text in the code."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
