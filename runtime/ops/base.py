"""The record that says what an op means at run time. Each op fills in the fields that apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from backends.base import Request, Result
from graph_opt.graph import Graph, Node
from runtime.cost.api_tokens import Expected, prompt_only
from runtime.cost.latency import Load
from runtime.cost.sizes import UNKNOWN, Size
from runtime.host import Host
from runtime.item_streams import Item
from runtime.memo.rules import Rule
from runtime.scope import Scope

Run: TypeAlias = "Callable[[Node, Sequence[Any], Mapping[str, Any]], Any]"  # args, symbols -> value
Begin: TypeAlias = "Callable[[Host, Scope, Node], None]"
RequestAttrs: TypeAlias = "Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]"
AtPath: TypeAlias = "Callable[[Mapping[str, Any], str], Mapping[str, Any]]"
Sizes: TypeAlias = "Mapping[str, Size]"  # by value
SizeRule: TypeAlias = "Callable[[Node, Sequence[Size]], Sequence[Size]]"  # of args -> of outputs
BodyOutputs: TypeAlias = "Callable[[Graph, Sequence[Size]], Sequence[Size]]"  # of a body's params
BodySizeRule: TypeAlias = "Callable[[Node, Sequence[Size], BodyOutputs], Sequence[Size]]"
ExpectedLoad: TypeAlias = "Callable[[Node, Sizes], tuple[Load, ...]]"
ClientLoad: TypeAlias = "Callable[[Node, Sizes, float], tuple[Load, ...]]"  # and what is held
MeasuredLoad: TypeAlias = "Callable[[Sequence[Request], Sequence[Result]], tuple[Load, ...]]"
ExpectedTokens: TypeAlias = "Callable[[Request], Expected | None]"  # None: never leaves the client


@dataclass(frozen=True, slots=True)
class Piecewise:
    """How an engine op runs on pieces of its streamed lists."""

    spread: Callable[[Any, Sequence[list[Any]]], Sequence[Any]]  # output, columns -> one an item
    combine: Callable[[Node, Sequence[Item]], Any]  # all items -> the node's output
    without: tuple[str, ...] = ()  # attrs that hold for the whole list, not for a piece


def unknown_size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    """The rule of an op whose outputs cannot be estimated."""
    return [UNKNOWN for _ in node.outputs]


@dataclass(frozen=True, slots=True)
class OpRun:
    """How one op runs, and what it costs.

    An op runs in one of three ways: `run` computes the value inline; `begin` takes the node over
    and finishes it later; an op with neither is a request to its engine.
    """

    run: Run | None = None
    begin: Begin | None = None
    begin_streamed: Begin | None = None  # instead of `run`, where an arg is read as a stream
    pieces: Piecewise | None = None  # instead of one request, where an arg is read as a stream
    items_arg: int | None = None  # the arg whose items are the items of a request
    request_attrs: RequestAttrs | None = None  # the attrs and symbols -> the attrs of a request
    at_path: AtPath | None = None  # those, and the place of the request -> its attrs
    size: SizeRule = unknown_size
    size_of_bodies: BodySizeRule | None = None  # instead of `size`, of an op with bodies
    turns: Callable[[Node, Sizes], float] | None = None  # how often the body runs; None: once
    load: ExpectedLoad | None = None  # what a node will ask of its engine
    client_load: ClientLoad | None = None  # instead, where contexts stay with the client
    measured: MeasuredLoad | None = None  # what a finished batch asked of its engine
    api_tokens: ExpectedTokens = prompt_only  # what a request takes of an API's rate limits
    takes_salt: bool = False  # its request takes the attr `cache_salt`
    extends_context: bool = False  # its output is a context with the parts that it was given
    remember: Rule | None = None  # the units by which work of this op is remembered, if it is pure
