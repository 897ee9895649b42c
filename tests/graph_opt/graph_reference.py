"""A reference interpreter: what a graph means, with fakes that are functions of all they see.

An LLM answers with a hash of its whole context, a store with a hash of all it was ever told, a
sampled decode with a hash of which decode it is; so any change of meaning changes the outputs.
Any value can be seen as a list, and any value is true or false. Risky nodes fail on every other
value, always on the same.

In plain order one node runs after another, dead ones do not, and the first failure ends the run. In
a random order nodes, items of maps and pieces of streams interleave as the edges allow, and bodies
open before their captures; a stream may be bounded, so that its maker waits for its slowest reader.
After a failure everything goes on that can, without bounds: what is behind the failed node cannot,
so nothing else may keep an effect back, and the error is the first in program order.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from random import Random
from typing import Any, TypeAlias

from graph_opt.analysis.begin import late_captures
from graph_opt.graph import Graph, Marker, Node, Ref
from graph_opt.ops import OPS, has_effects

Path: TypeAlias = tuple[int, ...]
Steps: TypeAlias = "Iterator[Callable[[], bool]]"  # yields what it waits for


@dataclass
class World:
    """The outside state: what was done to stores, and by impure calls to `*`, in order."""

    done: list[tuple[str, str]] = field(default_factory=list)

    def write(self, resource: str, what: str) -> str:
        self.done.append((resource, what))
        return self.read(resource)

    def read(self, resource: str) -> str:
        return digest(*(what for where, what in self.done if where == resource))


class Failed(Exception):
    """A risky node met a value that it fails on; `args` tell what it did with which."""


@dataclass(frozen=True)
class Outcome:
    """What can be seen of a run."""

    outputs: list[object] | None  # None: it failed
    error: tuple[object, ...] | None
    effects: list[tuple[str, str]]


@dataclass(eq=False)
class Slot:
    """A value of one scope, whole or so far."""

    value: Any = None
    is_done: bool = False
    items: list[Any] = field(default_factory=list)  # of a list that is given item by item
    text: Any = None  # that is not finished yet
    taken: dict[str, int] = field(default_factory=dict)  # by those that read it as a stream

    def finish(self, value: object) -> None:
        self.value, self.is_done = value, True

    def available(self) -> list[Any]:
        return as_list(self.value) if self.is_done else self.items


@dataclass(order=True)
class Task:
    """A node of one scope at work; tasks are compared by their place in the program."""

    place: Path
    steps: Steps = field(compare=False)
    wait: Callable[[], bool] = field(compare=False, default=lambda: True)
    is_over: bool = field(compare=False, default=False)


@dataclass
class Region:
    """A body whose failures its node takes: the first in program order of those in it."""

    place: Path
    result: Slot
    failures: list[tuple[Path, tuple[object, ...]]] = field(default_factory=list)

    def holds(self, place: Path) -> bool:
        return place[: len(self.place)] == self.place

    @property
    def error(self) -> str:
        return digest(min(self.failures)[1])


@dataclass
class Scope:
    values: dict[str, Slot]
    path: Path  # the items and turns it is for


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def as_list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [f"{value}.{index}" for index in range(int(digest(value), 16) % 4)]


def is_true(value: object) -> bool:
    return int(digest(value), 16) % 2 == 0


def execute(
    graph: Graph, args: Sequence[object], random: Random | None = None, room: int | None = None
) -> Outcome:
    """What comes of a run in plain order, or in a random one.

    With `room`, a stream holds no more items than that which a reader has not taken.
    """
    run = _Run(random, room)
    slots, _ = run.open(graph, [Slot(arg, True) for arg in args], (), ())
    run.finish()
    if run.failures:
        return Outcome(None, min(run.failures, key=lambda failure: failure[0])[1], run.world.done)
    return Outcome([slot.value for slot in slots], None, run.world.done)


class _Run:
    def __init__(self, random: Random | None, room: int | None) -> None:
        self.world, self.random, self.room = World(), random, room
        self.tasks: list[Task] = []
        self.failures: list[tuple[Path, tuple[object, ...]]] = []
        self.regions: list[Region] = []

    def open(
        self, graph: Graph, params: Sequence[Slot], place: Path, path: Path
    ) -> tuple[list[Slot], list[Task]]:
        """Start a copy of the graph; its outputs and its tasks."""
        values = {value: Slot() for node in graph.nodes for value in node.outputs}
        values |= dict(zip((param.name for param in graph.params), params, strict=True))
        scope, tasks = Scope(values, path), list[Task]()
        late = late_captures(graph)
        dead = dead_nodes(graph) if self.random is None else set()
        for index, node in enumerate(graph.nodes):
            if node.name in dead:
                for value in node.outputs:
                    values[value].finish("nobody looks at this")
            elif node.op != "input":
                makers = late.get(node.name, frozenset())
                names = [v for v in node.inputs if graph.producer(v).name in makers]
                steps = self.work(node, names, scope, (*place, index))
                tasks.append(Task((*place, index), steps))
                insort(self.tasks, tasks[-1])
                for arg in node.args:
                    if isinstance(arg, Ref) and arg.stream:
                        values[arg.name].taken[node.name] = 0
        return [values[value] for value in graph.outputs], tasks

    def finish(self) -> None:
        while self.tasks:
            order = self.tasks
            if self.random is not None:
                order = self.random.sample(self.tasks, len(self.tasks))
            task = next((task for task in order if task.wait()), None)
            if task is None:
                assert self.failures, f"all wait for one another: {self.tasks}"
                return
            try:
                task.wait = next(task.steps)
            except StopIteration:
                task.is_over = True
                self.tasks.remove(task)
            except Failed as failure:
                self.tasks.remove(task)
                self.room = None
                regions = [region for region in self.regions if region.holds(task.place)]
                around = max(regions, key=lambda region: len(region.place), default=self)
                around.failures.append((task.place, failure.args))
                if self.random is None and around is self:
                    return
                if self.random is None:
                    self.close(around)

    def work(self, node: Node, late: Sequence[str], scope: Scope, place: Path) -> Steps:
        slots = [scope.values[a.name] if isinstance(a, Ref) else Slot(a, True) for a in node.args]
        streams = [isinstance(arg, Ref) and arg.stream for arg in node.args]
        whole = [slot for slot, stream in zip(slots, streams, strict=True) if not stream]
        later = [scope.values[name] for name in late]
        whole = [slot for slot in whole if slot not in later]
        whole += [scope.values[name] for name in node.after]
        yield lambda: all(slot.is_done for slot in whole)
        match node.op:
            case "map" if "on_error" in node.attrs:
                yield from self.lenient_map(node, slots, later, scope, place)
            case "map":
                yield from self.map(node, slots, later, scope, place)
            case "attempt":
                yield from self.attempt(node, slots, later, scope, place)
            case "first" | "within":  # whose bodies are all the same, and in time
                (result,) = self.watch(node.bodies[0], slots[1:], (*place, 0), scope.path)
                yield lambda: result.is_done and all(slot.is_done for slot in later)
                scope.values[node.name].finish(result.value)
            case "cond" | "loop":
                yield from self.control(node, slots, later, scope, place)
            case "elements":
                yield from self.elements(node, slots[0], scope)
            case "concat":
                yield from self.concat(node, slots, scope)
            case "embed" | "rerank" | "flatten":
                yield from self.pieces(node, slots, scope)
            case _:
                results = _do(node, [slot.value for slot in slots], self.world, scope.path)
                scope.values[node.name].text = results[0]
                yield lambda: True
                for value, result in zip(node.outputs, results, strict=True):
                    scope.values[value].finish(result)

    def has_room(self, out: Slot) -> bool:
        if self.room is None:
            return True
        return len(out.items) - min(out.taken.values(), default=len(out.items)) < self.room

    def map(
        self,
        node: Node,
        slots: Sequence[Slot],
        later: Sequence[Slot],
        scope: Scope,
        place: Path,
    ) -> Steps:
        source, out = slots[0], scope.values[node.name]
        results: list[Slot] = []
        is_sequential = node.attrs.get("order") == "sequential"

        def can_open() -> bool:
            if is_sequential and not all(result.is_done for result in results):
                return False
            return len(source.available()) > len(results)

        def can_give() -> bool:
            given = len(out.items)
            return given < len(results) and results[given].is_done and self.has_room(out)

        def is_over() -> bool:
            return source.is_done and len(out.items) == len(source.available())

        while True:
            yield lambda: can_open() or can_give() or is_over()
            if can_give():
                out.items.append(results[len(out.items)].value)
            elif can_open():
                item = Slot(source.available()[len(results)], True)
                index = len(results)
                body, params = node.bodies[0], [item, *slots[1:]]
                results += self.watch(body, params, (*place, index), (*scope.path, index))
                source.taken[node.name] = len(results)
            elif is_over():
                break
        yield lambda: all(slot.is_done for slot in later)
        out.finish(out.items)

    def watch(self, body: Graph, params: Sequence[Slot], place: Path, path: Path) -> list[Slot]:
        """Open a body; its outputs, which are done when all of the body is."""
        inner, tasks = self.open(body, params, place, path)
        outer = [Slot() for _ in inner]

        def join() -> Steps:
            yield lambda: all(task.is_over for task in tasks) and all(s.is_done for s in inner)
            for slot, result in zip(outer, inner, strict=True):
                slot.finish(result.value)

        insort(self.tasks, Task((*place, 10**6), join()))
        return outer

    def guard(self, body: Graph, params: Sequence[Slot], place: Path, path: Path) -> Region:
        """Open a body whose failures are taken."""
        (result,) = self.watch(body, params, place, path)
        self.regions.append(Region(place, result))
        return self.regions[-1]

    def is_over(self, region: Region) -> bool:
        """Whether the body has ended, or failed with nothing before it that may fail too."""
        if region.result.is_done or not region.failures:
            return region.result.is_done
        first = min(region.failures)[0]
        inside = [task.place for task in self.tasks if region.holds(task.place)]
        return not any(place < first[: len(place)] for place in inside)

    def close(self, region: Region) -> None:
        self.tasks = [task for task in self.tasks if not region.holds(task.place)]

    def attempt(
        self,
        node: Node,
        slots: Sequence[Slot],
        later: Sequence[Slot],
        scope: Scope,
        place: Path,
    ) -> Steps:
        tried, other = node.bodies
        params = [Slot("nothing failed", True), *slots[1:]]
        region = self.guard(tried, params, (*place, 0), scope.path)
        yield lambda: self.is_over(region)
        result = region.result
        if region.failures:
            self.close(region)
            params = [Slot(region.error, True), *slots[1:]]
            (result,) = self.watch(other, params, (*place, 1), scope.path)
        yield lambda: result.is_done and all(slot.is_done for slot in later)
        scope.values[node.name].finish(result.value)

    def lenient_map(
        self,
        node: Node,
        slots: Sequence[Slot],
        later: Sequence[Slot],
        scope: Scope,
        place: Path,
    ) -> Steps:
        source, out = slots[0], scope.values[node.name]
        regions: list[Region] = []
        num_given = 0
        is_sequential = node.attrs.get("order") == "sequential"

        def can_open() -> bool:
            if is_sequential and not all(map(self.is_over, regions)):
                return False
            return len(source.available()) > len(regions)

        def can_give() -> bool:
            if num_given == len(regions) or not self.has_room(out):
                return False
            return self.is_over(regions[num_given])

        def is_over() -> bool:
            return source.is_done and num_given == len(source.available())

        while True:
            yield lambda: can_open() or can_give() or is_over()
            if can_give():
                region = regions[num_given]
                num_given += 1
                if not region.failures:
                    out.items.append(region.result.value)
                    continue
                self.close(region)
                if node.attrs["on_error"] == "keep":
                    out.items.append(region.error)
            elif can_open():
                item, index = Slot(source.available()[len(regions)], True), len(regions)
                params, where = [item, *slots[1:]], (*place, index)
                regions.append(self.guard(node.bodies[0], params, where, (*scope.path, index)))
                source.taken[node.name] = len(regions)
            elif is_over():
                break
        yield lambda: all(slot.is_done for slot in later)
        out.finish(out.items)

    def control(
        self,
        node: Node,
        slots: Sequence[Slot],
        later: Sequence[Slot],
        scope: Scope,
        place: Path,
    ) -> Steps:
        if node.op == "cond":
            body = node.bodies[0 if is_true(slots[0].value) else 1]
            (result,) = self.watch(body, slots[1:], (*place, 0), scope.path)
            yield lambda: result.is_done and all(slot.is_done for slot in later)
            scope.values[node.name].finish(result.value)
            return
        state, most = slots[0], node.attrs["max"]
        assert isinstance(most, int)
        for turn in range(most):
            params = [state, *slots[1:]]
            state, goes_on = self.watch(node.bodies[0], params, (*place, turn), (*scope.path, turn))
            yield lambda slot=goes_on: slot.is_done  # type: ignore[misc]
            if not is_true(goes_on.value):
                break
        yield lambda: all(slot.is_done for slot in later)
        scope.values[node.name].finish(state.value)

    def elements(self, node: Node, text: Slot, scope: Scope) -> Steps:
        out = scope.values[node.name]
        yield lambda: text.is_done or text.text is not None
        for item in _elements(node, text.value if text.is_done else text.text, text.is_done):
            yield lambda: self.has_room(out)
            out.items.append(item)
        yield lambda: text.is_done
        if node.attrs.get("parser") == "lines":
            _check(node, text.value)
        else:
            _parsed(node, text.value)
        out.finish(_elements(node, text.value, True))

    def concat(self, node: Node, slots: Sequence[Slot], scope: Scope) -> Steps:
        """Take from all lists at once, and give in their order."""
        out = scope.values[node.name]

        def due() -> list[Any]:
            items: list[Any] = []
            for slot in slots:
                items += slot.available()
                if not slot.is_done:
                    break
            return items

        def can_give() -> bool:
            return len(out.items) < len(due()) and self.has_room(out)

        def is_over() -> bool:
            return all(slot.is_done for slot in slots) and len(out.items) == len(due())

        def has_more() -> bool:
            return any(slot.taken.get(node.name, 0) < len(slot.available()) for slot in slots)

        while not is_over():
            yield lambda: has_more() or can_give() or is_over()
            for slot in slots:
                slot.taken[node.name] = len(slot.available())
            if can_give():
                item = due()[len(out.items)]
                _check(node, item)
                out.items.append(item)
        out.finish(out.items)

    def pieces(self, node: Node, slots: Sequence[Slot], scope: Scope) -> Steps:
        out = scope.values[node.name]
        source = slots[1 if node.op == "rerank" else 0]
        num_taken = 0

        def is_over() -> bool:
            return source.is_done and num_taken == len(source.available())

        def can_take() -> bool:
            return len(source.available()) > num_taken and self.has_room(out)

        while True:
            yield lambda: can_take() or is_over()
            if is_over():
                break
            end = len(source.available())
            if self.random is not None:
                end = self.random.randint(num_taken + 1, end)
            results = list[Any]()
            for item in source.available()[num_taken:end]:
                results += _piece(node, slots, item)
            out.items += results
            source.taken[node.name] = num_taken = end
        out.finish(out.items)


def dead_nodes(graph: Graph) -> set[str]:
    """The nodes without effects whose values nobody reads, and that are not there to fail."""
    dead, used = set[str](), set(graph.outputs)
    for node in reversed(graph.nodes):
        stays = node.op == "input" or has_effects(node) or _may_be_there_to_fail(node)
        if stays or used.intersection(node.outputs):
            used.update(_used_by(node))
        else:
            dead.add(node.name)
    return dead


def _may_be_there_to_fail(node: Node) -> bool:
    inner = (each for body in node.bodies for each in body.nodes)
    return node.op in ("call", "parse", "elements") or any(map(_may_be_there_to_fail, inner))


def _used_by(node: Node) -> Iterator[str]:
    """What a live node reads: of captures, those that something alive in its bodies reads."""
    first_param = OPS[node.op].params_from
    captured = set[int]()
    for body in node.bodies:
        dead, used = dead_nodes(body), set(body.outputs)
        for inner in body.nodes:
            used.update(() if inner.name in dead else _used_by(inner))
        names = [param.name for param in body.params]
        captured |= {i + first_param for i, name in enumerate(names) if name in used}
    for index, arg in enumerate(node.args):
        if isinstance(arg, Ref) and (index == 0 or not node.bodies or index in captured):
            yield arg.name


def _check(node: Node, *content: object) -> None:
    """Fail, if the node is risky and this is what it fails on."""
    if not node.attrs.get("risky"):
        return
    kind = "LLM" if OPS[node.op].writes_text else node.op
    _fail_on(kind, _attrs(node), *content)


def _fail_on(*content: object) -> None:
    if is_true(content):
        raise Failed(*content)


def _piece(node: Node, slots: Sequence[Slot], item: Any) -> list[Any]:
    match node.op:
        case "flatten":
            _check(node, item)
            return as_list(item)
        case "rerank":
            _check(node, slots[0].value, item)
            return [digest(_attrs(node), slots[0].value, item)]
        case _:
            _check(node, item)
            return [digest(node.op, _attrs(node), item)]


def _do(node: Node, read: list[Any], world: World, path: Path) -> list[object]:
    answer = digest(node.op, _attrs(node), read)
    match node.op:
        case "const":
            return [node.attrs["value"]]
        case "context":
            return [f"<{node.attrs['engine']}>"]
        case "prefill":
            return [read[0] + "".join(map(_part, read[1:]))]
        case "decode":
            prompt = read[0] + "".join(map(_part, read[1:]))
            text = _answer(node, prompt, path)
            return [text, f"{prompt}|{text}"]
        case "select":
            _check(node, read)
            text = digest("select", read)
            return [text, [answer], f"{read[0]}|{text}"]
        case "generate":
            return [_answer(node, f"<{node.attrs['engine']}>" + "".join(map(_part, read)), path)]
        case "parse":
            return [_parsed(node, read[0])]
        case "get":
            _check(node, read[0])
            value = _field(read[0], node.attrs["path"])
            return [as_list(value) if node.attrs.get("list") else value]
        case "ingest":
            return [_ingest(node, *read, world=world)]
        case "delete":
            _check(node, read)
            return [world.write(str(node.attrs["engine"]), answer)]
        case "count":
            _check(node, world.read(str(node.attrs["engine"])))
            return [digest(answer, world.read(str(node.attrs["engine"])))]
        case "search" if read[0] is None:
            store = str(node.attrs["engine"])
            _check(node, read, world.read(store))
            return [[answer, world.read(store)]]
        case "call" if node.attrs.get("reads"):
            _check(node, read, world.read("*"))
            return [digest(answer, world.read("*"), node.name, path)]  # the world goes on by itself
        case "call" if node.attrs.get("pure") is not True:
            seen = world.write("*", answer)
            _check(node, read, seen)
            return [digest(answer, seen)]
        case "pack":
            return [[*read, answer]]
        case _:
            _check(node, read)
            return [answer]


def _ingest(node: Node, docs: object, vectors: object = None, *, world: World) -> str:
    """All or nothing."""
    store = str(node.attrs["engine"])
    items = list(zip_longest(as_list(docs), [] if vectors is None else as_list(vectors)))
    for item in items:
        _check(node, item)
    for item in items:
        world.write(store, digest(_attrs(node), item))
    return world.read(store)


def _attrs(node: Node) -> list[tuple[str, object]]:
    return sorted((key, value) for key, value in node.attrs.items() if key != "engine")


def _answer(node: Node, context: str, path: Path) -> str:
    _check(node, context)
    is_sampled = node.attrs.get("temperature") and node.attrs.get("seed") is None
    return digest(_attrs(node), context, (node.name, path) if is_sampled else None)


def _part(part: object) -> str:
    return f"|@{part.word}" if isinstance(part, Marker) else f"|{part}"


def _parsed(node: Node, text: object) -> str:
    if node.attrs["type"] == "Picky":
        _fail_on("parse", text)
    return digest("parse", node.attrs["type"], text)


def _field(value: object, path: Any) -> object:
    for step in path:
        value = digest("get", value, step)
    return value


def _elements(node: Node, text: object, is_whole: bool) -> list[Any]:
    """The list in a text. The type Whole has a validator that sees and changes the whole list."""
    if node.attrs.get("parser") == "lines":
        return as_list(text)
    parsed = digest("parse", node.attrs["type"], text)
    items = as_list(_field(parsed, node.attrs["path"]))
    is_early = node.attrs["type"] == "Whole" and not is_whole
    return [digest("early", item) for item in items] if is_early else items
