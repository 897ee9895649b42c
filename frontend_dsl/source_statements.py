"""Walks the statements of a function, and says what is certain of its names and its result."""

import ast
from collections.abc import Mapping, Sequence
from types import FunctionType

from frontend_dsl.source_expressions import Expressions, Names, ResultOf, is_text, text_if
from frontend_dsl.source_names import Function, blocks, bound_in
from frontend_dsl.source_rules import Kind


class Statements(Expressions):
    """The walk of one function."""

    def __init__(self, function: FunctionType, tree: Function, result_of: ResultOf) -> None:
        super().__init__(function, tree, result_of)
        self.returned: set[Kind] = set()
        self._texts: set[str] = set()  # names that held a text of the code at some place

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
                self.functions[name] = node
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
                    if isinstance(target, ast.Name) and is_text(value):
                        self._texts.add(target.id)
                    if isinstance(target, ast.Name) and target.id in self.bound_once:
                        self.values_alone |= {target.id} if self.may_be_empty(value) else set()

    def added_to(self, name: str, kind: Kind) -> Kind:
        """What `name += value` makes: a text only where it adds to one; a tl.State stays one."""
        known = self.names.get(name, Kind.UNKNOWN)
        is_text = known in (Kind.TEXT, Kind.VALUE) or name in self._texts
        return text_if([known, kind]) if is_text else Kind.UNKNOWN

    def bind(self, target: ast.expr, kind: Kind) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = kind
        else:
            self.kind(target)
            self.forget(target)
