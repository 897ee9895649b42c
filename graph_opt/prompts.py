"""Prompts written out: what reads a context gets the parts that its prefills would have added.

Parts are tokenised one by one, so that a prompt is the same however it is cut. The tools of a
conversation are named where it opens; who gets its parts gets them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graph_opt.graph import OF_NEXT_PART, Arg, Graph, Json, Node, Ref
from graph_opt.ops import CONTEXT_TYPE, OPS
from graph_opt.rewrite import fresh_name, substitute

OF_FUSION = ("fusion", "fusion_from")  # attrs of a request that reads chunks
# attrs that hold for what continues a context too
OF_CONVERSATION = ("tools", "tool_choice", "parallel_tool_calls")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a context holds, and the order that the nodes which made it had."""

    context: str | None = None  # that it begins with; None: the empty one
    parts: tuple[Arg, ...] = ()
    after: tuple[str, ...] = ()
    attrs: Mapping[str, Json] = field(default_factory=dict)  # of the conversation

    def add(self, parts: Sequence[Arg], after: Sequence[str]) -> Prompt:
        order = tuple(dict.fromkeys((*self.after, *after)))
        return Prompt(self.context, (*self.parts, *parts), order, self.attrs)

    def add_node(self, node: Node) -> Prompt:
        """What the context holds behind a prefill or a decode that continues it."""
        attrs = {**self.attrs, **conversation_attrs(node)}
        return replace(self.add(node.args[1:], node.after), attrs=attrs)

    @property
    def args(self) -> tuple[Arg, ...]:
        """The context it begins with, if it has one, and the parts."""
        return self.parts if self.context is None else (Ref(self.context), *self.parts)


@dataclass(frozen=True, slots=True)
class Given:
    """What a body gets instead of a context: the values in its prompt, under names of its own."""

    prompt: Prompt
    params: tuple[Node, ...]


WriteBody = Callable[[int, Graph, Mapping[str, Given]], Graph]  # number, body, by param


def write_captures(node: Node, prompts: Mapping[str, Prompt], write: WriteBody) -> Node:
    """The node with what is in these contexts captured in their place, and its bodies written."""
    names = [[param.name for param in body.params] for body in node.bodies]
    given: list[dict[str, Given]] = [{} for _ in node.bodies]
    args, after = list(node.args[:1]), node.after
    for index, arg in enumerate(node.args[1:], 1):
        prompt = prompts.get(arg.name) if isinstance(arg, Ref) else None
        if prompt is None:
            args.append(arg)
            continue
        values = dict.fromkeys(part.name for part in prompt.args if isinstance(part, Ref))
        args += map(Ref, values)
        after = (*after, *prompt.after)
        for body, params, to in zip(node.bodies, names, given, strict=True):
            param = params[index - OPS[node.op].params_from]
            to[param] = _give(prompt, values, body.node(param), body)
    numbered = enumerate(zip(node.bodies, given, strict=True))
    bodies = tuple(write(number, body, to) for number, (body, to) in numbered)
    order = tuple(dict.fromkeys(after))
    return replace(node, args=tuple(args), after=order, bodies=bodies)


def _give(prompt: Prompt, values: Iterable[str], param: Node, body: Graph) -> Given:
    """The context that the prompt begins with takes the param's name."""
    texts = [value for value in values if value != prompt.context]
    names = {value: fresh_name(body, f"{param.name}.{i}") for i, value in enumerate(texts)}
    params = [Node((name,), "input", attrs={"type": "Any"}) for name in names.values()]
    context = None
    if prompt.context is not None:
        assert param.attrs["type"] == CONTEXT_TYPE, "the verifier has checked captures"
        context, params = param.name, [param, *params]
    parts = substitute(prompt.parts, names)
    return Given(Prompt(context, parts, attrs=prompt.attrs), tuple(params))


def prefill_for(select: Node, prompt: Prompt, graph: Graph) -> Node:
    """The prefill of a prompt that begins with a context, for a select that reads it."""
    kept = {name: select.attrs[name] for name in ("engine", "adapter") if name in select.attrs}
    name = fresh_name(graph, f"{select.name}.prompt")
    attrs = {**prompt.attrs, **kept}
    return replace(
        select, outputs=(name,), op="prefill", args=prompt.args, attrs=attrs, after=prompt.after
    )


def conversation_attrs(node: Node) -> dict[str, Json]:
    """Those that also hold for what continues the node's context."""
    return {name: node.attrs[name] for name in OF_CONVERSATION if name in node.attrs}


def kept_attrs(prefill: Node) -> dict[str, Json]:
    """Those of a prefill that the KV of its prompt depends on."""
    kept = ("engine", "adapter", *OF_CONVERSATION)
    return {name: value for name, value in prefill.attrs.items() if name in kept}


def part_start(args: Sequence[Arg], index: int) -> int:
    """Where the part at this index begins: with the markers that belong to it."""
    while args[index - 1] in OF_NEXT_PART:
        index -= 1
    return index


def without_fusion(node: Node) -> Node:
    """The node as one that reads no chunks."""
    attrs = {name: value for name, value in node.attrs.items() if name not in OF_FUSION}
    return node if len(attrs) == len(node.attrs) else replace(node, attrs=attrs)
