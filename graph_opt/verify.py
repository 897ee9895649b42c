"""The rules of a well formed graph; run by the constructor of `Graph`, so after every pass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, get_args

from graph_opt.errors import GraphError
from graph_opt.graph import CHUNKS, Arg, Json, Marker, Node, Ref
from graph_opt.objective import Kind
from graph_opt.ops import (
    APPLIED,
    CONTEXT_TYPE,
    MAP_ON_ERROR,
    OPS,
    body_names,
    elementwise,
    has_effects,
)

VALUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
ATTR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MARKERS = ("user", "system", "assistant", "tool", "sp", "chunks")
PARSERS = ("json", "lines")
SCORES = ("mean", "sum")  # of a choice: over its tokens' log-probabilities


def verify(nodes: Sequence[Node], outputs: Sequence[str]) -> None:
    """Raise `GraphError` at the first node that breaks a rule."""
    scope = _Scope()
    for node in nodes:
        if not node._is_sound:
            _check_alone(node)
        _check_names(node, scope)
        _check_contexts(node, scope)
        _check_streams(node, scope)
        _check_captures(node, scope)
        scope.define(node)
    for value in outputs:
        if value not in scope.values:
            raise GraphError(f"the graph returns %{value}, which no node makes; define it")


def _check_alone(node: Node) -> None:
    """What a node must keep in any graph: checked once in its life, for the passes hand it on."""
    _check_outputs(node)
    _check_signature(node)
    _check_values(node)
    _check_bodies(node)
    object.__setattr__(node, "_is_sound", True)


@dataclass(slots=True)
class _Scope:
    values: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    contexts: dict[str, str | None] = field(default_factory=dict)  # value -> engine, if known
    texts: set[str] = field(default_factory=set)  # what LLMs write

    def define(self, node: Node) -> None:
        self.values.update(node.outputs)
        self.nodes.add(node.name)
        if OPS[node.op].writes_text:
            self.texts.add(node.name)
        if is_context(node, 0):
            engine = node.attrs.get("engine")
            self.contexts[node.outputs[0]] = engine if isinstance(engine, str) else None
        elif is_context(node, len(node.outputs) - 1):
            self.contexts[node.outputs[-1]] = str(node.attrs["engine"])

    def is_context(self, arg: Arg) -> bool:
        return isinstance(arg, Ref) and arg.name in self.contexts


def is_context(node: Node, index: int) -> bool:
    """Whether this output of the node is a context."""
    if node.op == "input":
        return node.attrs["type"] == CONTEXT_TYPE
    return (node.op, index) in _CONTEXTS


_CONTEXTS = {("context", 0), ("prefill", 0), ("decode", 1), ("select", 2)}


def _fail(node: Node, what: str) -> NoReturn:
    name = f"%{node.outputs[0]}" if node.outputs else "a node without outputs"
    where = f" from {node.origin.file}:{node.origin.line}" if node.origin else ""
    raise GraphError(f"{name} ({node.op}{where}): {what}")


def _check_outputs(node: Node) -> None:
    for value in node.outputs:
        if not VALUE_NAME.fullmatch(value):
            _fail(node, f"{value!r} is no value name; use letters, digits, _ and .")
        if node.outputs.count(value) > 1:
            _fail(node, f"%{value} is defined twice; give each value a name of its own")


def _check_names(node: Node, scope: _Scope) -> None:
    for value in node.outputs:
        if value in scope.values:
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
    for key in ("engine", "type", "items", "fn", "reuse", "fusion"):
        if not isinstance(node.attrs.get(key, ""), str):
            _fail(node, f"attr {key!r} is {node.attrs[key]!r}; it must be a string")
    if node.op == "elements":
        _check_elements(node)
    if node.op == "apply" and node.attrs["fn"] not in APPLIED:
        _fail(node, f"unknown function {node.attrs['fn']!r}; known are {', '.join(APPLIED)}")
    if node.op == "select":
        _check_choices(node)
    if node.op == "loop" and not _is_count(node.attrs["max"]):
        _fail(node, f"attr 'max' is {node.attrs['max']!r}; it must be a whole number, 1 or more")
    if (objective := node.attrs.get("objective")) not in (None, *get_args(Kind)):
        _fail(node, f"attr 'objective' is {objective!r}; it must be {' or '.join(get_args(Kind))}")
    _check_recovery(node)


def _check_choices(node: Node) -> None:
    choices = node.args[1]
    are_texts = isinstance(choices, list) and all(isinstance(c, str) and c for c in choices)
    if not isinstance(choices, Ref) and not (choices and are_texts):
        _fail(node, f"has the choices {choices!r}; they must be a list of texts, none empty")
    if node.attrs.get("score", "mean") not in SCORES:
        known = ", ".join(SCORES)
        _fail(node, f"attr 'score' is {node.attrs['score']!r}; it must be one of {known}")


def _check_recovery(node: Node) -> None:
    attrs = node.attrs
    if node.op in ("attempt", "first", "within") and node.args[0] is not None:
        _fail(node, "arg 0 must be null; captures follow it")
    if node.op == "map" and attrs.get("on_error", "raise") not in MAP_ON_ERROR:
        known = ", ".join(MAP_ON_ERROR)
        _fail(node, f"attr 'on_error' is {attrs['on_error']!r}; it must be one of {known}")
    if not _is_count(attrs.get("retries", 1)):
        _fail(node, f"attr 'retries' is {attrs['retries']!r}; it must be a whole number, 1 or more")
    if not _is_time(attrs.get("timeout_s", 1)):
        _fail(node, f"attr 'timeout_s' is {attrs['timeout_s']!r}; it must be seconds, above 0")


def _is_time(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _check_elements(node: Node) -> None:
    parser, path = node.attrs.get("parser", "json"), node.attrs.get("path")
    if parser not in PARSERS:
        _fail(node, f"unknown parser {parser!r}; known are {', '.join(PARSERS)}")
    if parser == "lines":
        if {"type", "path", "items"} & node.attrs.keys():
            _fail(node, "lines have no type, path or items; leave these attrs out")
    elif not {"type", "items"} <= node.attrs.keys() or not isinstance(path, list):
        _fail(
            node, "needs the attrs 'type', of the whole text, 'path', to the list, and its 'items'"
        )
    elif not all(isinstance(name, str) for name in path):
        _fail(node, f"attr 'path' is {path!r}; it must be names of fields")


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


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
    prompt_from = OPS[node.op].prompt_from
    if prompt_from is None or index < prompt_from:
        _fail(node, f"arg {index} is @{marker.word}; markers are for the parts of a prompt")
    if marker.word not in MARKERS:
        _fail(node, f"unknown marker @{marker.word}; known are {', '.join(MARKERS)}")
    following = node.args[index + 1] if index + 1 < len(node.args) else None
    if marker.word == "sp" and not isinstance(following, Ref | str) and following != CHUNKS:
        _fail(node, "@sp must be followed by a value or a string in the same node")
    if marker == CHUNKS and not isinstance(following, Ref):
        _fail(node, "@chunks must be followed by a value in the same node")


def _check_contexts(node: Node, scope: _Scope) -> None:
    takes_context = node.op in ("prefill", "decode", "select", "encode")
    for index, arg in enumerate(node.args):
        if takes_context and index == 0:
            _check_engine(node, arg, scope)
        elif scope.is_context(arg) and (index == 0 or not node.bodies):
            assert isinstance(arg, Ref), "only a Ref is a context"
            _fail(node, f"arg {index} is the context %{arg.name}; only an LLM can read a context")


def _check_engine(node: Node, arg: Arg, scope: _Scope) -> None:
    if not isinstance(arg, Ref) or arg.name not in scope.contexts:
        _fail(node, "its first arg must be a context; start one with the op `context`")
    engine = scope.contexts[arg.name]
    if engine not in (None, node.attrs["engine"]):
        mine = node.attrs["engine"]
        _fail(node, f"runs on {mine!r} but %{arg.name} lives on {engine!r}; use one engine")


def _check_streams(node: Node, scope: _Scope) -> None:
    streamed = [index for index, arg in enumerate(node.args) if isinstance(arg, Ref) and arg.stream]
    if not streamed:
        return
    for index in streamed:
        arg = node.args[index]
        assert isinstance(arg, Ref), "found as a Ref above"
        if index not in elementwise(node):
            why = ", as what has effects must" if has_effects(node) else ""
            _fail(node, f"reads arg {index} as a stream; it can only be read whole{why}")
        if arg.name in scope.texts and node.op != "elements":
            _fail(node, f"reads the text %{arg.name} as a stream; only `elements` can")


def _check_bodies(node: Node) -> None:
    op = OPS[node.op]
    if not node.bodies and op.more_bodies:
        _fail(node, "has no bodies; the op takes one or more")
    if len(node.bodies) != len(body_names(node)):
        need = ("no body", "one body", "two bodies")[len(op.bodies)]
        _fail(node, f"has {len(node.bodies)} bodies; the op takes {need}")
    for body in node.bodies:
        want = len(node.args) - op.params_from
        if len(body.params) != want:
            _fail(node, f"its body has {len(body.params)} inputs; it needs {want}, as many as args")
        if len(body.outputs) != op.body_outputs:
            _fail(node, f"its body returns {len(body.outputs)} values; return {op.body_outputs}")
        for value in body.outputs:
            result = body.producer(value)
            if is_context(result, result.outputs.index(value)):
                _fail(node, "its body returns a context; return a value")


def _check_captures(node: Node, scope: _Scope) -> None:
    args = node.args[OPS[node.op].params_from :]
    for body in node.bodies:
        for param, arg in zip(body.params, args, strict=True):
            if is_context(param, 0) != scope.is_context(arg):
                want = "must have type context iff its arg is a context"
                _fail(node, f"body input %{param.name} {want}")
