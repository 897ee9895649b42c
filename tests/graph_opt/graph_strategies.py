"""Random well formed graphs; few engines and few literals, so that equal nodes are common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from graph_opt.graph import Arg, Graph, Json, Marker, Node, Ref
from graph_opt.ops import access, has_effects

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FEW_LITERALS = st.sampled_from(["Be brief and answer in English.", "Write queries:", "x", ""])
ANY_TEXT = st.text(max_size=12)
ANY_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
NO_ATTRS: st.SearchStrategy[dict[str, Json]] = st.just({})
ANY_ATTRS = st.dictionaries(
    st.from_regex(r"x_[A-Za-z0-9_]{0,4}", fullmatch=True), ANY_JSON, max_size=2
)
SAMPLINGS: list[dict[str, Json]] = [{}, {"temperature": 0.7}, {"temperature": 1, "seed": 3}]
INLINE: list[tuple[str, dict[str, Json]]] = [
    ("get", {"path": ["a", 0]}),
    ("join", {}),
    ("flatten", {}),
    ("parse", {"type": "Q"}),
]
ENGINES = st.sampled_from(["a", "b"])


class Builder:
    """Draws nodes one by one; keeps the values there are, by kind."""

    def __init__(
        self,
        draw: st.DrawFn,
        literals: st.SearchStrategy[str],
        attrs: st.SearchStrategy[dict[str, Json]],
        depth: int,
    ) -> None:
        self.draw, self.literals, self.attrs, self.depth = draw, literals, attrs, depth
        self.nodes: list[Node] = []
        self.ancestors: dict[str, set[str]] = {}
        self.values: list[str] = []
        self.contexts: dict[str, str] = {}
        self.is_chained = draw(st.booleans())  # the program's order, or order among effects only

    def name(self) -> str:
        return f"v{len(self.nodes)}{self.draw(st.sampled_from(['', '.0', '_x']))}"

    def ref(self) -> Ref:
        return Ref(self.draw(st.sampled_from(self.values)))

    def part(self) -> Arg:
        return self.draw(st.one_of(self.literals, st.sampled_from(self.values).map(Ref)))

    def add(self, op: str, *args: Arg, **attrs: Json) -> Node:
        num_outputs = 2 if op == "decode" else 1
        name = self.name()
        outputs = (name, f"{name}.c")[:num_outputs]
        node = Node(outputs, op, args, attrs | self.draw(self.attrs))
        return self.append(node)

    def append(self, node: Node) -> Node:
        node = replace(node, after=self.order(node))
        self.ancestors[node.name] = self.behind(node)
        self.nodes.append(node)
        return node

    def order(self, node: Node) -> tuple[str, ...]:
        """The node before, as a tracer draws it; or just what keeps conflicting nodes in order."""
        earlier = [other for other in self.nodes if other.op != "input"]
        if not earlier or node.op == "input":
            return ()
        after = [self.draw(st.sampled_from(earlier)).name] if self.draw(st.booleans()) else []
        if self.is_chained:
            return tuple(dict.fromkeys((earlier[-1].name, *after)))
        for other in reversed(earlier):
            is_open = other.name not in self.behind(replace(node, after=tuple(after)))
            if is_open and access(other).conflicts(access(node)):
                after.append(other.name)
        return tuple(after)

    def behind(self, node: Node) -> set[str]:
        parents = {
            other.name for other in self.nodes if not set(node.inputs).isdisjoint(other.outputs)
        }
        parents.update(node.after)
        return parents.union(*(self.ancestors[parent] for parent in parents))

    def value(self, op: str, *args: Arg, **attrs: Json) -> None:
        self.values.append(self.add(op, *args, **attrs).name)

    def param(self, type_: str = "str", engine: str | None = None) -> None:
        attrs: dict[str, Json] = (
            {"type": type_} if engine is None else {"type": type_, "engine": engine}
        )
        node = self.add("input", **attrs)
        if engine is None:
            self.values.append(node.name)
        else:
            self.contexts[node.name] = engine


def _context(b: Builder) -> None:
    engine = b.draw(ENGINES)
    b.contexts[b.add("context", engine=engine).name] = engine


def _prefill(b: Builder) -> None:
    if not b.contexts:
        _context(b)
    context = b.draw(st.sampled_from(sorted(b.contexts)))
    parts: list[Arg] = []
    for _ in range(b.draw(st.integers(1, 5))):
        markers = st.sampled_from([(), ("user",), ("sp",), ("assistant", "sp")])
        parts += [*map(Marker, b.draw(markers)), b.part()]
    engine = b.contexts[context]
    b.contexts[b.add("prefill", Ref(context), *parts, engine=engine).name] = engine


def _decode(b: Builder) -> None:
    if not b.contexts:
        _prefill(b)
    context = b.draw(st.sampled_from(sorted(b.contexts)))
    sampling = b.draw(st.sampled_from(SAMPLINGS))
    engine = b.contexts[context]
    node = b.add("decode", Ref(context), **sampling, engine=engine)
    b.values.append(node.outputs[0])
    b.contexts[node.outputs[1]] = engine


def _search(b: Builder) -> None:
    index = b.draw(st.sampled_from([None, None, b.ref()]))
    b.value("search", index, b.part(), engine=b.draw(ENGINES))


def _ingest(b: Builder) -> None:
    b.value(
        "ingest", b.ref(), b.draw(st.one_of(st.none(), st.just(b.ref()))), engine=b.draw(ENGINES)
    )


def _call(b: Builder) -> None:
    b.value("call", b.part(), fn=b.draw(st.sampled_from(["f", "g"])), pure=b.draw(st.booleans()))


def _inline(b: Builder) -> None:
    op, attrs = b.draw(st.sampled_from(INLINE))
    b.value(op, b.ref(), **attrs)


def _map(b: Builder) -> None:
    if b.depth == 0:
        return
    captures = [Ref(v) for v in b.draw(st.lists(st.sampled_from(b.values), max_size=2))]
    contexts = sorted(b.contexts)[: b.draw(st.integers(0, 1))]
    inner = Builder(b.draw, b.literals, b.attrs, b.depth - 1)
    for _ in range(1 + len(captures)):
        inner.param()
    for context in contexts:
        inner.param("context", b.contexts[context])
    body = _grow(inner, max_steps=4, is_body=True)
    args = (b.ref(), *captures, *map(Ref, contexts))
    node = Node((b.name(),), "map", args, {}, body=body)
    if has_effects(node) or b.is_chained:
        node = replace(node, attrs={"order": "sequential"})
    b.values.append(b.append(node).name)


STEPS: tuple[Callable[[Builder], None], ...] = (
    _context,
    _prefill,
    _prefill,
    _decode,
    _search,
    _ingest,
    _call,
    _inline,
    _map,
    lambda b: b.value("const", value=b.draw(b.literals)),
    lambda b: b.value("embed", b.ref(), engine=b.draw(ENGINES)),
    lambda b: b.value("rerank", b.part(), b.ref(), engine=b.draw(ENGINES)),
    lambda b: b.value("format", b.part(), b.part()),
    lambda b: b.value("pack", b.ref(), b.ref()),
)


STATEFUL = (_search, _search, _ingest, _call, _map, lambda b: b.value("embed", b.ref(), engine="a"))
PROMPTS = (_context, _prefill, _prefill, _decode, _map, _call)


def _grow(b: Builder, max_steps: int, is_body: bool) -> Graph:
    steps = b.draw(st.sampled_from([STEPS, STATEFUL, PROMPTS]))
    palette = b.draw(st.lists(st.sampled_from(steps), min_size=1, max_size=5))  # few: more equals
    for _ in range(b.draw(st.integers(1, max_steps))):
        b.draw(st.sampled_from(palette))(b)
    values = st.lists(st.sampled_from(b.values), min_size=1, max_size=3)
    outputs = b.values[-1:] if is_body else b.draw(values | st.just(b.values))
    return Graph("random", tuple(b.nodes), tuple(outputs))


@st.composite
def graphs(
    draw: st.DrawFn,
    literals: st.SearchStrategy[str] = FEW_LITERALS,
    attrs: st.SearchStrategy[dict[str, Json]] = NO_ATTRS,
) -> Graph:
    """Graphs with maps two deep, contexts, effects, and control edges as a tracer draws them."""
    builder = Builder(draw, literals, attrs, depth=2)
    for _ in range(draw(st.integers(1, 2))):
        builder.param()
    return _grow(builder, max_steps=14, is_body=False)
