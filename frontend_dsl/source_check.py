"""Finds in a function's source what Python gives no hook for.

An f-string that holds a symbolic value is an ordinary str: `"x" in f"{question}"` asks the marker
and not the question. The check follows names through the function, and knows only what is certain:
a name that may hold something else on another path is not looked at.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from types import CodeType, FunctionType
from typing import Any, NoReturn

from frontend_dsl.errors import SymbolicError
from frontend_dsl.marked_texts import has_marks
from frontend_dsl.source_names import (
    MISSING,
    Function,
    attribute,
    blocks,
    bound_in,
    content_of,
    names_outside,
    parsed,
)
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
from frontend_dsl.value import Value
from frontend_dsl.where import short_path

Names = dict[str, Kind]

_MOST_PASSED = 4096
_Key = tuple[CodeType, frozenset[tuple[str, Kind]], tuple[CodeType | type, ...]]

_passed: set[_Key] = set()


def kinds_of(arguments: Mapping[str, Any]) -> Names:
    """What the arguments of a call are, as far as they are known only when the app runs."""
    kinds = {name: _kind_of(value) for name, value in arguments.items()}
    return {name: kind for name, kind in kinds.items() if kind is not Kind.UNKNOWN}


def check_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """The same for a call with these arguments, some of which may be real."""
    plain = getattr(function, "__func__", function)
    if isinstance(plain, FunctionType):
        given = args if plain is function else (None, *args)  # the object of a method comes first
        code = plain.__code__
        named = zip(code.co_varnames[: code.co_argcount], given, strict=False)
        check_source(plain, kinds_of({**dict(named), **kwargs}))


def _kind_of(value: object) -> Kind:
    if isinstance(value, Value):
        return Kind.VALUE
    return Kind.TEXT if has_marks(value) else Kind.UNKNOWN


def check_source(
    function: Callable[..., Any], arguments: Mapping[str, Kind], *, is_final: bool = True
) -> None:
    """Raise SymbolicError where the function reads a text that holds a value of the run.

    Only a function with source is checked, once for each kind of arguments; again if the check was
    not final, since names that it uses may be given a meaning later.
    """
    if not isinstance(function, FunctionType):
        return
    key = _key(function, arguments)
    if key in _passed:
        return
    _result(function, arguments, {})
    if len(_passed) >= _MOST_PASSED:
        _passed.clear()
    if is_final:
        _passed.add(key)


def _key(function: FunctionType, arguments: Mapping[str, Kind]) -> _Key:
    """Equal for functions of which the check says the same: one text, the same functions around."""
    around = (content_of(cell) for cell in function.__closure__ or ())
    known = tuple(one.__code__ if isinstance(one, FunctionType) else type(one) for one in around)
    return function.__code__, frozenset(arguments.items()), known


def _result(
    function: FunctionType, arguments: Mapping[str, Kind], followed: dict[_Key, Kind]
) -> Kind:
    """What is certain of the function's result; `followed` holds what is known of others."""
    key = _key(function, arguments)
    if key in followed:
        return followed[key]
    followed[key] = Kind.UNKNOWN  # where it calls itself
    tree = parsed(function.__code__)
    if tree is not None:
        followed[key] = _Check(function, tree, followed).result(tree, dict(arguments))
    return followed[key]


class _Check:
    """Walks one function; `names` says what is certain of each name at the place reached."""

    def __init__(self, function: FunctionType, tree: Function, followed: dict[_Key, Kind]) -> None:
        self.names: Names = {}
        self.returned: set[Kind] = set()
        self._followed = followed
        self._file = short_path(function.__code__.co_filename)
        self._outside = names_outside(function, tree)
        bound = list(bound_in(tree))
        self._local = set(bound)
        self._bound_once = {name for name in bound if bound.count(name) == 1}
        self._nested: dict[str, ast.FunctionDef] = {}
        self._texts: set[str] = set()  # names that held a text of the code at some place
        self._values_alone: set[str] = set()  # texts with nothing else in them

    def result(self, tree: Function, arguments: Names) -> Kind:
        if isinstance(tree, ast.Lambda):
            return self.nested(tree.body, arguments)
        self.block(tree.body, arguments)
        return self.returned.pop() if len(self.returned) == 1 else Kind.UNKNOWN

    def block(self, statements: Sequence[ast.stmt], names: Mapping[str, Kind]) -> Names:
        """What is certain after the statements, if this was certain before."""
        outer, self.names = self.names, dict(names)
        for statement in statements:
            self.statement(statement)
        after, self.names = self.names, outer
        return after

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self.assign(targets, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign([target], value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                self.names[name] = self.added_to(name, self.kind(value))
            case ast.If(test=test, body=then, orelse=otherwise):
                self.truth(test)
                one, other = (self.block(branch, self.names) for branch in (then, otherwise))
                self.names = {name: kind for name, kind in one.items() if other.get(name) is kind}
            case ast.With(items=items, body=body):
                for item in items:
                    self.assign([item.optional_vars or ast.Tuple([])], item.context_expr)
                self.names = self.block(body, self.names)
            case ast.FunctionDef(name=name, decorator_list=[]):
                self._nested[name] = node
                self.function(node, self.inside(node))
            case ast.Return(value=ast.expr() as value):
                self.returned.add(self.kind(value))
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.forget(node)
            case _:
                self.uncertain(node)

    def function(self, node: ast.FunctionDef, names: Names) -> None:
        outer, self.returned = self.returned, set()
        self.block(node.body, names)
        self.returned = outer

    def uncertain(self, node: ast.stmt) -> None:
        """A statement that may run its blocks often, or in part."""
        self.forget(node)
        for read in (getattr(node, "iter", None), getattr(node, "subject", None)):
            if read is not None and self.kind(read) is Kind.TEXT:
                word = "match" if isinstance(node, ast.Match) else "for"
                self.refuse(read, f"`{word}` reads")
        for statements in blocks(node):
            self.block(statements, self.names)
        self.children(node)

    def forget(self, node: ast.AST) -> None:
        for name in (getattr(node, "name", None), *bound_in(node)):
            self.names.pop(str(name), None)

    def assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        for target in targets:
            match target, value:
                case ast.Tuple(elts=many), ast.Tuple(elts=given) if len(many) == len(given):
                    kinds = [self.kind(one) for one in given]
                    for one, kind in zip(many, kinds, strict=True):
                        self.bind(one, kind)
                case _:
                    self.bind(target, self.kind(value))
                    if isinstance(target, ast.Name) and _is_text(value):
                        self._texts.add(target.id)
                    if isinstance(target, ast.Name) and target.id in self._bound_once:
                        self._values_alone |= {target.id} if self.may_be_empty(value) else set()

    def added_to(self, name: str, kind: Kind) -> Kind:
        """What `name += value` makes: a text only where it adds to one; a tl.State stays one."""
        known = self.names.get(name, Kind.UNKNOWN)
        is_text = known in (Kind.TEXT, Kind.VALUE) or name in self._texts
        return _text_if([known, kind]) if is_text else Kind.UNKNOWN

    def bind(self, target: ast.expr, kind: Kind) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = kind
        else:
            self.kind(target)
            self.forget(target)

    def inside(
        self, function: ast.FunctionDef | ast.Lambda, of_params: Kind = Kind.UNKNOWN
    ) -> Names:
        """What is certain inside a nested function: of names that nobody binds again."""
        mine = set(bound_in(function))
        outer = {n: k for n, k in self.names.items() if n in self._bound_once and n not in mine}
        return outer | {arg.arg: of_params for arg in function.args.args}

    def kind(self, node: ast.expr) -> Kind:
        """What is certain of an expression. Raises SymbolicError for one that cannot be."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, Kind.UNKNOWN)
            case ast.JoinedStr(values=values):
                return _text_if([self.kind(value) for value in values])
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
                return name in self._values_alone
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

    def operation(self, node: ast.BinOp) -> Kind:
        kinds = [self.kind(node.left), self.kind(node.right)]
        if isinstance(node.op, ast.Mod) and _is_text(node.left):
            return _text_if([*kinds, *self.arguments([node.right], None)])
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
        return _result(target, known, self._followed) if known else Kind.UNKNOWN

    def method(self, node: ast.Call, func: ast.Attribute, kinds: set[Kind]) -> Kind:
        owner = self.owner(func.value)
        refused = refused_method(owner, func.attr, kinds, has_args=bool(node.args))
        if refused is not None:
            self.refuse(node, refused)
        if _is_text(func.value) and func.attr in ("format", "join"):
            return _text_if(kinds)
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
                case ast.Name(id=name) if name in self._nested and traces_a_function(target):
                    inner = self._nested[name]
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


def _text_if(kinds: Iterable[Kind | None]) -> Kind:
    return Kind.TEXT if {Kind.TEXT, Kind.VALUE} & set(kinds) else Kind.UNKNOWN


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
