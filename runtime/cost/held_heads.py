"""What a server is expected to hold of a prompt since other prompts began alike.

A prefix cache holds what earlier prompts began with. Prompts that run side by side count too: they
share what runs, or a prefill runs ahead of them. Of the items of a map the first pays for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeAlias

from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS
from graph_opt.paths import bodies_of
from graph_opt.text import arg_text
from runtime.cost.sizes import Size, size_of
from runtime.ops.table import OP_RUNS

Prompt: TypeAlias = "tuple[tuple[Hashable, float], ...]"  # what each part is, and its tokens


def held_heads(
    graph: Graph, sizes: Mapping[str, Size], engines: Collection[str]
) -> dict[str, float]:
    """For each text that these engines write, by the name of its node: the tokens of its prompt
    that they hold by then. Of equal names the fewest."""
    walk = _Walk(sizes, engines)
    walk.graph(graph, "", {}, {}, 1.0)
    return walk.held


@dataclass(slots=True)
class _Walk:
    sizes: Mapping[str, Size]
    engines: Collection[str]
    held: dict[str, float] = field(default_factory=dict)
    sent: defaultdict[str, list[Prompt]] = field(default_factory=lambda: defaultdict(list))

    def graph(
        self,
        graph: Graph,
        path: str,
        given: Mapping[str, str],
        prompts: Mapping[str, Prompt],
        num_items: float,
    ) -> None:
        """A graph, or a body at this path: which values outside its params are, and what the
        contexts among them hold."""
        values, contexts = dict(given), dict(prompts)
        for node in graph.nodes:
            for name in node.outputs:
                values.setdefault(name, path + name)
            if node.bodies:
                self.bodies(node, path, values, contexts)
            elif OPS[node.op].engine_kind == "llm":
                self.prompt(node, path, values, contexts, num_items)

    def bodies(
        self, node: Node, path: str, values: Mapping[str, str], contexts: Mapping[str, Prompt]
    ) -> None:
        first, times = OPS[node.op].params_from, OP_RUNS[node.op].turns
        turns = 1.0 if times is None else times(node, self.sizes)
        for inner, body in bodies_of(node, path):
            pairs = list(zip(body.params, node.args[first:], strict=True))
            names = {
                param.name: arg.name
                for param, arg in (pairs[1:] if first == 0 else pairs)
                if isinstance(arg, Ref)
            }
            given = {param: values[name] for param, name in names.items()}
            held = {param: contexts[name] for param, name in names.items() if name in contexts}
            self.graph(body, inner, given, held, turns)

    def prompt(
        self,
        node: Node,
        path: str,
        values: Mapping[str, str],
        contexts: dict[str, Prompt],
        num_items: float,
    ) -> None:
        first = OPS[node.op].prompt_from
        if first is None:
            self.select(node, values, contexts)
            return
        before = (
            self.context(arg.name, values, contexts)
            for arg in node.args[:first]
            if isinstance(arg, Ref)
        )
        parts = [
            (
                values[arg.name] if isinstance(arg, Ref) else (arg_text(arg),),
                size_of(arg, self.sizes).total,
            )
            for arg in node.args[first:]
        ]
        prompt = (*(part for each in before for part in each), *parts)
        engine = str(node.attrs["engine"])
        if engine in self.engines and OPS[node.op].writes_text:
            found = self.found(prompt, engine, path, num_items)
            self.held[node.name] = min(found, self.held.get(node.name, found))
        if not OPS[node.op].writes_text:
            contexts[node.name] = prompt
        if OPS[node.op].writes_text or "ahead" in node.attrs:
            self.sent[engine].append(prompt)

    def select(self, node: Node, values: Mapping[str, str], contexts: dict[str, Prompt]) -> None:
        """One of some texts behind a context."""
        text, _, after = node.outputs
        prompt = self.context(node.inputs[0], values, contexts)
        engine, tokens = str(node.attrs["engine"]), self.sizes.get(text, Size(0.0)).total
        self.sent[engine].append(prompt)
        contexts[after] = (*prompt, (values[text], tokens))

    def context(
        self, name: str, values: Mapping[str, str], contexts: Mapping[str, Prompt]
    ) -> Prompt:
        """What a context holds; of one that no prefill made, itself."""
        size = self.sizes.get(name, Size(0.0))
        return contexts.get(name) or (((values[name], size.cached),) if size.total else ())

    def found(self, prompt: Prompt, engine: str, path: str, num_items: float) -> float:
        common = max((_common(prompt, other) for other in self.sent[engine]), default=0.0)
        if not path:
            return common
        shared = takewhile(lambda part: not str(part[0]).startswith(path), prompt)
        of_others = sum(tokens for _, tokens in shared)
        return common + max(0.0, of_others - common) * (1 - 1 / max(1.0, num_items))


def _common(left: Prompt, right: Prompt) -> float:
    same = takewhile(lambda pair: pair[0][0] == pair[1][0], zip(left, right, strict=False))
    return sum(part[1] for part, _ in same)
