"""A graph indexed for execution, once, and shared by all queries of the same plan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graph_opt.analysis.begin import begins_beside, late_captures, reads_streams
from graph_opt.analysis.constant_heads import Head, constant_heads
from graph_opt.analysis.early_part import early_part
from graph_opt.analysis.next_use import NO_TIMES, Times
from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS, has_effects, is_choice, is_pure, reads_state, repeats
from graph_opt.paths import bodies_of, walk
from runtime.cost.seen import Seen, SeenNodes
from runtime.hints import Hint, hints_of

ENDED = -1  # what an ended node waits for


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph with its edges in the shape the scheduler reads. Immutable."""

    graph: Graph
    nodes: Mapping[str, Node]
    params: tuple[str, ...]  # the graph's parameters, in order
    index: Mapping[str, int]  # node -> its place in program order
    indegree: Mapping[str, int]  # node -> nodes it waits for to begin
    followers: Mapping[str, tuple[str, ...]]  # node -> nodes that wait for its end
    early: Mapping[str, tuple[str, ...]]  # node -> nodes that read its stream from its begin on
    streamed: frozenset[str]  # nodes that read a list as a stream
    late: Mapping[str, frozenset[str]]  # see `graph_opt.analysis.begin`
    reads: Mapping[str, tuple[str, ...]]  # node -> values that it reads, each once
    uses: Mapping[str, int]  # value -> nodes that read it, plus one if the graph returns it
    hints: Mapping[str, Hint]  # what policies may know of the nodes
    bodies: Mapping[str, tuple["Layout", ...]]  # map, cond or loop node -> its bodies
    start: "Start | None"  # where a copy begins whose parameters are all there; None: nowhere
    engines: Mapping[str, tuple[str, ...]]  # node with bodies -> the engine of each op in them
    writers: Mapping[str, frozenset[str]]  # node with bodies -> engines that write texts in them
    heads: tuple[Head, ...]  # of the app's graph: the constant heads of prompts that are kept
    remembered: frozenset[str]  # nodes whose outcome depends on their inputs' content alone
    repeated: frozenset[str]  # nodes without effects: they may run again where an engine failed
    ahead: Mapping[str, tuple["Layout | None", ...]]  # cond -> what of each branch may run early
    seen: Mapping[str, Seen]  # node -> where to note what it turned out to be
    times: Times  # when contexts are read, for engines that want to know; else nothing


@dataclass(frozen=True, slots=True)
class Start:
    """A graph whose parameters are bound: its inputs have ended and nothing else has begun."""

    waits: Mapping[str, int]  # node -> nodes that it still waits for; of an input, ENDED
    ready: tuple[Node, ...]
    num_unfinished: int
    params: tuple[str, ...]  # those that something reads


def layout_of(
    graph: Graph,
    hints: Mapping[str, Hint] | None = None,
    *,
    keep_heads: bool = True,
    times: Times = NO_TIMES,
    speculates: bool = False,
    seen: SeenNodes | None = None,
) -> Layout:
    """Index `graph` and the bodies in it; `hints` by path, else those that need no cost model.
    With `keep_heads` engines are asked to keep the constant heads of its prompts, and with `times`
    they are told when contexts are read. With `speculates` branches may begin before they are
    chosen. What nodes turn out to be is noted in `seen`."""
    heads = constant_heads(graph) if keep_heads else ()
    known = hints_of(graph) if hints is None else hints
    return _layout(graph, known, times, "", heads, speculates=speculates, seen=seen)


def _layout(
    graph: Graph,
    hints: Mapping[str, Hint],
    times: Times,
    path: str,
    heads: tuple[Head, ...] = (),
    *,
    speculates: bool = False,
    seen: SeenNodes | None = None,
) -> Layout:
    names = [node.name for node in graph.nodes]
    followers: dict[str, list[str]] = {name: [] for name in names}
    early: dict[str, list[str]] = {name: [] for name in names}
    late = late_captures(graph)
    reads = {node.name: tuple(dict.fromkeys(node.inputs)) for node in graph.nodes}
    uses = {value: 0 for node in graph.nodes for value in node.outputs}
    indegree = {}
    for node in graph.nodes:
        parents = [p for p in graph.parents(node) if p.name not in late.get(node.name, ())]
        indegree[node.name] = len(parents)
        for parent in parents:
            table = early if begins_beside(node, parent) else followers
            table[parent.name].append(node.name)
        for value in reads[node.name]:
            uses[value] += 1
    for value in graph.outputs:
        uses[value] += 1
    return Layout(
        graph=graph,
        nodes={node.name: node for node in graph.nodes},
        params=tuple(node.name for node in graph.params),
        index={name: index for index, name in enumerate(names)},
        indegree=indegree,
        followers={name: tuple(after) for name, after in followers.items()},
        early={name: tuple(after) for name, after in early.items()},
        streamed=frozenset(node.name for node in graph.nodes if reads_streams(node)),
        late=late,
        reads=reads,
        uses=uses,
        hints={name: hints[path + name] for name in names if path + name in hints},
        bodies={
            node.name: tuple(
                _layout(body, hints, times, inner, speculates=speculates, seen=seen)
                for inner, body in bodies_of(node, path)
            )
            for node in graph.nodes
            if node.bodies
        },
        start=_start(graph, indegree, followers, uses),
        engines={node.name: tuple(_engines(node)) for node in graph.nodes if node.bodies},
        writers={node.name: _writers(node) for node in graph.nodes if node.bodies},
        heads=heads,
        remembered=frozenset(node.name for node in graph.nodes if _may_remember(node, uses)),
        repeated=frozenset(node.name for node in graph.nodes if _may_repeat(node)),
        ahead={
            node.name: tuple(
                _early(body, hints, times, inner, seen) for inner, body in bodies_of(node, path)
            )
            for node in graph.nodes
            if speculates and is_choice(node)
        },
        seen={}
        if seen is None
        else {n.name: seen.at(path + n.name) for n in graph.nodes if _varies(n)},
        times=times.of(path, graph) if times.begins else times,
    )


def _early(
    body: Graph, hints: Mapping[str, Hint], times: Times, path: str, seen: SeenNodes | None
) -> "Layout | None":
    part = early_part(body)
    return None if part is None else _layout(part, hints, times, path, seen=seen)


def _start(
    graph: Graph,
    indegree: Mapping[str, int],
    followers: Mapping[str, Sequence[str]],
    uses: Mapping[str, int],
) -> Start | None:
    nodes = {node.name: node for node in graph.nodes}
    waits = dict(indegree)
    params = [node.name for node in graph.params]
    ready = [name for name, count in waits.items() if not count and name not in params]
    for name in params:
        waits[name] = ENDED
        for follower in followers[name]:
            waits[follower] -= 1
            if not waits[follower]:
                ready.append(follower)
    if len(params) == len(nodes):
        return None
    read = tuple(name for name in params if uses[name])
    return Start(waits, tuple(nodes[name] for name in ready), len(nodes) - len(params), read)


def _varies(node: Node) -> bool:
    """How much work it is depends on the run: requests to models, bodies that run repeatedly."""
    return OPS[node.op].engine_kind == "llm" or repeats(node)


def _inner(node: Node) -> Iterator[Node]:
    return (each for _, body in bodies_of(node) for _, each, _ in walk(body))


def _engines(node: Node) -> Iterator[str]:
    return (str(each.attrs["engine"]) for each in _inner(node) if "engine" in each.attrs)


def _writers(node: Node) -> frozenset[str]:
    writing = (each for each in _inner(node) if OPS[each.op].writes_text)
    return frozenset(str(each.attrs["engine"]) for each in writing)


def _may_repeat(node: Node) -> bool:
    """A node that says itself how often it is tried is not tried more often."""
    return not node.bodies and not has_effects(node) and "retries" not in node.attrs


def _may_remember(node: Node, uses: Mapping[str, int]) -> bool:
    """A text can be remembered, a context that is read later cannot: its KV is needed."""
    is_read_alone = not any(uses[value] for value in node.outputs[1:])
    return not node.bodies and is_pure(node) and not reads_state(node) and is_read_alone
