"""Random well formed graphs; few engines and few literals, so that equal nodes are common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from graph_opt.analysis.open_streams import Makers, open_streams
from graph_opt.graph import Arg, Graph, Json, Marker, Node, Ref
from graph_opt.ops import OPS, elementwise, has_effects, is_pure, may_fail

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FEW_LITERALS = st.sampled_from(["Be brief and answer in plain English.", "Write queries:", "x", ""])
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
    ("apply", {"fn": "slice", "stop": 2}),
    ("parse", {"type": "Picky"}),  # fails on some texts
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
        has_streams: bool,
        is_risky: bool,
    ) -> None:
        self.draw, self.literals, self.attrs, self.depth = draw, literals, attrs, depth
        self.has_streams = has_streams
        self.is_risky = is_risky  # some of the nodes that may fail do fail on some values
        self.nodes: list[Node] = []
        self.values: list[str] = []
        self.contexts: dict[str, str] = {}
        self.is_chained = draw(st.booleans())  # with a tracer's control edges, or with a few

    def inner(self, depth: int | None = None) -> Builder:
        """The builder of a body."""
        depth = self.depth - 1 if depth is None else depth
        return Builder(self.draw, self.literals, self.attrs, depth, self.has_streams, self.is_risky)

    def name(self) -> str:
        return f"v{len(self.nodes)}{self.draw(st.sampled_from(['', '.0', '_x']))}"

    def ref(self) -> Ref:
        return Ref(self.draw(st.sampled_from(self.values)))

    def part(self) -> Arg:
        return self.draw(st.one_of(self.literals, st.sampled_from(self.values).map(Ref)))

    def add(self, op: str, *args: Arg, **attrs: Json) -> Node:
        name = self.name()
        more = {"decode": (f"{name}.c",), "select": (f"{name}.s", f"{name}.c")}
        outputs = (name, *more.get(op, ()))
        node = Node(outputs, op, args, attrs | self.draw(self.attrs))
        return self.append(node)

    def append(self, node: Node, is_safe: bool = False) -> Node:
        if self.is_risky and may_fail(node) and not (node.bodies or is_safe):
            is_risky = self.draw(st.integers(0, 3)) == 0
            node = replace(node, attrs={**node.attrs, "risky": True} if is_risky else node.attrs)
        node = replace(node, after=tuple(dict.fromkeys((*node.after, *self.order(node)))))
        self.nodes.append(node)
        return node

    def order(self, node: Node) -> tuple[str, ...]:
        """The node before, as a tracer draws it, or none; and any other."""
        earlier = [other.name for other in self.nodes if other.op != "input"]
        if not earlier or node.op == "input":
            return ()
        after = [self.draw(st.sampled_from(earlier))] if self.draw(st.booleans()) else []
        return tuple(dict.fromkeys((earlier[-1], *after) if self.is_chained else after))

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


def _select(b: Builder) -> None:
    if not b.contexts:
        _prefill(b)
    context = b.draw(st.sampled_from(sorted(b.contexts)))
    lists: list[Arg] = [["yes", "no"], ["no"], Ref(b.draw(st.sampled_from(b.values)))]
    choices = b.draw(st.sampled_from(lists))
    node = b.add("select", Ref(context), choices, engine=b.contexts[context])
    b.values += node.outputs[: b.draw(st.integers(1, 2))]
    b.contexts[node.outputs[2]] = b.contexts[context]


def _search(b: Builder) -> None:
    index = b.draw(st.sampled_from([None, None, b.ref()]))
    b.value("search", index, b.part(), engine=b.draw(ENGINES))


def _ingest(b: Builder) -> None:
    b.value(
        "ingest", b.ref(), b.draw(st.one_of(st.none(), st.just(b.ref()))), engine=b.draw(ENGINES)
    )


def _count_or_delete(b: Builder) -> None:
    if b.draw(st.booleans()):
        b.value("count", engine=b.draw(ENGINES))
    else:
        b.value(
            "delete",
            b.ref(),
            None,
            b.ref() if b.draw(st.booleans()) else None,
            engine=b.draw(ENGINES),
        )


def _call(b: Builder) -> None:
    b.value("call", b.part(), fn=b.draw(st.sampled_from(["f", "g"])), pure=b.draw(st.booleans()))


def _look(b: Builder) -> None:
    """A call that reads the world."""
    b.value("call", b.draw(FEW_LITERALS), fn="clock", pure=True, reads=True)


def _inline(b: Builder) -> None:
    op, attrs = b.draw(st.sampled_from(INLINE))
    b.value(op, b.ref(), **attrs)


def _list(b: Builder) -> None:
    """A list in what a model writes, as a tracer makes it."""
    _decode(b)
    text = Ref(b.nodes[-1].name)
    if b.draw(st.integers(0, 3)) == 0:
        b.value("elements", text, parser="lines")
    else:
        _fields(b, text)
    if b.draw(st.booleans()):
        b.value("embed", Ref(b.nodes[-1].name), engine="a")


def _fields(b: Builder, text: Ref) -> None:
    """A list in the fields of what a text says; other things may stand between."""
    type_ = b.draw(st.sampled_from(["Q", "Picky", "Whole"]))
    b.value("parse", text, type=type_)
    value = b.nodes[-1].name
    if b.draw(st.integers(0, 2)) == 0:
        b.value("call", b.part(), fn="f")
    *path, last = b.draw(st.sampled_from([["a"], ["a", "b"]]))
    items: dict[str, Json] = {} if type_ == "Whole" else {"items": f"{type_}.{last}"}
    for name, attrs in (*((name, {}) for name in path), (last, {"list": True} | items)):
        get = Node((b.name(),), "get", (Ref(value),), {"path": [name], **attrs})
        value = b.append(get, is_safe=True).name  # a type that tells of items proves the fields too
        b.values.append(value)


def _index(b: Builder) -> None:
    """Documents with their vectors."""
    docs, engine = b.ref(), b.draw(ENGINES)
    b.value("embed", docs, engine=engine)
    b.value("ingest", docs, Ref(b.nodes[-1].name), engine=engine)


def _later(b: Builder) -> None:
    """A map that only an unread capture puts after what its items look at."""
    engine = b.draw(ENGINES)
    b.value("ingest", b.ref(), None, engine=engine)
    index = Ref(b.nodes[-1].name)
    inner = b.inner(depth=0)
    inner.param()
    inner.param()
    inner.value("search", None, inner.part(), engine=engine)
    body = Graph("random", tuple(inner.nodes), (inner.values[-1],))
    node = Node((b.name(),), "map", (b.ref(), index), {}, bodies=(body,))
    b.values.append(b.append(node).name)


def _again(b: Builder) -> None:
    """A pure node done twice, the second time later; then something that must come later too."""
    simple = [node for node in b.nodes if node.op != "input" and len(node.outputs) == 1]
    pure = [node for node in simple if node.name in b.values and is_pure(node)]
    if not pure:
        b.value("embed", b.ref(), engine="a")
        pure = b.nodes[-1:]
    node = b.draw(st.sampled_from(pure))
    b.value("call", b.part(), fn="g")
    again = b.append(replace(node, outputs=(b.name(),), after=(b.nodes[-1].name,)))
    b.values.append(again.name)
    b.value("call", Ref(again.name), fn="f")


def _map(b: Builder) -> None:
    if b.depth == 0:
        return
    captures, (body,) = _bodies(b, num_own=1)
    node = Node((b.name(),), "map", (_list_ref(b), *captures), {}, bodies=(body,))
    if has_effects(node) or b.is_chained:
        node = replace(node, attrs={"order": "sequential"})
    on_error = b.draw(st.sampled_from(["raise", "raise", "skip", "keep"]))
    if on_error != "raise":
        node = replace(node, attrs={**node.attrs, "on_error": on_error})
    b.values.append(b.append(node).name)


def _attempt(b: Builder) -> None:
    if b.depth == 0:
        return
    captures, bodies = _bodies(b, num_own=1, num_bodies=2)
    b.values.append(b.append(Node((b.name(),), "attempt", (None, *captures), {}, (), bodies)).name)


def _first(b: Builder) -> None:
    """A race of equals: whoever wins, the value is the same."""
    if b.depth == 0:
        return
    captures, (body,) = _bodies(b, num_own=0)
    node = Node((b.name(),), "first", (None, *captures), {}, (), (body, body))
    if not has_effects(node):
        b.values.append(b.append(node).name)


def _within(b: Builder) -> None:
    if b.depth == 0:
        return
    captures, bodies = _bodies(b, num_own=0)
    attrs: dict[str, Json] = {"app": "inner", "timeout_s": 9}
    b.values.append(
        b.append(Node((b.name(),), "within", (None, *captures), attrs, (), bodies)).name
    )


def _cond(b: Builder) -> None:
    if b.depth == 0:
        return
    captures, bodies = _bodies(b, num_own=0, num_bodies=2)
    node = Node((b.name(),), "cond", (b.ref(), *captures), {}, bodies=bodies)
    b.values.append(b.append(node).name)


def _twins(b: Builder) -> None:
    """Two conditions whose branches differ in what they return, at most."""
    captures = (b.ref(), b.ref())
    params = tuple(Node((name,), "input", (), {"type": "str"}) for name in "xy")
    for _ in range(2):
        returned = b.draw(st.permutations("xy"))
        bodies = tuple(Graph("branch", params, (value,)) for value in returned)
        node = Node((b.name(),), "cond", (Ref(b.values[0]), *captures), {}, bodies=bodies)
        b.values.append(b.append(node).name)


def _loop(b: Builder) -> None:
    if b.depth == 0:
        return
    captures, bodies = _bodies(b, num_own=1, num_outputs=2)
    turns = b.draw(st.integers(1, 3))
    node = Node((b.name(),), "loop", (b.ref(), *captures), {"max": turns}, bodies=bodies)
    b.values.append(b.append(node).name)


def _list_ref(b: Builder) -> Ref:
    """The value made last, mostly: lists are made to be used."""
    return Ref(b.values[-1]) if b.draw(st.booleans()) else b.ref()


def _bodies(
    b: Builder, num_own: int, num_bodies: int = 1, num_outputs: int = 1
) -> tuple[list[Ref], tuple[Graph, ...]]:
    values = b.draw(st.lists(st.sampled_from([*b.values, *b.values[-2:] * 2]), max_size=2))
    contexts = sorted(b.contexts)[: b.draw(st.integers(0, 1))]
    bodies: list[Graph] = []
    for _ in range(num_bodies):
        inner = b.inner()
        for _ in range(num_own + len(values)):
            inner.param()
        for context in contexts:
            inner.param("context", b.contexts[context])
        if not inner.values:
            inner.value("const", value="x")
        bodies.append(_grow(inner, max_steps=4, num_outputs=num_outputs))
    return [Ref(value) for value in (*values, *contexts)], tuple(bodies)


STEPS: tuple[Callable[[Builder], None], ...] = (
    _context,
    _prefill,
    _prefill,
    _decode,
    _select,
    _search,
    _ingest,
    _count_or_delete,
    _index,
    _call,
    _look,
    _inline,
    _list,
    _twins,
    _map,
    _map,
    _cond,
    _loop,
    _attempt,
    _first,
    _within,
    _again,
    _later,
    lambda b: b.value("const", value=b.draw(b.literals)),
    lambda b: b.value("embed", b.ref(), engine=b.draw(ENGINES)),
    lambda b: b.value("rerank", b.part(), b.ref(), engine=b.draw(ENGINES)),
    lambda b: b.value("format", b.part(), b.part()),
    lambda b: b.value("pack", b.ref(), b.ref()),
)


STATEFUL = (
    _search,
    _search,
    _ingest,
    _count_or_delete,
    _call,
    _look,
    _inline,
    _map,
    _cond,
    _attempt,
    _again,
    _later,
    lambda b: b.value("embed", b.ref(), engine="a"),
)
PROMPTS = (_context, _prefill, _prefill, _decode, _select, _map, _loop, _call)
LISTS = (
    _list,
    _map,
    _index,
    _call,
    lambda b: b.value("flatten", _list_ref(b)),
    lambda b: b.value("concat", _list_ref(b), _list_ref(b)),
    lambda b: b.value("embed", _list_ref(b), engine="a"),
    lambda b: b.value("rerank", b.part(), _list_ref(b), engine="a"),
)


def _grow(b: Builder, max_steps: int, num_outputs: int | None = None) -> Graph:
    steps = b.draw(st.sampled_from([STEPS, STATEFUL, PROMPTS, LISTS]))
    palette = b.draw(st.lists(st.sampled_from(steps), min_size=1, max_size=5))  # few: more equals
    for _ in range(b.draw(st.integers(1, max_steps))):
        b.draw(st.sampled_from(palette))(b)
    values = st.lists(st.sampled_from(b.values), min_size=1, max_size=3)
    outputs = b.draw(values | st.just(b.values))
    if num_outputs is not None:
        outputs = [b.values[-1], b.values[0]][:num_outputs]
    graph = Graph("random", tuple(b.nodes), tuple(outputs))
    return _with_streams(graph, b.draw(st.integers(0, 3))) if b.has_streams else graph


def _with_streams(graph: Graph, mask: int) -> Graph:
    """The graph with some of the edges that may be streams read as such."""

    def wish(node: Node, makers: Makers) -> Sequence[int]:
        places = elementwise(node)
        makers_of = [makers(node, i) for i in places]
        has_writer = any(maker is not None and OPS[maker.op].writes_text for maker in makers_of)
        is_right = has_writer == (node.op == "elements")
        return places if mask >> len(node.name) % 2 & 1 and is_right else []

    return open_streams(graph, wish)


@st.composite
def graphs(
    draw: st.DrawFn,
    literals: st.SearchStrategy[str] = FEW_LITERALS,
    attrs: st.SearchStrategy[dict[str, Json]] = NO_ATTRS,
    has_streams: bool = True,
) -> Graph:
    """Graphs with bodies two deep, contexts, effects, streams, and a tracer's control edges."""
    builder = Builder(draw, literals, attrs, 2, has_streams, is_risky=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 2))):
        builder.param()
    return _grow(builder, max_steps=14)
