"""The rules of a well formed graph; run by the constructor of `Graph`, so after every pass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from graph_opt.errors import GraphError
from graph_opt.graph import Arg, Marker, Node, Ref
from graph_opt.ops import CONTEXT_TYPE, OPS

VALUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
ATTR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MARKERS = ("user", "system", "assistant", "sp")


def verify(nodes: Sequence[Node], outputs: Sequence[str]) -> None:
    """Raise `GraphError` at the first node that breaks a rule."""
    scope = _Scope()
    for node in nodes:
        _check_names(node, scope)
        _check_signature(node)
        _check_values(node)
        _check_contexts(node, scope)
        _check_body(node, scope)
        scope.define(node)
    for value in outputs:
        if value not in scope.values:
            raise GraphError(f"the graph returns %{value}, which no node makes; define it")


@dataclass(slots=True)
class _Scope:
    values: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    contexts: dict[str, str | None] = field(default_factory=dict)  # value -> engine, if known

    def define(self, node: Node) -> None:
        self.values.update(node.outputs)
        self.nodes.add(node.name)
        if is_context(node, 0):
            engine = node.attrs.get("engine")
            self.contexts[node.outputs[0]] = engine if isinstance(engine, str) else None
        elif is_context(node, 1):
            self.contexts[node.outputs[1]] = str(node.attrs["engine"])

    def is_context(self, arg: Arg) -> bool:
        return isinstance(arg, Ref) and arg.name in self.contexts


def is_context(node: Node, index: int) -> bool:
    """Whether this output of the node is a context."""
    if node.op == "input":
        return node.attrs["type"] == CONTEXT_TYPE
    return (node.op, index) in {("context", 0), ("prefill", 0), ("decode", 1)}


def _fail(node: Node, what: str) -> NoReturn:
    name = f"%{node.outputs[0]}" if node.outputs else "a node without outputs"
    where = f" from {node.origin.file}:{node.origin.line}" if node.origin else ""
    raise GraphError(f"{name} ({node.op}{where}): {what}")


def _check_names(node: Node, scope: _Scope) -> None:
    for value in node.outputs:
        if not VALUE_NAME.fullmatch(value):
            _fail(node, f"{value!r} is no value name; use letters, digits, _ and .")
        if value in scope.values or node.outputs.count(value) > 1:
            _fail(node, f"%{value} is defined twice; give each value a name of its own")
    for value in node.inputs:
        if value not in scope.values:
            _fail(node, f"reads %{value}, which no earlier node makes; define it before")
    for name in node.after:
        if name not in scope.nodes:
            _fail(node, f"is after %{name}, which names no earlier node; put that node before")


def _check_signature(node: Node) -> None:
    op = OPS.get(node.op)
    if op is None:
        _fail(node, f"unknown op; known are {', '.join(sorted(OPS))}")
    if len(node.outputs) != op.num_outputs:
        _fail(node, f"has {len(node.outputs)} outputs; the op makes {op.num_outputs}")
    most = math.inf if op.max_args is None else op.max_args
    if not op.min_args <= len(node.args) <= most:
        _fail(node, f"has {len(node.args)} args; the op takes {op.min_args} to {most}")
    for key in op.required_attrs:
        if key not in node.attrs:
            _fail(node, f"has no attr {key!r}; set it")
    for key in {"engine", "type", "fn"} & node.attrs.keys():
        if not isinstance(node.attrs[key], str):
            _fail(node, f"attr {key!r} is {node.attrs[key]!r}; it must be a string")


def _check_values(node: Node) -> None:
    for key, value in node.attrs.items():
        if not isinstance(key, str) or not ATTR_NAME.fullmatch(key):
            _fail(node, f"{key!r} is no attr name; use letters, digits and _")
        if not is_json(value):
            _fail(node, f"attr {key!r} is {value!r}; attrs must be JSON values")
    for index, arg in enumerate(node.args):
        if isinstance(arg, Marker):
            _check_marker(node, index, arg)
        elif not isinstance(arg, Ref) and not is_json(arg):
            _fail(node, f"arg {index} is {arg!r}; use a Ref, a Marker or a JSON value")


def is_json(value: object) -> bool:
    """Whether the value survives JSON unchanged: no tuples, no NaN, only str keys."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | str)


def _check_marker(node: Node, index: int, marker: Marker) -> None:
    if node.op != "prefill" or index == 0:
        _fail(node, f"arg {index} is @{marker.word}; markers are for the parts of a prefill")
    if marker.word not in MARKERS:
        _fail(node, f"unknown marker @{marker.word}; known are {', '.join(MARKERS)}")
    if marker.word == "sp":
        following = node.args[index + 1] if index + 1 < len(node.args) else None
        if not isinstance(following, Ref | str):
            _fail(node, "@sp must be followed by a value or a string in the same node")


def _check_contexts(node: Node, scope: _Scope) -> None:
    takes_context = node.op in {"prefill", "decode"}
    for index, arg in enumerate(node.args):
        if takes_context and index == 0:
            _check_engine(node, arg, scope)
        elif scope.is_context(arg) and (node.op != "map" or index == 0):
            assert isinstance(arg, Ref), "only a Ref is a context"
            _fail(node, f"arg {index} is the context %{arg.name}; only an LLM can read a context")


def _check_engine(node: Node, arg: Arg, scope: _Scope) -> None:
    if not isinstance(arg, Ref) or arg.name not in scope.contexts:
        _fail(node, "its first arg must be a context; start one with the op `context`")
    engine = scope.contexts[arg.name]
    if engine not in (None, node.attrs["engine"]):
        mine = node.attrs["engine"]
        _fail(node, f"runs on {mine!r} but %{arg.name} lives on {engine!r}; use one engine")


def _check_body(node: Node, scope: _Scope) -> None:
    if (node.body is not None) != (node.op == "map"):
        _fail(node, "a map needs a body" if node.op == "map" else "only a map has a body")
    if node.body is None:
        return
    params = node.body.params
    if len(params) != len(node.args):
        want = len(node.args)
        _fail(node, f"its body has {len(params)} inputs; it needs {want}: the item, the captures")
    for param, arg in zip(params, node.args, strict=True):
        if is_context(param, 0) != scope.is_context(arg):
            _fail(node, f"body input %{param.name} must have type context iff its arg is a context")
    if len(node.body.outputs) != 1:
        _fail(node, f"its body returns {len(node.body.outputs)} values; return one")
    result = node.body.producer(node.body.outputs[0])
    if is_context(result, result.outputs.index(node.body.outputs[0])):
        _fail(node, "its body returns a context; return a value")
