"""One call instead of prefills and a decode, on engines that keep no KV for us to control.

An engine without the capability `prefill` gets the whole prompt with each call: the parts of all
prefills since the empty context, of earlier turns their texts. A context that several decodes read
is written out in each. Contexts that are captured are written out in the body; those that the graph
returns, or is given as inputs, stay as they are.

    %c0 = context [engine="m"]
    %c1 = prefill %c0 @user "Hello, " @sp %name @assistant [engine="m"]
    %t, %c2 = decode %c1 [engine="m", max_tokens=9]
    ->
    %t = generate @user "Hello, " @sp %name @assistant [engine="m", max_tokens=9]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import OPS
from graph_opt.rewrite import fresh_name, rewrite, substitute


def coalesce(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with one `generate` for each decode on an engine that has no `prefill`."""
    if all("prefill" in able for able in facts.capabilities.values()):
        return graph
    return _Writing(graph, facts, {}).result()


@dataclass(frozen=True, slots=True)
class _Prompt:
    """What a context holds, and the order that its nodes had."""

    parts: tuple[Arg, ...] = ()
    after: tuple[str, ...] = ()

    def add(self, parts: Sequence[Arg], after: Sequence[str]) -> _Prompt:
        return _Prompt((*self.parts, *parts), tuple(dict.fromkeys((*self.after, *after))))


@dataclass(frozen=True, slots=True)
class _Given:
    """What a body gets instead of a context: the values in its prompt, under names of its own."""

    prompt: _Prompt
    params: tuple[Node, ...]


class _Writing:
    """One walk over a graph or a body: the prompts so far, by their contexts."""

    def __init__(self, graph: Graph, facts: Facts, given: Mapping[str, _Given]) -> None:
        self.graph, self.facts, self.given = graph, facts, given
        self.prompts: dict[str, _Prompt] = {}
        self.kept = _read_as_contexts(graph)

    def result(self) -> Graph:
        return rewrite(self.graph, lambda node, _: self.write(node), recurse=False)

    def write(self, node: Node) -> list[Node] | None:
        if node.bodies:
            return self.write_captures(node)
        if node.op == "input" and node.name in self.given:
            self.prompts[node.name] = self.given[node.name].prompt
            return list(self.given[node.name].params)
        if node.op == "context" and not self.facts.can(node, "prefill"):
            return self.write_context(node, _Prompt(after=node.after))
        if node.op in ("prefill", "decode") and node.inputs[0] in self.prompts:
            prompt = self.prompts[node.inputs[0]].add(node.args[1:], node.after)
            return self.write_context(node, prompt)
        return None

    def write_context(self, node: Node, prompt: _Prompt) -> list[Node] | None:
        context = node.outputs[-1]
        texts = [Ref(text) for text in node.outputs[:-1]]
        self.prompts[context] = prompt.add(texts, ())
        if context in self.kept:
            return None
        written = replace(node, op="generate", args=prompt.parts, after=prompt.after)
        return [replace(written, outputs=(text.name,)) for text in texts]

    def write_captures(self, node: Node) -> list[Node]:
        names = [[param.name for param in body.params] for body in node.bodies]
        given: list[dict[str, _Given]] = [{} for _ in node.bodies]
        args, after = list(node.args[:1]), node.after
        for index, arg in enumerate(node.args[1:], 1):
            prompt = self.prompts.get(arg.name) if isinstance(arg, Ref) else None
            if prompt is None:
                args.append(arg)
                continue
            values = dict.fromkeys(part.name for part in prompt.parts if isinstance(part, Ref))
            args += map(Ref, values)
            after = (*after, *prompt.after)
            for body, params, to in zip(node.bodies, names, given, strict=True):
                param = params[index - OPS[node.op].params_from]
                to[param] = _give(prompt, values, param, body)
        bodies = (
            _Writing(body, self.facts, to).result()
            for body, to in zip(node.bodies, given, strict=True)
        )
        order = tuple(dict.fromkeys(after))
        return [replace(node, args=tuple(args), after=order, bodies=tuple(bodies))]


def _give(prompt: _Prompt, values: Iterable[str], context: str, body: Graph) -> _Given:
    names = {value: fresh_name(body, f"{context}.{index}") for index, value in enumerate(values)}
    params = (Node((name,), "input", attrs={"type": "Any"}) for name in names.values())
    return _Given(_Prompt(substitute(prompt.parts, names)), tuple(params))


def _read_as_contexts(graph: Graph) -> set[str]:
    """The contexts that must be real, since the graph returns them or one made from them."""
    kept = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.op in ("prefill", "decode") and node.outputs[-1] in kept:
            kept.add(node.inputs[0])
    return kept
