"""Which prompts read the KV of their joined items wherever those stand, by which plan, and why.

A wish comes from the join (`reuse`), else from the model's prefill (`reuse`), else from the app:
a plan by its name, or `auto(R)`, which leaves it to the model's profile: of the plans that recover
at least the fraction R the fastest. Each wish gets a choice; without a plan the prompt is exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from graph_opt.analysis.fusion_price import MIN_TOKENS, FusionPrice, computed_share
from graph_opt.cost_model import CostModel
from graph_opt.errors import GraphError
from graph_opt.facts import Facts, PlanQuality
from graph_opt.graph import Graph, Node, Origin, Ref
from graph_opt.ops import OPS
from graph_opt.paths import bodies_of

EXACT, FUSE = "exact", "fuse"  # never; and: by the default, which else is auto
AUTO = re.compile(r"auto(?:\((0|1|0?\.\d+|1\.0+)\))?")
DEFAULT_FLOOR = 0.45  # query(0.15) is above it with most models


@dataclass(frozen=True, slots=True)
class FusionChoice:
    """Of one prefill with chunks in it."""

    node: str  # its path
    origin: Origin | None
    reason: str
    plan: str | None = None  # None: exact
    from_tokens: int | None = None  # shorter chunks are computed
    times_s: tuple[float, float] | None = None  # exact and fused, where costs are known
    joins: Mapping[str, str] = field(default_factory=dict)  # value -> path of its join


def auto_floor(wish: str) -> float | None:
    """The least R of `auto` and `auto(R)`; None for another text."""
    found = AUTO.fullmatch(wish)
    if found is None:
        return None
    return DEFAULT_FLOOR if found[1] is None else float(found[1])


def is_alone(plan: str) -> bool:
    """Whether a plan encodes chunks behind nothing, so that prompts of any beginning share them."""
    return "alone" in _modifiers(plan)


def encodes_otherwise(plan: str) -> bool:
    """Whether a plan's chunks are encoded behind something else than the prompt's prefix."""
    return is_alone(plan) or any(modifier.startswith("context") for modifier in _modifiers(plan))


def _modifiers(plan: str) -> list[str]:
    return [modifier.strip() for modifier in plan.split("+")[1:]]


def wants_fusion(graph: Graph, default: str | None) -> bool:
    """Whether anything in the graph or its bodies may ask for it."""
    if default is not None:
        return default != EXACT
    nodes = graph.nodes
    inner = (body for node in nodes for body in node.bodies)
    return any("reuse" in n.attrs for n in nodes) or any(wants_fusion(b, None) for b in inner)


def fusion_choices(graph: Graph, facts: Facts) -> list[FusionChoice]:
    """A choice for each prompt that asks for fusion, in program order. Raises GraphError where one
    prompt asks for several plans."""
    if not wants_fusion(graph, facts.fusion.default):
        return []
    return list(_Walk(facts).graph(graph, "", {}, ()))


@dataclass(frozen=True, slots=True)
class _Join:
    path: str
    reuse: str | None


@dataclass(slots=True)
class _Walk:
    facts: Facts

    def graph(
        self, graph: Graph, path: str, given: Mapping[str, _Join], constant: Collection[str]
    ) -> Iterator[FusionChoice]:
        """`given` are params that are joined texts, `constant` those that are such contexts."""
        joins, known = dict(given), set(constant)
        for node in graph.nodes:
            if node.op == "join":
                reuse = node.attrs.get("reuse")
                joins[node.name] = _Join(
                    path + node.name, reuse if isinstance(reuse, str) else None
                )
            elif node.op == "context" or (node.op == "prefill" and _goes_on(node, known)):
                known.add(node.name)
            if node.op == "prefill" and "fusion" not in node.attrs:
                yield from self.prefill(node, path, joins, known)
            for inner, body in bodies_of(node, path):
                yield from self.graph(body, inner, *_captured(node, body, joins, known))

    def prefill(
        self, node: Node, path: str, joins: Mapping[str, _Join], constant: Collection[str]
    ) -> Iterator[FusionChoice]:
        wishes: dict[str, str] = {}  # value -> what is wished of it
        for value in node.inputs[1:]:
            if value in joins and (wish := self.wish(joins[value], node)) is not None:
                wishes[value] = wish
        if not wishes:
            return
        if len(different := list(dict.fromkeys(wishes.values()))) > 1:
            raise GraphError(
                f"%{path}{node.name} joins texts with reuse={different[0]!r} and "
                f"reuse={different[1]!r}; a prompt is read by one plan: leave one of them out"
            )
        paths = {value: joins[value].path for value in wishes}
        is_behind_constants = _is_behind_constants(node, wishes, constant)
        prompt = _Prompt(node, path + node.name, paths, is_behind_constants)
        yield _choose(prompt, different[0], self.facts)

    def wish(self, join: _Join, node: Node) -> str | None:
        own = node.attrs.get("reuse")
        default = own if isinstance(own, str) else self.facts.fusion.default
        wish = join.reuse or default
        if wish == FUSE:
            wish = "auto" if default in (None, EXACT) else default
        return None if wish == EXACT else wish


@dataclass(frozen=True, slots=True)
class _Prompt:
    node: Node
    path: str
    joins: Mapping[str, str]
    is_behind_constants: bool  # what stands before the chunks is the same in each query

    def exact(self, reason: str) -> FusionChoice:
        return FusionChoice(self.path, self.node.origin, reason)

    def fused(self, plan: str, reason: str) -> FusionChoice:
        return replace(self.exact(reason), plan=plan, joins=self.joins)


def _choose(prompt: _Prompt, wish: str, facts: Facts) -> FusionChoice:
    engine = str(prompt.node.attrs["engine"])
    if not facts.can(prompt.node, "fusion"):
        return prompt.exact(f"the engine {engine!r} cannot reuse KV of chunks")
    plans, floor = facts.fusion.plans.get(engine), auto_floor(wish)
    if floor is None:
        return _named(prompt, wish, plans or {}, facts)
    if plans is None:
        model = facts.fusion.models.get(engine, engine)
        reason = f"what plans lose on {model} is not known: run `teola fusion-check {model}`"
        return prompt.exact(reason)
    return _fastest(prompt, floor, plans, facts)


def _named(
    prompt: _Prompt, plan: str, plans: Mapping[str, PlanQuality], facts: Facts
) -> FusionChoice:
    if plan not in plans:
        return prompt.fused(plan, "asked for")
    reason, floor = f"asked for, R {plans[plan].r:.2f}", _floor(prompt, facts)
    if plans[plan].r < floor:
        reason += f": the engine refuses it, R must be {floor:.2f}"
    choice = prompt.fused(plan, reason)
    return replace(choice, times_s=_times_s(prompt, plan, plans, facts))


def _fastest(
    prompt: _Prompt, floor: float, plans: Mapping[str, PlanQuality], facts: Facts
) -> FusionChoice:
    floor = max(floor, _floor(prompt, facts))
    good = [plan for plan, quality in plans.items() if quality.r >= floor]
    if not good:
        best = max(plans, key=lambda plan: plans[plan].r, default=None)
        found = "none was checked" if best is None else f"the best is {best}, {plans[best].r:.2f}"
        return prompt.exact(f"no plan recovers R {floor:.2f} ({found})")
    if not prompt.is_behind_constants:
        good = list(filter(is_alone, good))
    if not good:
        return prompt.exact(
            "what stands before the passages differs from query to query, so KV behind it is never "
            "read again; put the question behind the passages"
        )
    plan = min(good, key=lambda plan: (plans[plan].cost, -plans[plan].r))
    cost = facts.cost_of(prompt.node)
    least: int | None = MIN_TOKENS
    if cost is not None:
        least = _price(prompt, cost).pays_from(computed_share(plan, plans))
    if least is None:
        return prompt.exact(f"{plan} would save nothing on this engine")
    choice = prompt.fused(plan, f"the fastest of R {floor:.2f} and more, R {plans[plan].r:.2f}")
    return replace(choice, from_tokens=least, times_s=_times_s(prompt, plan, plans, facts))


def _floor(prompt: _Prompt, facts: Facts) -> float:
    return facts.fusion.floors.get(str(prompt.node.attrs["engine"]), -math.inf)


def _times_s(
    prompt: _Prompt, plan: str, plans: Mapping[str, PlanQuality], facts: Facts
) -> tuple[float, float] | None:
    cost = facts.cost_of(prompt.node)
    if cost is None:
        return None
    price = _price(prompt, cost)
    return price.exact_s(), price.fused_s(computed_share(plan, plans))


def _price(prompt: _Prompt, cost: CostModel) -> FusionPrice:
    return FusionPrice(prompt.node, [Ref(name) for name in prompt.joins], cost)


def _captured(
    node: Node, body: Graph, joins: Mapping[str, _Join], constant: Collection[str]
) -> tuple[dict[str, _Join], set[str]]:
    """What is known of the params of a body; a list's items and a loop's state are not."""
    first = OPS[node.op].params_from
    pairs = list(zip(body.params, node.args[first:], strict=True))
    names = {param.name: arg.name for param, arg in pairs[first == 0 :] if isinstance(arg, Ref)}
    texts = {param: joins[name] for param, name in names.items() if name in joins}
    return texts, {param for param, name in names.items() if name in constant}


def _goes_on(node: Node, constant: Collection[str]) -> bool:
    return node.inputs[0] in constant and len(node.inputs) == 1


def _is_behind_constants(node: Node, chunks: Collection[str], constant: Collection[str]) -> bool:
    first = node.inputs[1:2]
    return node.inputs[0] in constant and bool(first) and first[0] in chunks
