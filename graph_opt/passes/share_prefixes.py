"""Prefill once, in front of a map, what the prompts of all its items begin with.

The head is a captured context, which each item forks. It may hold what is the same for all items:
literals and captured values, behind a context that is empty or captured itself. Likewise for the
turns of a loop. Out of a map they are worth it though its list may turn out empty, which costs one
prefill for nothing. Out of a branch of a `cond` they are not: half of them would never be wanted.

    %m = map %qs {                                   %m.c0 = context [engine="m"]
      %x = input [type="str"]                        %m.c1 = prefill %m.c0 "Rate it:" [engine="m"]
      %c0 = context [engine="m"]                     %m = map %qs %m.c1 {
      %c1 = prefill %c0 "Rate it:" %x [engine="m"]     %x = input [type="str"]
      ...                                     ->       %c1.head = input [engine="m", type="context"]
    }                                                  %c1 = prefill %c1.head %x [engine="m"]
                                                       ...
                                                     }
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import CONTEXT_TYPE
from graph_opt.prompts import part_start
from graph_opt.rewrite import Replacement, fresh_name, in_bodies, rewrite
from graph_opt.text import arg_text, json_text
from graph_opt.tokens import num_tokens


def share_prefixes(graph: Graph, facts: Facts = NO_FACTS, min_head_tokens: int = 8) -> Graph:
    """The graph with heads of at least so many tokens prefilled once for all items or turns."""
    graph = in_bodies(graph, lambda body: share_prefixes(body, facts, min_head_tokens))
    taken: set[str] = set()

    def hoist(node: Node, _: Graph) -> Sequence[Node] | None:
        if node.op not in ("map", "loop"):
            return None
        hoisting = _Hoisting(node, graph, taken, facts, min_head_tokens)
        return hoisting.result()

    return rewrite(graph, hoist, recurse=False)


@dataclass(frozen=True, slots=True)
class _Head:
    """A context of a body as it would be made in front of the map."""

    name: str
    making: tuple[Node, ...] = ()  # the nodes that make it, as far as they are in the body
    num_tokens: float = 0  # that those nodes prefill


class _Hoisting:
    """One map or loop: which of its contexts can be made outside, and which pay."""

    def __init__(
        self, node: Node, graph: Graph, taken: set[str], facts: Facts, min_head_tokens: int
    ) -> None:
        assert node.body is not None, "maps and loops have one body"
        self.node, self.body, self.graph, self.taken = node, node.body, graph, taken
        self.facts, self.min_head_tokens = facts, min_head_tokens
        captures = list(zip(self.body.params, node.args, strict=True))[1:]
        self.outside = {param.name: arg for param, arg in captures}
        self.heads: dict[str, _Head] = {
            param.name: _Head(arg.name)
            for param, arg in captures
            if isinstance(arg, Ref) and param.attrs["type"] == CONTEXT_TYPE
        }
        self.known: dict[Hashable, str] = {}  # what a node does -> its name outside
        self.made: dict[str, Node] = {}  # nodes to put in front of the map
        self.params: dict[str, Node] = {}  # context outside -> param of the body
        self.cuts: dict[str, tuple[str, int]] = {}  # prefill -> param for its head, where that ends

    def result(self) -> list[Node] | None:
        for node in self.body.nodes:
            if self.facts.can(node, "prefill") and "ahead" not in node.attrs:
                self.look_at(node)
        if not self.cuts:
            return None
        inputs = (*self.body.params, *self.params.values())
        others = (node for node in self.body.nodes if node.op != "input")
        body = replace(self.body, nodes=(*inputs, *others))
        body = rewrite(body, self.shorten, recurse=False)
        args = (*self.node.args, *map(Ref, self.params))
        return [*self.made.values(), replace(self.node, args=args, bodies=(body,))]

    def shorten(self, node: Node, _: Graph) -> Replacement | None:
        if node.name not in self.cuts:
            return None
        param, cut = self.cuts[node.name]
        if cut == len(node.args):
            return Replacement(rename={node.name: param})
        return Replacement([replace(node, args=(Ref(param), *node.args[cut:]))])

    def look_at(self, node: Node) -> None:
        if node.op == "context":
            self.heads[node.name] = self.extend(_Head(""), node, ())
        if node.op != "prefill" or node.inputs[0] not in self.heads:
            return
        cut = self.first_own_part(node)
        head = self.extend(self.heads[node.inputs[0]], node, node.args[1:cut])
        pays = head.num_tokens >= max(1, self.min_head_tokens)
        if cut == len(node.args):
            if pays:
                self.cuts[node.name] = (self.param(node, head), cut)
                head = _Head(head.name)
            self.heads[node.name] = head
        elif pays and num_tokens(node.args[1:cut]) > 0:
            self.cuts[node.name] = (self.param(node, head), cut)

    def first_own_part(self, node: Node) -> int:
        """Where the first part comes that is of the item."""
        for index, part in enumerate(node.args[1:], 1):
            if isinstance(part, Ref) and part.name not in self.outside:
                return part_start(node.args, index)
        return len(node.args)

    def extend(self, head: _Head, node: Node, parts: Sequence[Arg]) -> _Head:
        """The head with one node more, which is made once for equal heads."""
        outside = (self.outside[part.name] if isinstance(part, Ref) else part for part in parts)
        args = (Ref(head.name), *outside) if node.op == "prefill" else ()
        key = (node.op, json_text(dict(node.attrs)), tuple(map(arg_text, args)))
        if key not in self.known:
            self.known[key] = fresh_name(self.graph, f"{self.node.name}.{node.name}", self.taken)
            self.taken.add(self.known[key])
        made = replace(node, outputs=(self.known[key],), args=args, after=())
        return _Head(made.name, (*head.making, made), head.num_tokens + num_tokens(parts))

    def param(self, node: Node, head: _Head) -> str:
        """The body's own name for a head, which now is made outside."""
        self.made.update((made.name, made) for made in head.making)
        if head.name not in self.params:
            taken = [param.name for param in self.params.values()]
            name = fresh_name(self.body, f"{node.name}.head", taken)
            attrs = {"type": CONTEXT_TYPE, "engine": node.attrs["engine"]}
            self.params[head.name] = Node((name,), "input", attrs=attrs)
        return self.params[head.name].name
