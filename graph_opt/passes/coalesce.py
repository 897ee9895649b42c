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

from collections.abc import Collection, Mapping
from dataclasses import replace

from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Graph, Node, Ref
from graph_opt.prompts import Given, Prompt, prefill_for, write_captures
from graph_opt.rewrite import fresh_name, rewrite


def coalesce(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with one `generate` for each decode on an engine that has no `prefill`."""
    if all("prefill" in able for able in facts.capabilities.values()):
        return graph
    return _Writing(graph, facts, {}).result()


class _Writing:
    """One walk over a graph or a body: the prompts so far, by their contexts."""

    def __init__(self, graph: Graph, facts: Facts, given: Mapping[str, Given]) -> None:
        self.graph, self.facts, self.given = graph, facts, given
        self.prompts: dict[str, Prompt] = {}
        self.kept = _read_as_contexts(graph, given)

    def result(self) -> Graph:
        return rewrite(self.graph, lambda node, _: self.write(node), recurse=False)

    def write(self, node: Node) -> list[Node] | None:
        if node.bodies:
            return [write_captures(node, self.prompts, self.write_body)]
        if node.op == "input" and node.name in self.given:
            self.prompts[node.name] = self.given[node.name].prompt
            return list(self.given[node.name].params)
        if node.op == "context" and not self.facts.can(node, "prefill"):
            return self.write_context(node, Prompt(after=node.after))
        if node.op in ("prefill", "decode") and node.inputs[0] in self.prompts:
            prompt = self.prompts[node.inputs[0]].add_node(node)
            return self.write_context(node, prompt)
        if node.op == "select" and node.inputs[0] in self.prompts:
            return self.write_select(node)
        return None

    def write_select(self, node: Node) -> list[Node]:
        """A select reads a context: where that is given as its texts, one that is made anew."""
        prompt = self.prompts[node.inputs[0]]
        text, _, context = node.outputs
        self.prompts[context] = prompt.add([Ref(text)], ())
        if node.inputs[0] in self.kept:
            return [node]
        name = fresh_name(self.graph, f"{node.name}.empty")
        attrs = {"engine": node.attrs["engine"]}
        empty = replace(node, outputs=(name,), op="context", args=(), attrs=attrs, after=())
        if not prompt.parts:
            return [empty, replace(node, args=(Ref(name), *node.args[1:]))]
        prefill = prefill_for(node, replace(prompt, context=name), self.graph)
        return [empty, prefill, replace(node, args=(Ref(prefill.name), *node.args[1:]))]

    def write_body(self, number: int, body: Graph, given: Mapping[str, Given]) -> Graph:  # noqa: ARG002
        return _Writing(body, self.facts, given).result()

    def write_context(self, node: Node, prompt: Prompt) -> list[Node] | None:
        context = node.outputs[-1]
        texts = [Ref(text) for text in node.outputs[:-1]]
        self.prompts[context] = prompt.add(texts, ())
        if context in self.kept:
            return None
        attrs = {**prompt.attrs, **node.attrs}
        written = replace(node, op="generate", args=prompt.parts, attrs=attrs, after=prompt.after)
        return [replace(written, outputs=(text.name,)) for text in texts]


def _read_as_contexts(graph: Graph, given: Collection[str]) -> set[str]:
    """The contexts that must be real, since the graph returns them or one made from them, or a
    select reads them; not what is made from contexts that are given as their texts."""
    kept, written = set(graph.outputs), set(given)
    for node in graph.nodes:
        if node.op in _CONTINUE and node.inputs[0] in written:
            written.add(node.outputs[-1])
    for node in reversed(graph.nodes):
        is_read = node.op == "select" and node.inputs[0] not in written
        if node.op in _CONTINUE and (is_read or node.outputs[-1] in kept):
            kept.add(node.inputs[0])
    return kept


_CONTINUE = ("prefill", "decode", "select")  # a context
